"""A verified artifact in, a release in S3 out: blobs, archive, then the manifest.

Content-addressed blobs first, ``manifest.json`` last with ``If-None-Match: *``: the release
exists iff its manifest does, so a reader never meets half of one, and whoever runs this again
after an interruption uploads only what is missing. Pairs with ``inference_code/fetch.py``.
"""

from __future__ import annotations

import base64
import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from artifact.aws import AwsClient, BucketMissing, translated
from artifact.errors import Conflict, UsageError
from artifact.failpoints import failpoint
from artifact.manifest import MANIFEST, File
from artifact.release import archive_key, blob_key, manifest_key, release_prefix
from artifact.verify import VerifiedArtifact, verify
from compile.archive import Archive, artifact_members, write_archive

MAX_PUT_BYTES = 5 * 1024**3
"""Largest single PutObject (Amazon S3 user guide, "Uploading objects")."""


class FileTooLarge(UsageError):
    """A file is larger than one PutObject takes."""

    id = "file-too-large"

    def __init__(self, *, path: str, size: int) -> None:
        super().__init__(
            what=f"{path} cannot be uploaded in one piece",
            why=f"it has {size} bytes, S3 takes at most {MAX_PUT_BYTES}",
            fix="compile fewer or smaller buckets",
        )


class ReleaseTaken(Conflict):
    """Another manifest lies where ours belongs."""

    id = "release-taken"

    def __init__(self, *, key: str) -> None:
        super().__init__(
            what=f"{key} is already there with other content",
            why="its place is named after our digest, so that object was damaged or planted",
            fix="inspect the object's versions and remove the wrong one, then ship again",
        )


@dataclass(frozen=True)
class Destination:
    """Where to publish. ``account`` must own ``bucket``; it goes with every call."""

    account: str
    region: str
    bucket: str
    name: str


@dataclass(frozen=True)
class Published:
    """A release that is complete in S3. ``uploaded_bytes`` is what this run had to send."""

    digest: str
    prefix: str
    archive_bytes: int
    uploaded_bytes: int
    reused_files: int


def publish(
    root: Path,
    destination: Destination,
    s3: AwsClient,
    *,
    report: Callable[[str], None],
    archive: Archive | None = None,
    beside: Mapping[str, bytes] = MappingProxyType({}),
) -> Published:
    """Upload the artifact at ``root`` and make it a release.

    Args:
        archive: its model.tar.gz where the caller has it; else one is written, and is lost with this process.
        beside: small files, such as signatures, that the release has beside its manifest.

    Raises:
        ArtifactChanged: the folder does not verify; nothing was sent.
        BucketMissing, AwsDenied, AwsUnreachable, AwsRefused: what S3 said; run again to go on.
        FileTooLarge, ReleaseTaken: see there.
    """
    artifact = verify(root)
    with translated(f"publish to the bucket {destination.bucket}"):
        _check_bucket(s3, destination)
        writer = _Writer(s3, destination, report)
        for file in artifact.manifest.files:
            with failpoint("publish.blob"):
                writer.put_blob(artifact, file)
        with _given_or_made(archive, artifact) as packed, failpoint("publish.archive"):
            writer.put_archive(archive_key(destination.name, artifact.digest), packed)
        for name, data in beside.items():
            with failpoint("publish.beside"):
                writer.put_beside(f"{release_prefix(destination.name, artifact.digest)}/{name}", data)
        with failpoint("publish.manifest"):
            writer.put_manifest(artifact)
    return Published(
        digest=artifact.digest,
        prefix=release_prefix(destination.name, artifact.digest),
        archive_bytes=packed.size,
        uploaded_bytes=writer.uploaded_bytes,
        reused_files=writer.reused_files,
    )


@contextmanager
def _given_or_made(archive: Archive | None, artifact: VerifiedArtifact) -> Iterator[Archive]:
    if archive is not None:
        yield archive
        return
    with tempfile.TemporaryDirectory(prefix="traceship-") as folder:
        yield write_archive(artifact_members(artifact), Path(folder) / "model.tar.gz")


def find_release(
    artifact: VerifiedArtifact, destination: Destination, s3: AwsClient, *, archive_bytes: int
) -> Published | None:
    """The release of ``artifact`` if all of it is in S3: nothing is sent, and no archive is made.

    Args:
        archive_bytes: of model.tar.gz when it was published. Its content is not compared: S3 confirmed
            the checksum when it was put, before the manifest.

    Raises:
        BucketMissing, AwsDenied, AwsUnreachable, AwsRefused: what S3 said.
        ReleaseTaken: another manifest lies where ours belongs.
    """
    archive = archive_key(destination.name, artifact.digest)
    with translated(f"look at the release in the bucket {destination.bucket}"):
        _check_bucket(s3, destination)
        reader = _Reader(s3, destination)
        if not reader.holds_manifest(artifact) or reader.size(archive) != archive_bytes:
            return None
        if not all(reader.holds(blob_key(file.sha256), file) for file in artifact.manifest.files):
            return None
    return Published(
        digest=artifact.digest,
        prefix=release_prefix(destination.name, artifact.digest),
        archive_bytes=archive_bytes,
        uploaded_bytes=0,
        reused_files=len(artifact.manifest.files),
    )


def _check_bucket(s3: AwsClient, destination: Destination) -> None:
    from botocore.exceptions import ClientError

    try:
        s3.head_bucket(Bucket=destination.bucket, ExpectedBucketOwner=destination.account)
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code"))
        if code in {"404", "NoSuchBucket"}:
            raise BucketMissing(bucket=destination.bucket, why="there is no such bucket") from None
        raise


class _Reader:
    """Says what is there *and* right: S3 keeps the checksum it confirmed when an object was put."""

    def __init__(self, s3: AwsClient, destination: Destination) -> None:
        self._s3 = s3
        self._to = destination

    def holds(self, key: str, file: File) -> bool:
        """Whether the object has the file's size and checksum."""
        head = self._head(key)
        return (head.get("ContentLength"), head.get("ChecksumSHA256")) == (file.size, _base64(file.sha256))

    def size(self, key: str) -> int | None:
        """Bytes of the object, or None where there is none."""
        return self._head(key).get("ContentLength")

    def holds_manifest(self, artifact: VerifiedArtifact) -> bool:
        """Whether the release's manifest is there.

        Raises:
            ReleaseTaken: something else lies in its place.
        """
        from botocore.exceptions import ClientError

        key = manifest_key(self._to.name, artifact.digest)
        try:
            there = self._s3.get_object(Bucket=self._to.bucket, Key=key, ExpectedBucketOwner=self._to.account)
        except ClientError as error:
            if _is_missing(error):
                return False
            raise
        if there["Body"].read() != (artifact.root / MANIFEST).read_bytes():
            raise ReleaseTaken(key=key)
        return True

    def _head(self, key: str) -> dict[str, Any]:
        """The object's description; empty where there is none."""
        from botocore.exceptions import ClientError

        try:
            head: dict[str, Any] = self._s3.head_object(
                Bucket=self._to.bucket,
                Key=key,
                ChecksumMode="ENABLED",
                ExpectedBucketOwner=self._to.account,
            )
        except ClientError as error:
            if _is_missing(error):
                return {}
            raise
        return head


def _is_missing(error: Any) -> bool:
    return str(error.response.get("Error", {}).get("Code")) in {"404", "NoSuchKey"}


class _Writer:
    """Puts objects that are not there yet, each with the SHA-256 that S3 must confirm."""

    def __init__(self, s3: AwsClient, destination: Destination, report: Callable[[str], None]) -> None:
        self._s3 = s3
        self._to = destination
        self._reader = _Reader(s3, destination)
        self._report = report
        self.uploaded_bytes = 0
        self.reused_files = 0

    def put_blob(self, artifact: VerifiedArtifact, file: File) -> None:
        self._put_file(blob_key(file.sha256), artifact.root / file.path, file, shown=file.path)

    def put_archive(self, key: str, archive: Archive) -> None:
        entry = File(path="model.tar.gz", size=archive.size, sha256=archive.sha256)
        self._put_file(key, archive.path, entry, shown="model.tar.gz")

    def put_beside(self, key: str, data: bytes) -> None:
        sha256 = hashlib.sha256(data).hexdigest()
        if self._reader.holds(key, File(path=key, size=len(data), sha256=sha256)):
            return
        self._s3.put_object(
            Bucket=self._to.bucket,
            Key=key,
            Body=data,
            ChecksumAlgorithm="SHA256",
            ChecksumSHA256=_base64(sha256),
            ExpectedBucketOwner=self._to.account,
        )
        self.uploaded_bytes += len(data)

    def put_manifest(self, artifact: VerifiedArtifact) -> None:
        from botocore.exceptions import ClientError

        key = manifest_key(self._to.name, artifact.digest)
        body = (artifact.root / MANIFEST).read_bytes()
        try:
            self._s3.put_object(
                Bucket=self._to.bucket,
                Key=key,
                Body=body,
                ChecksumAlgorithm="SHA256",
                ChecksumSHA256=_base64(artifact.digest),
                ContentType="application/json",
                ExpectedBucketOwner=self._to.account,
                IfNoneMatch="*",
            )
            self.uploaded_bytes += len(body)
        except ClientError as error:
            # 412 also comes when an earlier attempt of ours arrived and only its answer was lost.
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != 412:
                raise
            self._reader.holds_manifest(artifact)
        self._report(f"published {key}")

    def _put_file(self, key: str, path: Path, file: File, *, shown: str) -> None:
        if file.size > MAX_PUT_BYTES:
            raise FileTooLarge(path=shown, size=file.size)
        if self._reader.holds(key, file):
            self.reused_files += 1
            return
        with path.open("rb") as body:
            self._s3.put_object(
                Bucket=self._to.bucket,
                Key=key,
                Body=body,
                ChecksumAlgorithm="SHA256",
                ChecksumSHA256=_base64(file.sha256),
                ContentLength=file.size,
                ExpectedBucketOwner=self._to.account,
            )
        self.uploaded_bytes += file.size
        self._report(f"uploaded {shown} ({file.size / 1e6:.1f} MB)")


def _base64(sha256_hex: str) -> str:
    return base64.b64encode(bytes.fromhex(sha256_hex)).decode()
