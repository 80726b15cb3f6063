"""A proven model in, an artifact folder out, read back before it gets its name.

Its partner is ``artifact/verify.py``, which is used here too. The folder is built beside ``out``
and renamed, so ``out`` holds a whole artifact or nothing. Nothing in it depends on time, place
or user.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artifact.canonical import encode
from artifact.errors import Conflict
from artifact.failpoints import failpoint
from artifact.manifest import (
    MANIFEST,
    MANIFEST_DIGEST,
    MODEL_CONFIG,
    SCHEMA,
    TOKENIZER,
    Bucket,
    Embedding,
    File,
    Manifest,
    Padding,
    Requires,
)
from artifact.verify import ArtifactChanged, NotAnArtifact, UnknownSchema, verify
from compile.compiler_options import neuron_arguments, recorded
from compile.drafts import OutputNotWritable
from compile.durable import sync_folder, sync_tree
from compile.memory import Sizes
from compile.parity import ProvenModel
from compile.preflight import Plan
from compile.request import CompileRequest
from compile.source import ModelSource

_MIB = 1024 * 1024
_RUNTIME_BYTES = 512 * _MIB
"""Python, torch and the server before any model, resident. Measured: 0.3 to 0.4 GiB."""


class OutputExists(Conflict):
    """``--out`` holds something else, which is never overwritten."""

    id = "output-exists"

    def __init__(self, *, path: str, why: str) -> None:
        super().__init__(
            what=f"{path} already exists", why=why, fix="give another `--out`, or remove what is there first"
        )


@dataclass(frozen=True)
class Packaged:
    """An artifact folder under its final name. ``digest`` is the manifest's SHA-256."""

    path: Path
    digest: str
    manifest: Manifest


def check_out(out: Path) -> None:
    """Refuse early an ``out`` that could not be the artifact's place in the end.

    Raises:
        OutputExists: a file, or a folder that is neither empty nor an artifact.
    """
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir() or out.is_symlink():
        raise OutputExists(path=str(out), why="it is not a folder")
    if any(out.iterdir()) and not (out / MANIFEST).exists():
        raise OutputExists(path=str(out), why="the folder is not empty and holds no artifact")


def package(model: ProvenModel, source: ModelSource, plan: Plan, request: CompileRequest) -> Packaged:
    """Finish the staging folder, read it back, and give it the name ``request.out``.

    An identical artifact that is already there is left as it is.

    Raises:
        OutputExists: another artifact, or anything else, has the name.
        ArtifactChanged: what was written is not what was meant (a broken disk).
    """
    if not isinstance(model, ProvenModel):
        raise TypeError("package() takes only a ProvenModel")
    staging = model.traced.staging
    (staging / MODEL_CONFIG).write_bytes(encode(source.config))
    manifest = _manifest(model, source, plan, request)
    data = encode(manifest)
    digest = hashlib.sha256(data).hexdigest()
    (staging / MANIFEST).write_bytes(data)
    (staging / MANIFEST_DIGEST).write_bytes(f"{digest}\n".encode())
    verify(staging, digest=digest)
    install(staging, request.out, digest)
    return Packaged(path=request.out, digest=digest, manifest=manifest)


def install(staging: Path, out: Path, digest: str) -> None:
    """Move a verified folder to ``out``, all or nothing.

    Raises:
        OutputExists: ``out`` holds anything but the identical artifact.
        OutputNotWritable: the file system refuses.
    """
    check_out(out)
    if (out / MANIFEST).exists():
        _check_identical(out, digest)
        return
    try:
        sync_tree(staging)
        with failpoint("package.install"):
            os.replace(staging, out)  # noqa: PTH105 - replaces an empty folder, which Path.rename may not
        sync_folder(out.parent)
    except OSError as error:
        raise OutputNotWritable(path=str(out), why=error.strerror or str(error)) from error


def _check_identical(out: Path, digest: str) -> None:
    try:
        found = verify(out).digest
    except (ArtifactChanged, NotAnArtifact, UnknownSchema) as error:
        raise OutputExists(path=str(out), why=f"it holds a damaged artifact ({error.why})") from error
    if found != digest:
        raise OutputExists(
            path=str(out), why=f"it holds another artifact, {found[:12]}; this one is {digest[:12]}"
        )


def _manifest(model: ProvenModel, source: ModelSource, plan: Plan, request: CompileRequest) -> Manifest:
    traced = model.traced
    files = files_below(traced.staging)
    embedding = Embedding(pooling=request.pooling, normalize=request.normalize)
    return Manifest(
        schema=SCHEMA,
        source=source.identity,
        task=request.task,
        architecture=plan.row.model_type,
        labels=plan.labels,
        problem_type=plan.problem_type,
        inputs=traced.inputs,
        outputs=traced.outputs,
        embedding=embedding if plan.spec.agreement == "cosine" else None,
        generic=plan.row.support == "generic",
        choices=plan.choices,
        adopted=traced.adopted,
        mask_token_id=model.mask_token_id,
        generation=traced.generation,
        buckets=tuple(
            Bucket(batch=b.shape.batch, length=b.shape.length, path=b.path, decoder=b.decoder)
            for b in traced.buckets
        ),
        padding=Padding(side="right", token_id=plan.pad_token_id, token_type_id=0, truncate=request.truncate),
        tokenizer=TOKENIZER,
        weights=traced.weights,
        compiler_args=() if traced.adopted else neuron_arguments(request),
        compiler=None if traced.adopted else recorded(request),
        coverage=traced.coverage,
        parity=model.parity,
        waivers=model.waivers,
        built_with=traced.built_with,
        requires=_requires(model, plan, request, source.config, files),
        files=files,
    )


def files_below(staging: Path) -> tuple[File, ...]:
    """Every file written so far, with size and digest; the manifest is not yet among them."""
    files = []
    for path in sorted(path for path in staging.rglob("*") if path.is_file()):
        data = path.read_bytes()
        files.append(
            File(
                path=path.relative_to(staging).as_posix(),
                size=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
            )
        )
    return tuple(files)


def _requires(
    model: ProvenModel,
    plan: Plan,
    request: CompileRequest,
    config: Mapping[str, Any],
    files: tuple[File, ...],
) -> Requires:
    built = model.traced.built_with
    memory = memory_bytes(plan, config, files)
    if request.target == "cpu":
        return Requires(
            target="cpu",
            instance_families=(),
            torch=built.torch,
            torch_neuron=None,
            neuron_driver=None,
            memory_bytes=memory,
        )
    facts = json.loads(Path(__file__).with_name("platform.json").read_text(encoding="utf-8"))["inf1"]
    return Requires(
        target="inf1",
        instance_families=tuple(facts["instance_families"]["value"]),
        torch=facts["torch"]["value"],
        torch_neuron=built.torch_neuron,
        neuron_driver=facts["neuron_driver"]["value"],
        memory_bytes=memory,
    )


def memory_bytes(plan: Plan, config: Mapping[str, Any], files: tuple[File, ...]) -> int:
    """Estimate of host memory for one copy of the artifact, in bytes.

    runtime + 2 x files + activations of the largest bucket. Twice the files, because all graphs are
    in memory and verified before the first is loaded, and an Inf1 graph's tensors are copies.
    """
    sizes = Sizes.of(config, plan.spec.name, plan.choices)
    activations = max(sizes.activation_bytes(shape) for shape in plan.shapes)
    return _RUNTIME_BYTES + 2 * sum(file.size for file in files) + activations
