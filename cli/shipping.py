"""What ``traceship ship`` does: compile, verify, publish, lock. Run it again and it goes on.

A finished compile is kept under a key of everything that could change it, so that a rerun
after an interruption starts at the upload; blobs that S3 already has are not sent again.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from artifact.interpreter import module_command
from artifact.manifest import Manifest, Source
from artifact.release import (
    PLACEHOLDER_AMI,
    PLACEHOLDER_DIGEST,
    Ami,
    ArtifactFacts,
    Image,
    Location,
    ReleaseLock,
    Throughput,
)
from artifact.verify import verify
from cli.cdk import CHECKOUT
from cli.console import step, talk
from cli.failure import SubprocessFailed
from cli.project import Project
from infra.names import artifacts_bucket, repository
from settings.model import Settings

if TYPE_CHECKING:
    from compile.publish import Published
    from compile.request import CompileRequest

_CODE = {".py", ".json", ".toml"}
FETCH_BYTES_PER_SECOND = 25e6
"""Allowance for reading an artifact from S3 through a gateway endpoint; not measured."""


@dataclass(frozen=True)
class Built:
    """An artifact on this machine. ``reused``: an earlier run of the same request made it."""

    path: Path
    digest: str
    reused: bool


@dataclass(frozen=True)
class Shipped:
    """A release and the lock that names it."""

    lock: ReleaseLock
    published: Published


def compile_artifact(project: Project, *, fresh: bool = False) -> Built:
    """Compile what the settings name, or take the finished artifact of an earlier run.

    Args:
        fresh: compile even if one is there.

    Raises:
        What the compile stage raises; no artifact is left behind then.
    """
    from cli.compiling import result_text, run

    settings = project.settings
    source = _source(settings)
    out = project.state / "artifacts" / _compile_key(settings, source)
    if fresh:
        shutil.rmtree(out, ignore_errors=True)
    if out.is_dir():
        artifact = verify(out)
        talk(f"  nothing changed since {out.name[:12]} was compiled: it is used again")
        return Built(path=out, digest=artifact.digest, reused=True)
    compiled = run(
        _compile_request(settings, source, out), runner=settings.compile.runner, image=settings.compile.image
    )
    talk(result_text(compiled))
    return Built(path=out, digest=compiled.digest, reused=False)


def publish_artifact(project: Project, root: Path) -> Shipped:
    """Upload the artifact at ``root``, then write the lock that names it.

    Raises:
        What ``compile.publish.publish`` raises; the lock is untouched then.
    """
    from compile.publish import Destination, publish

    to = Destination(
        account=project.account,
        region=project.region,
        bucket=artifacts_bucket(project.settings.project.name, project.account, project.region),
        name=project.settings.project.name,
    )
    with step(f"publish to s3://{to.bucket}"):
        published = publish(root, to, project.client("s3"), report=lambda line: talk(f"  {line}"))
    location = Location(account=to.account, region=to.region, bucket=to.bucket, prefix=published.prefix)
    lock = _lock(project.settings, verify(root).manifest, root, published, location)
    project.write_lock(lock)
    return Shipped(lock=lock, published=published)


def _lock(
    settings: Settings, manifest: Manifest, root: Path, published: Published, location: Location
) -> ReleaseLock:
    speed = _speed(root)
    size = sum(file.size for file in manifest.files)
    return ReleaseLock(
        tool_version=version("traceship"),
        name=settings.project.name,
        digest=published.digest,
        location=location,
        artifact=ArtifactFacts(
            task=manifest.task,
            architecture=manifest.architecture,
            buckets=manifest.buckets,
            requires=manifest.requires,
            waivers=manifest.waivers,
            files_bytes=size,
            archive_bytes=published.archive_bytes,
        ),
        serving_image=_image(settings.serve.image, repository(settings.project.name, "serving")),
        compile_image=_image(settings.compile.image, repository(settings.project.name, "compile")),
        ami=_ami(settings),
        throughput=Throughput(
            per_second=float(speed["per_second"]), measured=speed["measured"], source=speed["source"]
        ),
        startup_seconds=math.ceil(speed["load_seconds"] + size / FETCH_BYTES_PER_SECOND),
    )


def _speed(root: Path) -> dict[str, Any]:
    command = module_command("compile.measure", str(root.absolute()))
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        talk(result.stderr)
        raise SubprocessFailed(
            program="python -m compile.measure",
            doing="measure the artifact's speed",
            code=result.returncode,
            fix="run `traceship verify` on the artifact, then ship again",
        )
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def _image(pinned: str | None, repository: str) -> Image:
    if pinned is None:
        return Image(repository=repository, digest=PLACEHOLDER_DIGEST, placeholder=True)
    name, _, digest = pinned.partition("@sha256:")
    return Image(repository=name, digest=digest, placeholder=False)


def _ami(settings: Settings) -> Ami:
    if settings.fleet is None or settings.fleet.ami is None:
        return Ami(id=PLACEHOLDER_AMI, placeholder=True)
    return Ami(id=settings.fleet.ami, placeholder=False)


def _source(settings: Settings) -> Source:
    """What the model is at this moment; a branch on the Hub is resolved here, once for the whole ship."""
    from compile.source import Allowed, resolve

    model = settings.model
    return resolve(
        model.source,
        revision=model.revision,
        allowed=Allowed(pickle=model.allow_pickle, remote_code=model.trust_remote_code),
        report=lambda line: talk(f"  {line}"),
    ).identity


def _compile_request(settings: Settings, source: Source, out: Path) -> CompileRequest:
    from artifact.manifest import Waiver
    from compile.request import CompileRequest, CompilerOptions, parse_shape

    return CompileRequest(
        model=settings.model.source,
        task=settings.model.task,
        target=settings.compile.target,
        shapes=tuple(parse_shape(bucket) for bucket in settings.compile.buckets),
        out=out,
        revision=source.revision,
        allow_pickle=settings.model.allow_pickle,
        trust_remote_code=settings.model.trust_remote_code,
        pooling=settings.model.pooling,
        normalize=settings.model.normalize,
        tier=settings.compile.tier,
        truncate=settings.compile.truncate,
        choices=settings.model.choices,
        samples=None if settings.compile.samples is None else Path(settings.compile.samples).absolute(),
        waivers=tuple(Waiver(gate=gate, reason=why) for gate, why in sorted(settings.compile.waive.items())),
        compiler=CompilerOptions(
            arguments=settings.compile.compiler_args,
            timeout_seconds=settings.compile.compiler_timeout_seconds,
            min_coverage=settings.compile.min_coverage_percent,
        ),
    )


def _compile_key(settings: Settings, source: Source) -> str:
    """SHA-256 over everything that could change the artifact: content, options, versions, our code."""
    code = [CHECKOUT / folder for folder in ("artifact", "compile")]
    files = sorted(
        path for folder in code for path in folder.rglob("*") if path.suffix in {".py", ".json", ".toml"}
    )
    parts = {
        "source": msgspec.to_builtins(source),
        "model": settings.model.model_dump(mode="json"),
        "compile": settings.compile.model_dump(mode="json"),
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers", "safetensors")},
        "code": {str(f.relative_to(CHECKOUT)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
