"""What ``traceship ship`` does: compile, verify, publish, lock. Run it again and it goes on.

A finished compile is kept under the key that the compile cache gives it, so that a rerun after an
interruption starts at the upload; blobs that S3 already has are not sent again. Where the release
is in S3 and the lock names it, nothing is left to do.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import UNSET, UnsetType

from artifact.errors import TraceshipError
from artifact.interpreter import module_command
from artifact.release import (
    PLACEHOLDER_AMI,
    PLACEHOLDER_DIGEST,
    Ami,
    ArtifactFacts,
    Image,
    Location,
    ReleaseLock,
    Signed,
    Throughput,
    release_prefix,
)
from artifact.verify import VerifiedArtifact, verify
from cli.console import step, talk
from cli.failure import SubprocessFailed
from cli.project import Project
from cli.signing import is_signed_by, signed_by, signed_files, signer_of
from cli.transfer import transfer
from infra.lock import LockInvalid, read_lock
from infra.names import artifacts_bucket, key_alias_arn, repository
from settings.model import Settings

if TYPE_CHECKING:
    from compile.publish import Destination, Published
    from compile.request import CompileRequest

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
    """A release and the lock that names it. ``unchanged``: both were there already, as they are now."""

    lock: ReleaseLock
    published: Published
    unchanged: bool


def compile_artifact(project: Project, *, fresh: bool = False) -> Built:
    """Compile what the settings name, or take the finished artifact of an earlier run.

    Args:
        fresh: compile even if one is there.

    Raises:
        What the compile stage raises; no artifact is left behind then.
    """
    from cli.compiling import caches, compile_on, result_text, runner_of
    from cli.reporting import keep_result
    from compile.cache.through import key_of

    planned = _with_buckets(project)
    settings = planned.compile
    chosen = runner_of(settings.runner, settings.image, project, fresh=fresh, spread=settings.spread)
    through = caches(shared=settings.cache, gigabytes=settings.cache_gb)
    request = _compile_request(planned, project.state)
    key = key_of(request, chosen.environment, through.local, lambda line: talk(f"  {line}"))
    out = project.state / "artifacts" / key.digest
    # a branch on the Hub is resolved once, for the key and for the compile
    request = replace(request, out=out, revision=key.source.revision)
    if fresh:
        shutil.rmtree(request.out, ignore_errors=True)
    elif (there := _whole(request.out)) is not None:
        talk("  nothing changed since the last compile: its artifact is used again")
        return Built(path=there.root, digest=there.digest, reused=True)
    compiled = compile_on(chosen, request, through=None if fresh else through)
    keep_result(compiled)
    talk(result_text(compiled))
    return Built(path=compiled.path, digest=compiled.digest, reused=compiled.cached)


def _whole(folder: Path) -> VerifiedArtifact | None:
    """The artifact in our working folder; a damaged one is removed, so that it is made again."""
    if not folder.is_dir():
        return None
    try:
        return verify(folder)
    except TraceshipError as error:
        talk(f"  {error.what} ({error.why}): {folder} is made again")
        shutil.rmtree(folder)
        return None


def _with_buckets(project: Project) -> Settings:
    """The settings, with the buckets planned from the lengths file where they are ``"auto"``."""
    from cli.planning import make_plan
    from compile.planning import Limits
    from compile.source import Allowed, resolve

    settings = project.settings
    if settings.compile.lengths is None:
        return settings
    plan, _ = make_plan(
        project.root / settings.compile.lengths,
        Limits(buckets=settings.compile.auto_buckets),
        source=resolve(
            settings.model.source,
            revision=settings.model.revision,
            allowed=Allowed(pickle=settings.model.allow_pickle, remote_code=settings.model.trust_remote_code),
        ),
        batch=settings.compile.auto_batch,
    )
    shapes = plan.options[1::2]
    talk(f"  planned the buckets {', '.join(shapes)}: padding {plan.padding_waste:.1%} of all tokens")
    buckets = {"buckets": shapes, "lengths": None}
    return settings.model_copy(update={"compile": settings.compile.model_copy(update=buckets)})


def publish_artifact(project: Project, root: Path) -> Shipped:
    """Upload the artifact at ``root``, then write the lock that names it.

    Only the lock and S3 decide what is left to do: a release that is gone there is published again.

    Raises:
        What ``compile.publish.publish`` raises; the lock is untouched then.
    """
    from compile.publish import Destination, find_release, publish

    artifact = verify(root)
    to = Destination(
        account=project.account,
        region=project.region,
        bucket=artifacts_bucket(project.settings.project.name, project.account, project.region),
        name=project.settings.project.name,
        kms_key=key_alias_arn(project.settings.project.name, project.account, project.region),
        publisher=project.caller,
    )
    s3, before, signer = project.client("s3"), _lock_before(project, artifact, to), signer_of(project)
    published: Published | None = None
    signed: Signed | UnsetType = UNSET
    if before is not None and is_signed_by(before, signer):
        published = find_release(artifact, to, s3, archive_bytes=before.artifact.archive_bytes)
        signed = before.signed if signer is not None else UNSET
    if published is None:
        files = signed_files(project, artifact)
        signed = signed_by(files, signer)
        with step(f"publish to s3://{to.bucket}"), transfer() as progress:
            published = publish(
                artifact, to, s3, beside=files, report=lambda line: talk(f"  {line}"), progress=progress
            )
    lock = _lock(project.settings, artifact, published, to, before=before, signed=signed)
    unchanged = lock == before and published.uploaded_bytes == 0
    if unchanged:
        talk(f"  nothing to do: {published.prefix} is in s3://{to.bucket} and the lock names it")
    else:
        project.write_lock(lock)
    return Shipped(lock=lock, published=published, unchanged=unchanged)


def _lock_before(project: Project, artifact: VerifiedArtifact, to: Destination) -> ReleaseLock | None:
    """The lock of an earlier run if it names this very artifact in this very place."""
    try:
        lock = read_lock(project.lock_path)
    except LockInvalid as error:
        talk(f"  {error.what} ({error.why}): a new one is written")
        return None
    if lock is None or (lock.digest, lock.location) != (artifact.digest, _location(artifact.digest, to)):
        return None
    return lock


def _location(digest: str, to: Destination) -> Location:
    return Location(
        account=to.account, region=to.region, bucket=to.bucket, prefix=release_prefix(to.name, digest)
    )


def _lock(
    settings: Settings,
    artifact: VerifiedArtifact,
    published: Published,
    to: Destination,
    *,
    before: ReleaseLock | None,
    signed: Signed | UnsetType,
) -> ReleaseLock:
    """The lock of a published artifact; what ``before`` measured of the same one is not measured again."""
    manifest = artifact.manifest
    size = sum(file.size for file in manifest.files)
    if before is None:
        speed = _speed(artifact.root)
        throughput = Throughput(
            per_second=float(speed["per_second"]), measured=speed["measured"], source=speed["source"]
        )
        startup_seconds = math.ceil(speed["load_seconds"] + size / FETCH_BYTES_PER_SECOND)
    else:
        throughput, startup_seconds = before.throughput, before.startup_seconds
    return ReleaseLock(
        tool_version=version("traceship"),
        name=settings.project.name,
        digest=published.digest,
        location=_location(published.digest, to),
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
        throughput=throughput,
        startup_seconds=startup_seconds,
        signed=signed,
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


def _compile_request(settings: Settings, out: Path) -> CompileRequest:
    from artifact.manifest import Waiver
    from compile.request import CompileRequest, CompilerOptions, Work, parse_shape

    return CompileRequest(
        model=settings.model.source,
        task=settings.model.task,
        target=settings.compile.target,
        shapes=tuple(parse_shape(bucket) for bucket in settings.compile.buckets),
        out=out,
        revision=settings.model.revision,
        allow_pickle=settings.model.allow_pickle,
        trust_remote_code=settings.model.trust_remote_code,
        pooling=settings.model.pooling,
        normalize=settings.model.normalize,
        tier=settings.compile.tier,
        truncate=settings.compile.truncate,
        choices=settings.model.choices,
        max_target_length=settings.model.max_target_length,
        num_beams=settings.model.num_beams,
        samples=None if settings.compile.samples is None else Path(settings.compile.samples).absolute(),
        waivers=tuple(Waiver(gate=gate, reason=why) for gate, why in sorted(settings.compile.waive.items())),
        compiler=CompilerOptions(
            arguments=settings.compile.compiler_args,
            casting=settings.compile.casting,
            fast_relayout=settings.compile.fast_relayout,
            optimization=settings.compile.optimization,
            pipeline_cores=settings.compile.pipeline_cores,
            dynamic_batch=settings.compile.dynamic_batch,
            separate_weights=settings.compile.separate_weights,
            timeout_seconds=settings.compile.compiler_timeout_seconds,
            min_coverage=settings.compile.min_coverage_percent,
            max_partitions=settings.compile.max_partitions,
            allowed_fallback=settings.compile.allow_fallback,
        ),
        work=Work(jobs=settings.compile.jobs),
    )
