"""A release of one stage made the release of another: the same bytes, another account or region.

Nothing is compiled again. The release is fetched and verified against the digest of the source's lock,
published as ``ship`` publishes, its signature and records come along unchanged, and its images are
copied by digest. The lock is written last.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass

import msgspec

from artifact.aws import AwsClient, translated
from artifact.errors import UsageError
from artifact.release import (
    PROVENANCE_FILE,
    SBOM_FILE,
    SIGNATURE_FILE,
    SIGNED_PROVENANCE_FILE,
    Image,
    ReleaseLock,
    release_prefix,
)
from artifact.verify import VerifiedArtifact
from cli.console import step, talk
from cli.project import Project
from cli.shipping import destination_of, location_of
from cli.transfer import transfer
from fleet.image_copy import Repository, copy_image
from infra.lock import ami_of, read_lock
from infra.names import release_name, repository
from infra.pins import parse_pin, parse_repository
from infra.signing import signing_environment

PROMOTED = "promoted"
"""Of the state folder: releases on their way."""
BESIDE = (SIGNATURE_FILE, PROVENANCE_FILE, SIGNED_PROVENANCE_FILE, SBOM_FILE)


class SamePlace(UsageError):
    """A release was to be promoted to where it is."""

    id = "same-place"

    def __init__(self, *, place: str) -> None:
        super().__init__(
            what="the release is there already",
            why=f"both stages are the release {place}",
            fix="name the stage to promote from with --from, and the one to promote to with --stage",
        )


class ImageNotPromoted(UsageError):
    """The settings of the target pin another image than the one that the release was proven with."""

    id = "image-not-promoted"

    def __init__(self, *, key: str, wanted: str, proven: str) -> None:
        super().__init__(
            what=f"{key} is not the image of the release",
            why=f"the settings pin {wanted[:12]}, the release was shipped with {proven[:12]}",
            fix=f"pin {proven} there or take {key} out; another image is another release: ship it",
        )


@dataclass(frozen=True)
class Promoted:
    """The lock of the target. ``unchanged``: it named this release before, and S3 held all of it."""

    lock: ReleaseLock
    unchanged: bool
    sent_bytes: int


def promote(source: Project, target: Project) -> Promoted:
    """Make the release of ``source``'s lock the release of ``target``.

    Raises:
        LockMissing, LockInvalid: of the source.
        SamePlace, ImageNotPromoted, ReleaseOfAnother: see there.
        SignatureMissing, WrongKey, …: the target pins keys, and none of them signed the release.
        ReleaseMissing, DownloadChanged, …: the source's bucket does not hold what its lock names.
        ReleaseTaken, BucketMissing, ImageAbsent, AwsDenied, …: about the target; its lock is untouched.
    """
    from compile.publish import check_bucket, publish

    target.check_ships()
    before, to = source.lock(), destination_of(target)
    if before.location == location_of(before.digest, to):
        raise SamePlace(place=f"s3://{to.bucket}/{before.location.prefix}")
    signing_environment(target.settings.signing, before)
    images = {key: _promised(target, key, getattr(before, f"{key}_image")) for key in ("serving", "compile")}
    s3 = target.client("s3")
    check_bucket(to, s3)
    with step(f"fetch and verify {before.location.prefix}"):
        artifact = _fetched(source, target, before)
    beside = _beside(source.client("s3"), before)
    sent = sum(
        _bring(source, target, getattr(before, f"{key}_image"), image) for key, image in images.items()
    )
    with step(f"publish to s3://{to.bucket}"), transfer() as progress:
        published = publish(
            artifact, to, s3, report=lambda line: talk(f"  {line}"), progress=progress, beside=beside
        )
    lock = msgspec.structs.replace(
        before,
        name=release_name(target.settings),
        location=location_of(before.digest, to),
        artifact=msgspec.structs.replace(before.artifact, archive_bytes=published.archive_bytes),
        serving_image=images["serving"],
        compile_image=images["compile"],
        ami=ami_of(target.settings),
    )
    sent += published.uploaded_bytes
    unchanged = sent == 0 and read_lock(target.lock_path) == lock
    if not unchanged:
        target.write_lock(lock)
    shutil.rmtree(target.service_state / PROMOTED)
    return Promoted(lock=lock, unchanged=unchanged, sent_bytes=sent)


def _fetched(source: Project, target: Project, lock: ReleaseLock) -> VerifiedArtifact:
    from inference_code.fetch import FetchOptions, fetch

    folder = target.service_state / PROMOTED / lock.digest
    folder.parent.mkdir(parents=True, exist_ok=True)
    where = lock.location
    options = FetchOptions(
        bucket=where.bucket, prefix=where.prefix, digest=lock.digest, to=folder, owner=where.account
    )
    return fetch(options, source.client("s3"))


def _beside(s3: AwsClient, lock: ReleaseLock) -> dict[str, bytes]:
    """Signature, provenance and SBOM from beside the source's manifest; the lock's signature goes first."""
    from botocore.exceptions import ClientError

    where, found = lock.location, {}
    for name in BESIDE:
        key = f"{release_prefix(lock.name, lock.digest)}/{name}"
        with translated(f"read s3://{where.bucket}/{key}"):
            try:
                answer = s3.get_object(Bucket=where.bucket, Key=key, ExpectedBucketOwner=where.account)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") not in {"404", "NoSuchKey"}:
                    raise
                continue
            found[name] = answer["Body"].read()
    if not isinstance(lock.signed, msgspec.UnsetType):
        found[SIGNATURE_FILE] = lock.signed.data
    return found


def _promised(target: Project, key: str, proven: Image) -> Image:
    """The image in the target's registry: where its settings pin it, else in the project's repository."""
    settings = target.settings
    section = {
        "serving": ("serve.image", settings.serve.image),
        "compile": ("compile.image", settings.compile.image),
    }
    name, pin = section[key]
    if pin is not None:
        place, digest = parse_pin(pin)
        if digest != proven.digest:
            raise ImageNotPromoted(key=name, wanted=digest, proven=proven.digest)
        return Image(repository=place, digest=digest, placeholder=False)
    return msgspec.structs.replace(proven, repository=repository(settings.project.name, key))


def _bring(source: Project, target: Project, old: Image, new: Image) -> int:
    """Copy one image unless nobody knows it yet; returns the bytes sent, 0 where it is there already."""
    if old.placeholder:
        return 0
    there, here = _repository(source, old), _repository(target, new)
    with step(f"copy the image sha256:{old.digest[:12]} to {here.name}"):
        return copy_image(there, here, old.digest, report=lambda line: talk(f"  {line}"))


def _repository(project: Project, image: Image) -> Repository:
    account, region, name = parse_repository(image.repository)
    return Repository(ecr=project.client("ecr", region), registry=account or project.account, name=name)
