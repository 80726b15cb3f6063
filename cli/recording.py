"""Provenance and bill of materials of a compile, kept beside the artifact's folder.

``ship`` signs and publishes what is kept here (``signing.py``), ``rebuild`` reads it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from artifact.statement import read_statement
from artifact.trust import SignedAnother, provenance_path, sbom_path
from artifact.verify import VerifiedArtifact, verify
from compile.durable import write_whole

if TYPE_CHECKING:
    from cli.compiling import Runner
    from compile.provenance import Run
    from compile.request import CompiledArtifact, CompileRequest


@dataclass(frozen=True)
class Record:
    """The plain statement and the bill of materials, as the bytes that are published."""

    provenance: bytes
    sbom: bytes


def record(chosen: Runner, request: CompileRequest, compiled: CompiledArtifact, started: datetime) -> None:
    """Write what is known of a compile that has just ended beside its artifact."""
    from compile.provenance import Run, command_line

    samples = None if request.samples is None else hashlib.sha256(request.samples.read_bytes()).hexdigest()
    environment = chosen.environment
    run = Run(
        words=command_line(request, revision=compiled.about.revision, base=Path.cwd()),
        runner=chosen.name,
        image=chosen.image,
        environment={
            **{name: found for name, found in environment.versions.items() if found is not None},
            **{f"cpu {name}": found for name, found in environment.cpu.items()},
        },
        packages=compiled.packages,
        figures=compiled.parity,
        samples=samples,
        started=None if compiled.cached else started,
        finished=None if compiled.cached else datetime.now(timezone.utc),
    )
    made = _make(verify(compiled.path), run)
    # the provenance holds the bill's digest, so it comes last: without it neither counts
    write_whole(sbom_path(compiled.path), made.sbom)
    write_whole(provenance_path(compiled.path), made.provenance)


def recorded(artifact: VerifiedArtifact) -> Record:
    """What is kept beside the folder; made of the manifest alone where nothing is.

    Raises:
        StatementUnreadable: something else lies there.
        SignedAnother: it is about another manifest.
    """
    from compile.provenance import PROVENANCE

    places = provenance_path(artifact.root), sbom_path(artifact.root)
    if not all(place.is_file() for place in places):
        return _make(artifact, None)
    kept = Record(*(place.read_bytes() for place in places))
    about = read_statement(kept.provenance, predicate_type=PROVENANCE).subject[0].digest.sha256
    if about != artifact.digest:
        raise SignedAnother(signed=about, found=artifact.digest)
    if hashlib.sha256(kept.sbom).hexdigest().encode() not in kept.provenance:  # of two compiles, one killed
        return _make(artifact, None)
    return kept


def _make(artifact: VerifiedArtifact, run: Run | None) -> Record:
    from compile.provenance import provenance
    from compile.sbom import sbom

    tool = version("traceship")
    if run is None:
        bill = sbom(artifact, (), tool_version=tool)
    else:
        bill = sbom(artifact, run.packages, tool_version=tool, image=run.image, when=run.finished)
    return Record(
        provenance=provenance(artifact, run, sbom=bill, tool_version=tool),
        sbom=bill,
    )
