"""How an artifact was made: an in-toto Statement with SLSA's provenance, and its bill of materials.

Source: slsa.dev/provenance/v1. The request is in it as a command line from which the same artifact
can be made again (``cli/rebuilding.py`` does). No secret and no place of this machine is: a model's
folder is named relative to where the command ran, or by its last part alone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from artifact.canonical import encode
from artifact.errors import UsageError
from artifact.manifest import PARITY, Manifest
from artifact.release import SBOM_FILE
from artifact.statement import Statement, StatementUnreadable, about_manifest
from artifact.verify import VerifiedArtifact
from compile.cache.environment import code_digests
from compile.packages import Package
from compile.places import SCHEME as S3
from compile.request import CompileRequest, Figure, Work
from compile.runners import arguments
from compile.sources.hub import SCHEME as HUB
from compile.sources.hub import plain_id
from compile.sources.packaged import SCHEME as PYPI

PROVENANCE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:traceship:compile:1"
_PROGRAM = ("python", "-m", "compile")


class CommandUnrecorded(UsageError):
    """A provenance that tells what the artifact is, and not how it was made."""

    id = "command-unrecorded"

    def __init__(self) -> None:
        super().__init__(
            what="nobody recorded which command made this artifact, so it cannot be made again",
            why="its provenance holds no command: the artifact was adopted, or came from another machine",
            fix="compile it with `traceship compile` or `traceship ship`, which record how",
        )


@dataclass(frozen=True)
class Run:
    """One compile as it happened.

    ``environment`` is what the cache key knows of the place (versions, processor). ``image`` is
    ``NAME@sha256:…`` where a container ran. ``started`` and ``finished`` in UTC; ``None`` where the
    artifact came out of the cache, so that nobody knows. ``samples``: SHA-256 of the user's examples.
    """

    words: tuple[str, ...]
    runner: str
    image: str | None
    environment: Mapping[str, str]
    packages: tuple[Package, ...]
    figures: tuple[Figure, ...]
    samples: str | None
    started: datetime | None
    finished: datetime | None


@dataclass(frozen=True)
class Recorded:
    """What a provenance says about how to make the artifact again."""

    words: tuple[str, ...]
    runner: str
    image: str | None


def command_line(request: CompileRequest, *, revision: str | None, base: Path) -> tuple[str, ...]:
    """The request as a command line that means the same elsewhere.

    Args:
        revision: what the source's revision was resolved to.
        base: folder that places are told relative to.
    """
    local = not request.model.startswith((HUB, PYPI, S3)) and not plain_id(request.model)
    told = replace(
        request,
        model=_told(Path(request.model), base) if local else request.model,
        samples=None if request.samples is None else Path(_told(request.samples, base)),
        revision=revision,
        out=Path("artifact"),
        work=Work(),
        debug=False,
    )
    home = str(Path.home())
    words = (*_PROGRAM, *arguments(told))
    return words if home == os.sep else tuple(word.replace(home, "~") for word in words)


def _told(path: Path, base: Path) -> str:
    """``path`` relative to ``base`` where it lies below it, else its name alone."""
    whole, below = Path(os.path.abspath(path)), Path(os.path.abspath(base))  # noqa: PTH100 - links stay
    return whole.relative_to(below).as_posix() if whole.is_relative_to(below) else whole.name


def provenance(artifact: VerifiedArtifact, run: Run | None, *, sbom: bytes, tool_version: str) -> bytes:
    """The statement as canonical JSON.

    Args:
        run: ``None``: nobody recorded it; only what the manifest tells is told then.
        sbom: named as a byproduct by its digest, so that a signature over this covers it.
    """
    manifest = artifact.manifest
    definition: dict[str, Any] = {
        "buildType": BUILD_TYPE,
        "externalParameters": _external(manifest, run),
        "internalParameters": {} if run is None else dict(run.environment),
        "resolvedDependencies": _dependencies(manifest, run),
    }
    details: dict[str, Any] = {
        "builder": {
            "id": f"urn:traceship:runner:{'unrecorded' if run is None else run.runner}",
            "version": {"traceship": tool_version},
            "builderDependencies": [{"name": "traceship", "digest": {"sha256": _code()}}],
        },
        "metadata": {} if run is None else _times(run),
        "byproducts": [
            _parity(manifest, () if run is None else run.figures),
            {
                "name": SBOM_FILE,
                "mediaType": "application/vnd.cyclonedx+json",
                "digest": {"sha256": hashlib.sha256(sbom).hexdigest()},
            },
        ],
    }
    predicate = {"buildDefinition": definition, "runDetails": details}
    return encode(about_manifest(artifact.digest, PROVENANCE, predicate))


def recorded(statement: Statement) -> Recorded:
    """How the artifact of a provenance is made again.

    Raises:
        CommandUnrecorded: it is of another tool, or nobody recorded the compile.
        StatementUnreadable: what it says is no such record.
    """
    try:
        definition = statement.predicate["buildDefinition"]
        kind, parameters = definition["buildType"], definition["externalParameters"]
        if kind != BUILD_TYPE or "command" not in parameters:
            raise CommandUnrecorded
        words, runner, image = parameters["command"], parameters["runner"], parameters["image"]
    except (KeyError, TypeError) as error:
        raise StatementUnreadable(why=f"it has no {error}") from None
    texts = isinstance(words, list) and all(isinstance(word, str) for word in words)
    if not texts or tuple(words[: len(_PROGRAM)]) != _PROGRAM:
        raise StatementUnreadable(why="its command is not one of `python -m compile`")
    if runner not in ("local", "docker", "batch") or not isinstance(image, (str, type(None))):
        raise StatementUnreadable(why="it does not say where the compile ran")
    return Recorded(words=tuple(words[len(_PROGRAM) :]), runner=runner, image=image)


def _external(manifest: Manifest, run: Run | None) -> dict[str, Any]:
    if run is not None:
        return {"command": list(run.words), "runner": run.runner, "image": run.image}
    buckets = [f"{bucket.batch}x{bucket.length}" for bucket in manifest.buckets]
    return {"task": manifest.task, "target": manifest.requires.target, "buckets": buckets}


def _dependencies(manifest: Manifest, run: Run | None) -> list[dict[str, Any]]:
    """The model with each of its files, the samples, the container and the packages."""
    source = manifest.source
    commit = {"digest": {"gitCommit": source.revision}} if source.id.startswith(HUB) else {}
    found: list[dict[str, Any]] = [
        {"name": "model", "uri": source.id, "annotations": {"revision": source.revision}, **commit}
    ]
    found += [{"name": f"model/{file.path}", "digest": {"sha256": file.sha256}} for file in source.files]
    if run is None:
        return found
    if run.samples is not None:
        found.append({"name": "samples", "digest": {"sha256": run.samples}})
    if run.image is not None:
        sha256 = run.image.rpartition("@")[2].removeprefix("sha256:")
        found.append({"name": "image", "uri": run.image, "digest": {"sha256": sha256}})
    return found + [{"name": package.name, "uri": package.purl} for package in run.packages]


def _parity(manifest: Manifest, figures: Sequence[Figure]) -> dict[str, Any]:
    """parity.json by its digest, with the verdict and how far each output was off."""
    digest = next(file.sha256 for file in manifest.files if file.path == PARITY)
    told = {
        "tier": manifest.parity.tier,
        "tolerance": manifest.parity.tolerance,
        "compared": manifest.parity.compared,
        "waivers": [waiver.gate for waiver in manifest.waivers],
        "figures": [
            {"bucket": f.bucket, "output": f.output, "max_abs": f.max_abs, "mean_abs": f.mean_abs}
            for f in figures
        ],
    }
    return {"name": PARITY, "digest": {"sha256": digest}, "annotations": told}


def _times(run: Run) -> dict[str, str]:
    times = {"startedOn": run.started, "finishedOn": run.finished}
    return {name: f"{when:%Y-%m-%dT%H:%M:%SZ}" for name, when in times.items() if when is not None}


def _code() -> str:
    """One digest for all of our files that shape an artifact."""
    return hashlib.sha256(encode(code_digests())).hexdigest()
