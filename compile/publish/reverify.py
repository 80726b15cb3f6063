"""``python -m compile reverify s3://BUCKET``: are the releases still what they were published as?

Every manifest is compared with the digest in its key, every blob that one names with the digest in its
own, once however many releases name it, and every archive with the manifest of its release. Nothing is
written anywhere. What it takes is the time to read the bucket once.

The other side is ``infra/compile_reverify.py``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from artifact.aws import AwsClient, is_broken_answer, is_transport, translated
from artifact.errors import ProofFailed, TraceshipError, UsageError
from artifact.listing import MAX_MANIFEST_BYTES, parse_manifest
from artifact.packed import verify_packed
from artifact.release import ARCHIVE, blob_key

RELEASES = "releases/"
_MANIFEST = re.compile(r"releases/(?P<name>[^/]+)/(?P<digest>[0-9a-f]{64})/manifest\.json")
_PLACE = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])")
_CHUNK = 1 << 20
_ATTEMPTS = 3
"""A body that breaks off is asked for again; one that is whole and wrong is not."""
_TOLD = 5

Report = Callable[[str], None]


class ReleasesChanged(ProofFailed):
    """Something that a release consists of is missing, or is not what its digest says."""

    id = "releases-changed"

    def __init__(self, *, problems: Sequence[str], releases: int) -> None:
        more = f" and {len(problems) - _TOLD} more" if len(problems) > _TOLD else ""
        super().__init__(
            what=f"{len(problems)} objects of {releases} releases are not what was published",
            why=f"{'; '.join(problems[:_TOLD])}{more}",
            fix="bring back the object's earlier version, or publish the release again with `traceship ship`,"
            " before it is deployed or scaled",
        )


class BadBucketPlace(UsageError):
    """The bucket whose releases are to be read is not named."""

    id = "bad-bucket-place"

    def __init__(self, *, found: str) -> None:
        super().__init__(
            what="no releases can be looked at",
            why=f"{found!r} is not s3://BUCKET",
            fix="run `python -m compile reverify s3://BUCKET`",
        )


@dataclass(frozen=True)
class Seen:
    """What was read: counts, and bytes of blobs and archives."""

    releases: int
    blobs: int
    bytes: int


def main(words: Sequence[str], s3: AwsClient, report: Report) -> Seen:
    """Read all releases of the bucket that ``words`` name.

    Raises:
        BadBucketPlace, ReleasesChanged: see there.
        AwsDenied, AwsUnreachable, AwsRefused: what S3 said.
    """
    match = _PLACE.fullmatch(words[0]) if len(words) == 1 else None
    if match is None:
        raise BadBucketPlace(found=" ".join(words))
    return reverify(match["bucket"], s3, report)


def reverify(bucket: str, s3: AwsClient, report: Report) -> Seen:
    """Compare every release of ``bucket``; tell each problem as it is found, and all of them at the end.

    Raises:
        ReleasesChanged: see there.
        AwsDenied, AwsUnreachable, AwsRefused: what S3 said.
    """
    return _Look(bucket, s3, report).run()


class _Look:
    def __init__(self, bucket: str, s3: AwsClient, report: Report) -> None:
        self._bucket, self._s3, self._report = bucket, s3, report
        self._problems: list[str] = []
        self._blobs: dict[str, tuple[int, str]] = {}  # digest: size, and a release that names it
        self._bytes = 0

    def run(self) -> Seen:
        releases = 0
        with translated(f"read the releases of s3://{self._bucket}"):
            for key, digest in self._manifests():
                releases += 1
                self._release(key, digest)
            for digest, (size, release) in sorted(self._blobs.items()):
                self._blob(digest, size, release)
        if self._problems:
            raise ReleasesChanged(problems=self._problems, releases=releases)
        self._report(f"{releases} releases, {len(self._blobs)} blobs, {self._bytes / 1e6:.1f} MB: unchanged")
        return Seen(releases=releases, blobs=len(self._blobs), bytes=self._bytes)

    def _manifests(self) -> Iterator[tuple[str, str]]:
        asked: dict[str, Any] = {"Bucket": self._bucket, "Prefix": RELEASES}
        while True:
            page = self._s3.list_objects_v2(**asked)
            for row in page.get("Contents", ()):
                match = _MANIFEST.fullmatch(row["Key"])
                if match is not None:
                    yield row["Key"], match["digest"]
            if not page.get("IsTruncated"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]

    def _release(self, key: str, digest: str) -> None:
        data = self._whole(key)
        if data is None or hashlib.sha256(data).hexdigest() != digest:
            self._problem(f"{key} is not the manifest with that digest")
            return
        try:
            files = parse_manifest(data).files
        except TraceshipError as error:
            self._problem(f"{key} cannot be read: {error.why}")
            return
        for file in files:
            self._blobs[file.sha256] = (file.size, key)
        self._archive(f"{key.rpartition('/')[0]}/{ARCHIVE}", digest)

    def _whole(self, key: str) -> bytes | None:
        def read(body: Any) -> bytes:
            data: bytes = body.read(MAX_MANIFEST_BYTES + 1)
            return data

        found: bytes | None = self._read(key, read)
        return found

    def _archive(self, key: str, digest: str) -> None:
        def read(body: Any) -> str:
            try:
                verify_packed(body, digest=digest)
            except ProofFailed as error:
                return f"{key}: {error.why}"
            return ""

        found = self._read(key, read)
        if found is None:
            self._problem(f"{key} is missing")
        elif found:
            self._problem(found)

    def _blob(self, digest: str, size: int, release: str) -> None:
        def read(body: Any) -> tuple[str, int]:
            hashed, length = hashlib.sha256(), 0
            for chunk in body.iter_chunks(_CHUNK):
                hashed.update(chunk)
                length += len(chunk)
            return hashed.hexdigest(), length

        found = self._read(blob_key(digest), read)
        if found is None:
            self._problem(f"{blob_key(digest)}, of {release}, is missing")
        elif found != (digest, size):
            self._problem(f"{blob_key(digest)}, of {release}, has other bytes")
        else:
            self._bytes += size

    def _read(self, key: str, read: Callable[[Any], Any]) -> Any:
        """What ``read`` makes of the object's body; None where there is no object."""
        from botocore.exceptions import ClientError

        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return read(self._s3.get_object(Bucket=self._bucket, Key=key)["Body"])
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") != "NoSuchKey":
                    raise
                return None
            except Exception as error:
                broken = is_transport(error) or is_broken_answer(error)
                if not broken or attempt == _ATTEMPTS:
                    raise
        raise AssertionError("attempts end with an answer or an error")

    def _problem(self, text: str) -> None:
        self._report(text)
        self._problems.append(text)
