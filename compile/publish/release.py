"""What makes a release, in which order, and who made it.

Blobs and archive, then the files beside the manifest, then the manifest. The last write decides:
S3 lets one manifest into its place. Whoever comes second with the same bytes is told who was first
and has the same release; with other bytes there it is a conflict.
"""

from __future__ import annotations

import errno
import hashlib
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from artifact.aws import AwsClient, is_transport, translated
from artifact.canonical import encode
from artifact.failpoints import failpoint
from artifact.manifest import MANIFEST, File
from artifact.release import ARCHIVE, archive_key, blob_key, manifest_key, release_prefix
from artifact.verify import ListedArtifact, VerifiedArtifact, listed, verify
from compile.archive import Parcel, artifact_members, write_parcel
from compile.cut import encoded, in_one_piece
from compile.publish.bucket import LISTED_PER_PAGE, Bucket, Destination, Head, Listing
from compile.publish.errors import (
    NameReserved,
    ReleaseTaken,
    ReleaseVanished,
    ScratchUnusable,
    UploadVanished,
)
from compile.publish.files import Sender
from compile.publish.pool import Pool, free_descriptors, workers_for
from compile.publish.progress import Meter, Progress
from compile.publish.source import Source, is_right

_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EACCES, errno.ENOENT}
_AGAIN = 3
"""Attempts, where another process removes what we continue: an upload, or the release itself."""
_PUBLISHER, _PUBLICATION = "publisher", "publication"
"""Metadata of the manifest: the ARN of whoever wrote it, and a number for that very run."""


@dataclass(frozen=True)
class Publisher:
    """Who wrote a manifest: the ARN that they wrote beside it, None if none, and S3's time."""

    arn: str | None
    at: datetime

    def __str__(self) -> str:
        return f"{self.arn or 'somebody unnamed'} at {self.at:%Y-%m-%d %H:%M:%S} UTC"


@dataclass(frozen=True)
class Published:
    """A release that is complete in S3. ``uploaded_bytes`` is what this run had to send.

    ``before_us``: who made it a release, where that was not this run.
    """

    digest: str
    prefix: str
    archive_bytes: int
    uploaded_bytes: int
    reused_files: int
    before_us: Publisher | None = None


def publish(
    root: Path | VerifiedArtifact,
    destination: Destination,
    s3: AwsClient,
    *,
    report: Callable[[str], None],
    progress: Callable[[Progress], None] = lambda _: None,
    archive: Parcel | None = None,
    beside: Mapping[str, bytes] | None = None,
) -> Published:
    """Upload the artifact at ``root`` and make it a release.

    Args:
        root: a folder, which is verified before anything is sent, or an artifact that was verified
            already. Every file is hashed again as it is sent, so what changed since is not published.
        report: gets a line for a person now and then.
        progress: is called after each part and file, from any thread, one call at a time.
        archive: its model.tar.gz where the caller has it; else one is written first, and gone afterwards.
        beside: small files to lie beside the manifest, by name, such as signatures; put before it, in
            place of what has the name already.

    Raises:
        ArtifactChanged: the folder does not verify, or changed meanwhile; no release is made.
        BucketMissing, BucketForeign, WrongRegion, AwsDenied, AwsUnreachable, AwsRefused and the like:
            what S3 said; run again to go on.
        FileTooLarge, NameReserved, ReleaseTaken, ScratchUnusable: see there.
    """
    artifact = root if isinstance(root, ListedArtifact) else _verified(root, packed=archive is not None)
    named = _checked(beside or {})
    with translated(f"publish to the bucket {destination.bucket}"):
        for left in range(_AGAIN - 1, -1, -1):
            try:
                publication = _Publication(artifact, destination, s3, report=report, progress=progress)
                return publication.run(archive, named)
            except (ReleaseVanished, UploadVanished):
                if left == 0:
                    raise
    raise AssertionError("the last attempt returns or raises")


def _verified(root: Path, *, packed: bool) -> ListedArtifact:
    """The artifact in a folder; where its archive is still to be written, its files are verified then."""
    return verify(root) if packed else listed(root)


def find_release(
    artifact: VerifiedArtifact,
    destination: Destination,
    s3: AwsClient,
    *,
    archive_bytes: int,
    archive_checksum: str | None = None,
    beside: Mapping[str, bytes] | None = None,
) -> Published | None:
    """The release of ``artifact`` if all of it is in S3: nothing is sent, and no archive is made.

    Args:
        archive_bytes: of model.tar.gz when it was published.
        archive_checksum: S3's of it, where this machine packed it; None: it is not compared, S3 confirmed
            it when it was put, before the manifest.
        beside: what must lie beside the manifest, byte for byte.

    Raises:
        BucketMissing, AwsDenied, AwsUnreachable, AwsRefused and the like: what S3 said.
        ReleaseTaken: another manifest lies where ours belongs.
    """
    prefix = release_prefix(destination.name, artifact.digest)
    with translated(f"look at the release in the bucket {destination.bucket}"):
        bucket = Bucket(s3, destination)
        bucket.check()
        before = _manifest_there(bucket, artifact, destination)
        if before is None or not _all_there(
            bucket, artifact, destination, (archive_bytes, archive_checksum), beside or {}
        ):
            return None
    return Published(
        digest=artifact.digest,
        prefix=prefix,
        archive_bytes=archive_bytes,
        uploaded_bytes=0,
        reused_files=len(artifact.manifest.files),
        before_us=before.publisher,
    )


def check_bucket(destination: Destination, s3: AwsClient) -> None:
    """See that there is a bucket of ours to publish to.

    Raises:
        BucketMissing, BucketForeign, WrongRegion, AwsDenied, AwsUnreachable, AwsRefused: what S3 said.
    """
    with translated(f"publish to the bucket {destination.bucket}"):
        Bucket(s3, destination).check()


class _Publication:
    """One attempt to publish."""

    def __init__(
        self,
        artifact: ListedArtifact,
        destination: Destination,
        s3: AwsClient,
        *,
        report: Callable[[str], None],
        progress: Callable[[Progress], None],
    ) -> None:
        self._artifact = artifact
        self._to = destination
        self._s3 = s3
        self._report = report
        self._archive_estimate = sum(file.size for file in artifact.manifest.files)
        blobs = _blobs(artifact, {})
        self._files = len(blobs) + 1
        self._meter = Meter(
            total_bytes=sum(blob.size for blob in blobs) + self._archive_estimate,
            total_files=self._files,
            tell=progress,
        )

    def run(self, given: Parcel | None, beside: Mapping[str, bytes]) -> Published:
        with Pool(workers_for(free_descriptors())) as pool:
            bucket = Bucket(self._s3, self._to, stopping=pool.stopping)
            bucket.check()
            before = _manifest_there(bucket, self._artifact, self._to)
            sender = Sender(bucket, pool, self._meter)
            with self._archive(given) as archive:
                self._meter.expect(archive.size - self._archive_estimate)
                listing = _listing(bucket, self._files)
                blobs = _blobs(self._artifact, archive.files)
                for blob in sorted(blobs, key=lambda blob: -blob.size):
                    sender.send(blob, absent=listing.lacks(blob.key))
                with failpoint("publish.archive"):
                    sender.send(self._archive_source(archive), absent=False)
                    pool.drain()
            with failpoint("publish.beside"):
                self._put_beside(bucket, beside)
            with failpoint("publish.manifest"):
                before_us = self._put_manifest(bucket) if before is None else self._there(bucket).publisher
        self._tell(before_us)
        return Published(
            digest=self._artifact.digest,
            prefix=release_prefix(self._to.name, self._artifact.digest),
            archive_bytes=archive.size,
            uploaded_bytes=self._meter.sent_bytes,
            reused_files=self._meter.reused_files,
            before_us=before_us,
        )

    @contextmanager
    def _archive(self, given: Parcel | None) -> Iterator[Parcel]:
        """The archive, before anything is sent: in writing it every file is verified and cut."""
        if given is not None:
            yield given
            return
        with _scratch(self._archive_estimate) as folder:
            yield write_parcel(artifact_members(self._artifact), folder / ARCHIVE)

    def _archive_source(self, archive: Parcel) -> Source:
        key = archive_key(self._to.name, self._artifact.digest)
        return Source(archive.path, key, archive.size, shown=ARCHIVE, sha256=None, digests=archive.digests)

    def _put_beside(self, bucket: Bucket, beside: Mapping[str, bytes]) -> None:
        """A signature that is there gives way to ours: keys are changed for a reason, and so are records."""
        prefix = release_prefix(self._to.name, self._artifact.digest)
        for name, data in sorted(beside.items()):
            key = f"{prefix}/{name}"
            if not _is_just(bucket.head(key), data):
                bucket.put(key, data, _checksum(data), create=False)
                self._meter.sent(len(data))

    def _put_manifest(self, bucket: Bucket) -> Publisher | None:
        """Make it a release; who was faster, None if nobody.

        Raises:
            ReleaseTaken: something else lies there.
            ReleaseVanished: something lay there, and then it did not.
        """
        key = manifest_key(self._to.name, self._artifact.digest)
        body = encode(self._artifact.manifest)  # the bytes that were verified, wherever the folder is now
        run = uuid.uuid4().hex
        who = {} if self._to.publisher is None else {_PUBLISHER: _ascii(self._to.publisher)}
        checksum = encoded(bytes.fromhex(self._artifact.digest))
        metadata = {**who, _PUBLICATION: run}
        try:
            made = bucket.put(
                key, body, checksum, create=True, metadata=metadata, content_type="application/json"
            )
        except Exception as error:
            # The answer is lost, which says nothing of the write.
            if not is_transport(error):
                raise
            there = _manifest_there(bucket, self._artifact, self._to)
            if there is None:
                raise
        else:
            there = None if made else self._there(bucket)
        if there is not None and there.run != run:
            return there.publisher
        self._meter.sent(len(body))
        return None

    def _there(self, bucket: Bucket) -> _ManifestThere:
        """The manifest that was there a moment ago; where it is gone, files of it may be gone too."""
        found = _manifest_there(bucket, self._artifact, self._to)
        if found is None:
            raise ReleaseVanished(key=manifest_key(self._to.name, self._artifact.digest))
        return found

    def _tell(self, before_us: Publisher | None) -> None:
        sent = f"sent {self._meter.sent_bytes / 1e6:.1f} MB"
        if self._meter.reused_files:
            sent += f", {self._meter.reused_files} of {self._files} files were there"
        self._report(sent)
        if before_us is not None:
            self._report(f"this release was published before, by {before_us}")


@dataclass(frozen=True)
class _ManifestThere:
    """The manifest of our release, found in S3. ``run``: the number that its writer gave it."""

    publisher: Publisher
    run: str | None


def _manifest_there(
    bucket: Bucket, artifact: ListedArtifact, destination: Destination
) -> _ManifestThere | None:
    """The release's manifest, None where there is none.

    Raises:
        ReleaseTaken: something else lies in its place.
    """
    key = manifest_key(destination.name, artifact.digest)
    found = bucket.get(key)
    if found is None:
        return None
    metadata = found.get("Metadata", {})
    publisher = Publisher(arn=metadata.get(_PUBLISHER), at=found["LastModified"])
    if hashlib.sha256(found["Body"]).hexdigest() != artifact.digest:
        version = f", version {found['VersionId']}" if found.get("VersionId") else ""
        facts = f"{len(found['Body'])} bytes by {publisher}, ETag {found['ETag']}{version}"
        raise ReleaseTaken(key=key, facts=facts)
    return _ManifestThere(publisher=publisher, run=metadata.get(_PUBLICATION))


def _all_there(
    bucket: Bucket,
    artifact: ListedArtifact,
    destination: Destination,
    archive: tuple[int, str | None],
    beside: Mapping[str, bytes],
) -> bool:
    """Whether everything but the manifest is there and right, asked in parallel."""
    prefix = release_prefix(destination.name, artifact.digest)
    missing: list[str] = []

    def look(source: Source) -> None:
        head = bucket.head(source.key)
        if head is None or not is_right(head, source):
            missing.append(source.key)

    def look_for_archive(key: str) -> None:
        head = bucket.head(key)
        if head is None or head.size != archive[0] or archive[1] not in {None, head.checksum}:
            missing.append(key)

    def look_for(key: str, data: bytes) -> None:
        if not _is_just(bucket.head(key), data):
            missing.append(key)

    with Pool(workers_for(free_descriptors())) as pool:
        pool.submit(lambda: look_for_archive(archive_key(destination.name, artifact.digest)))
        for name, data in beside.items():
            pool.submit(lambda name=name, data=data: look_for(f"{prefix}/{name}", data))  # type: ignore[misc]
        for blob in _blobs(artifact, {}):
            pool.submit(lambda blob=blob: look(blob))  # type: ignore[misc]
        pool.drain()
    return not missing


def _is_just(head: Head | None, data: bytes) -> bool:
    """Whether an object that was put in one piece is ``data``."""
    return head is not None and (head.size, head.checksum) == (len(data), _checksum(data))


def _checksum(data: bytes) -> str:
    return encoded(hashlib.sha256(data).digest())


def _blobs(artifact: ListedArtifact, cut: Mapping[str, tuple[bytes, ...]]) -> list[Source]:
    """What the manifest names, each content once. ``cut``: digests of the parts of large files, by path."""
    once: dict[str, File] = {}
    for file in artifact.manifest.files:
        once.setdefault(file.sha256, file)
    return [_blob(artifact, file, cut) for file in once.values()]


def _blob(artifact: ListedArtifact, file: File, cut: Mapping[str, tuple[bytes, ...]]) -> Source:
    digests = (bytes.fromhex(file.sha256),) if in_one_piece(file.size) else cut.get(file.path)
    return Source(
        artifact.root / file.path,
        blob_key(file.sha256),
        file.size,
        shown=file.path,
        sha256=file.sha256,
        digests=digests,
    )


def _listing(bucket: Bucket, blobs: int) -> Listing:
    """What S3 has of blobs: one call for many files, in place of one for each that is not there."""
    return bucket.listing(blob_key(""), pages=1 + blobs // (LISTED_PER_PAGE // 10))


@contextmanager
def _scratch(needed: int) -> Iterator[Path]:
    """A folder for the archive, removed at the end.

    Raises:
        ScratchUnusable: there is no room, or no place that can be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="traceship-") as folder:
            yield Path(folder)
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        where = tempfile.tempdir or "the folder for temporary files"
        raise ScratchUnusable(folder=where, why=str(error.strerror), needed=needed) from error


def _checked(beside: Mapping[str, bytes]) -> Mapping[str, bytes]:
    for name in beside:
        if name in {MANIFEST, ARCHIVE, "", ".", ".."} or "/" in name:
            raise NameReserved(name=name)
    return beside


def _ascii(text: str) -> str:
    """Metadata travel in headers, which hold ASCII."""
    return text.encode("ascii", "replace").decode()
