"""What ``traceship ship`` does: plan, compile, verify, package, sign, upload, publish, measure, lock.

It may be killed anywhere; run again, it goes on and ends in the same release. A finished compile
lies under the key that the compile cache gives it, blobs lie in S3 under their digest, and what
neither tells (archive, signatures, measured speed) is kept with a record in the journal
(``cli/kept.py``). Where the release is in S3 and the lock names it, nothing is left to do.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import subprocess
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import UNSET, UnsetType

from artifact.canonical import encode
from artifact.errors import TraceshipError
from artifact.failpoints import failpoint
from artifact.interpreter import module_command
from artifact.release import (
    PLACEHOLDER_DIGEST,
    SIGNATURE_FILE,
    ArtifactFacts,
    Device,
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
from cli.journal import Journal
from cli.kept import Kept, Measure, Sign, Speed
from cli.project import Project
from cli.signers import Signer
from cli.signing import is_signed_by, signed_by, signed_files, signer_of
from cli.transfer import transfer
from infra.lock import LockInvalid, ami_of, read_lock
from infra.names import artifacts_bucket, key_alias_arn, release_name, repository
from settings.model import Settings

if TYPE_CHECKING:
    from cli.compiling import Runner
    from compile.publish import Destination, Published
    from compile.request import CompileRequest

ARTIFACTS = "artifacts"
"""Folder in the state folder; an artifact's name there is its key in the compile cache."""

FRESH = "fresh compile"
"""The journal's name for a compile past the cache, which no content-addressed folder tells of."""

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


def compile_artifact(project: Project, *, fresh: bool = False, runner: Runner | None = None) -> Built:
    """Compile what the settings name, or take the finished artifact of an earlier run.

    Args:
        fresh: compile even if one is there.
        runner: in place of the one that the settings name.

    Raises:
        ReleaseOfAnother: the service runs what another one ships.
        What the compile stage raises; no artifact is left behind then.
    """
    from cli.compiling import caches, compile_on, result_text, runner_of
    from cli.reporting import keep_result
    from compile.cache.through import key_of

    project.check_ships()
    planned = _with_buckets(project)
    settings = planned.compile
    chosen = runner or runner_of(
        settings.runner, settings.image, project, fresh=fresh, spread=settings.spread
    )
    through = caches(shared=settings.cache, gigabytes=settings.cache_gb)
    request = _compile_request(planned, project.service_state)
    key = key_of(request, chosen.environment, through.local, lambda line: talk(f"  {line}"))
    made = project.service_state / ARTIFACTS
    _remove_drafts(made)
    out = made / key.digest
    # a branch on the Hub is resolved once, for the key and for the compile
    request = replace(request, out=out, revision=key.source.revision)
    journal = Journal(project.service_state)
    if fresh and not _is_open(journal, key.digest):
        shutil.rmtree(request.out, ignore_errors=True)
    elif (there := _whole(request.out)) is not None:
        talk("  nothing changed since the last compile: its artifact is used again")
        return Built(path=there.root, digest=there.digest, reused=True)
    compiled = compile_on(chosen, request, through=None if fresh else through)
    with failpoint("compile.result"):
        keep_result(compiled)
    if fresh:
        journal.record(FRESH, key.digest, {"digest": compiled.digest, "shipped": False})
    talk(result_text(compiled))
    return Built(path=compiled.path, digest=compiled.digest, reused=compiled.cached)


def _is_open(journal: Journal, key: str) -> bool:
    """Whether a ship compiled this afresh and was interrupted since: its rerun goes on from there."""
    outcome = journal.outcome(FRESH, key)
    return outcome is not None and not outcome["shipped"]


def _close_fresh(journal: Journal, digest: str) -> None:
    """The artifact is shipped: whoever wants a fresh compile now gets one."""
    made = {record["of"]: record["outcome"] for record in journal.records() if record["step"] == FRESH}
    for key, outcome in made.items():
        if outcome == {"digest": digest, "shipped": False}:
            journal.record(FRESH, key, {"digest": digest, "shipped": True})


def _remove_drafts(folder: Path) -> None:
    """What a compile that was killed left half-made; whoever ships holds the state folder alone."""
    for draft in [*folder.glob(".*.partial"), *folder.glob(".*.docker")]:
        if draft.is_file():
            draft.unlink()
        shutil.rmtree(draft, ignore_errors=True)


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


@dataclass(frozen=True)
class Vouching:
    """Who signs, if anybody, and what makes the files that a release has beside its manifest."""

    signer: Signer | None
    sign: Sign

    @classmethod
    def of(cls, project: Project) -> Vouching:
        """As the settings say."""
        return cls(signer=signer_of(project), sign=partial(signed_files, project))

    @property
    def by(self) -> str:
        """Whose signatures those are, so that another key signs anew."""
        return "nobody" if self.signer is None else self.signer.public_key.id


def check_destination(project: Project) -> None:
    """See, before a compile that may take hours, that its artifact could be signed and published.

    Raises:
        SigningKeyUnusable, SignerNotTrusted: see there.
        BucketMissing, BucketForeign, WrongRegion, AwsDenied, AwsUnreachable, AwsRefused: what AWS said.
    """
    from compile.publish import check_bucket

    signer_of(project)
    check_bucket(destination_of(project), project.client("s3"))


def destination_of(project: Project) -> Destination:
    """Where the project's release is published."""
    from compile.publish import Destination

    name = project.settings.project.name
    return Destination(
        account=project.account,
        region=project.region,
        bucket=artifacts_bucket(name, project.account, project.region),
        name=release_name(project.settings),
        kms_key=key_alias_arn(name, project.account, project.region),
        publisher=project.caller,
    )


def publish_artifact(
    project: Project,
    root: Path,
    *,
    measure: Measure | None = None,
    vouching: Vouching | None = None,
) -> Shipped:
    """Upload the artifact at ``root``, then write the lock that names it.

    Only the lock and S3 decide what is left to do: a release that is gone there is published again.

    Args:
        measure: in place of a process that times the artifact.
        vouching: in place of the settings' signer and what is recorded of the compile.

    Raises:
        ReleaseOfAnother: the service runs what another one ships.
        What ``compile.publish.publish`` raises; the lock is untouched then.
    """
    project.check_ships()
    artifact, to = verify(root), destination_of(project)
    journal, before = Journal(project.service_state), _lock_before(project, artifact, to)
    kept = Kept(project.service_state, journal, artifact)
    vouching = Vouching.of(project) if vouching is None else vouching
    published, signed = _published(project, kept, to, before, vouching)
    where = f"{artifact.digest} in {to.account} {to.region} {to.bucket} as {to.name}"
    if published.uploaded_bytes > 0:
        journal.record("publish", where, {"prefix": published.prefix})
    known = before or kept.speed(measure or _speed)
    lock = _lock(project.settings, artifact, published, to, known=known, signed=signed)
    unchanged = lock == before and published.uploaded_bytes == 0
    if unchanged:
        talk(f"  nothing to do: {published.prefix} is in s3://{to.bucket} and the lock names it")
    else:
        project.write_lock(lock)
        journal.record("lock", where, {"sha256": hashlib.sha256(encode(lock)).hexdigest()})
    _close_fresh(journal, artifact.digest)
    kept.drop()
    return Shipped(lock=lock, published=published, unchanged=unchanged)


def _published(
    project: Project,
    kept: Kept,
    to: Destination,
    before: ReleaseLock | None,
    vouching: Vouching,
) -> tuple[Published, Signed | UnsetType]:
    """The release in S3, found there or made of what is kept and what is still to be made; who signed it."""
    from compile.publish import find_release, publish

    s3, artifact = project.client("s3"), kept.artifact
    packed = kept.packed()
    found, standing = None, before is not None and is_signed_by(before, vouching.signer)
    if before is not None and standing:
        signed = UNSET if vouching.signer is None else before.signed
        # another genuine signature would do for a reader, but the lock and the bucket must say the same
        beside = {} if isinstance(signed, UnsetType) else {SIGNATURE_FILE: signed.data}
        checksum = None if packed is None else packed.checksum
        found = find_release(
            artifact,
            to,
            s3,
            archive_bytes=before.artifact.archive_bytes,
            archive_checksum=checksum,
            beside=beside,
        )
    elif packed is not None and kept.was_signed(by=vouching.by):
        beside = kept.signed(vouching.sign, by=vouching.by)
        signed = signed_by(beside, vouching.signer)
        found = find_release(
            artifact, to, s3, archive_bytes=packed.size, archive_checksum=packed.checksum, beside=beside
        )
    if found is not None:
        return found, signed
    if done := kept.finished():
        talk(f"  an earlier ship of this finished {', '.join(done)}: what still holds is not done again")
    with step("package"):
        archive = kept.archive()
    beside = kept.signed(vouching.sign, by=vouching.by)
    if before is not None and standing and not isinstance(before.signed, UnsetType) and vouching.signer:
        beside = {**beside, SIGNATURE_FILE: before.signed.data}  # so that the lock, and a template, can stay
    with step(f"publish to s3://{to.bucket}"), transfer() as progress:
        published = publish(
            artifact,
            to,
            s3,
            report=lambda line: talk(f"  {line}"),
            progress=progress,
            archive=archive,
            beside=beside,
        )
    return published, signed_by(beside, vouching.signer)


def _lock_before(project: Project, artifact: VerifiedArtifact, to: Destination) -> ReleaseLock | None:
    """The lock of an earlier run if it names this very artifact in this very place."""
    try:
        lock = read_lock(project.lock_path)
    except LockInvalid as error:
        talk(f"  {error.what} ({error.why}): a new one is written")
        return None
    if lock is None or (lock.digest, lock.location) != (artifact.digest, location_of(artifact.digest, to)):
        return None
    return lock


def location_of(digest: str, to: Destination) -> Location:
    """What the lock says of it."""
    return Location(
        account=to.account, region=to.region, bucket=to.bucket, prefix=release_prefix(to.name, digest)
    )


def _lock(
    settings: Settings,
    artifact: VerifiedArtifact,
    published: Published,
    to: Destination,
    *,
    known: Speed | ReleaseLock,
    signed: Signed | UnsetType,
) -> ReleaseLock:
    """The lock of a published artifact. ``known``: its speed, or an earlier lock that holds it."""
    manifest = artifact.manifest
    size = sum(file.size for file in manifest.files)
    if isinstance(known, ReleaseLock):
        startup_seconds = known.startup_seconds
    else:
        startup_seconds = math.ceil(known.load_seconds + size / FETCH_BYTES_PER_SECOND)
    return ReleaseLock(
        tool_version=version("traceship"),
        name=release_name(settings),
        digest=published.digest,
        location=location_of(published.digest, to),
        artifact=ArtifactFacts(
            task=manifest.task,
            architecture=manifest.architecture,
            buckets=manifest.buckets,
            requires=manifest.requires,
            waivers=manifest.waivers,
            files_bytes=size,
            archive_bytes=published.archive_bytes,
            blobs=tuple(sorted({file.sha256 for file in manifest.files})),
            device=_device(artifact),
        ),
        serving_image=_image(settings.serve.image, repository(settings.project.name, "serving")),
        compile_image=_image(settings.compile.image, repository(settings.project.name, "compile")),
        ami=ami_of(settings),
        throughput=known.throughput,
        startup_seconds=startup_seconds,
        signed=signed,
    )


def _device(artifact: VerifiedArtifact) -> Device | UnsetType:
    from compile.capacity import footprint

    if artifact.manifest.requires.target != "inf1":
        return UNSET
    needs = footprint(artifact)
    return Device(cores=needs.cores, bytes=needs.device_bytes)


def _speed(root: Path) -> Speed:
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
    throughput = Throughput(
        per_second=float(found["per_second"]), measured=found["measured"], source=found["source"]
    )
    return Speed(throughput=throughput, load_seconds=found["load_seconds"])


def _image(pinned: str | None, repository: str) -> Image:
    if pinned is None:
        return Image(repository=repository, digest=PLACEHOLDER_DIGEST, placeholder=True)
    name, _, digest = pinned.partition("@sha256:")
    return Image(repository=name, digest=digest, placeholder=False)


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
