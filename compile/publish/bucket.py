"""Every call that publishing makes to S3, in one place.

So that none goes out without the account that must own the bucket, and none that stores anything
without the key that must encrypt it. botocore repeats what it takes for passing (throttling, 5xx,
broken connections); the rest of what passes is repeated here: bytes damaged on the way there or
back, two writers of one key at the same instant.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from artifact.aws import AwsClient, BucketMissing, WrongRegion, error_code, is_broken_answer
from artifact.failpoints import failpoint
from compile.publish.errors import BucketForeign
from compile.publish.parts import FilePart

ROUNDS = 4
"""Attempts of ours; each may be several of botocore's."""
_PASSING = {
    "409",
    "BadDigest",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "XAmzContentSHA256Mismatch",
}
_MISSING = {"404", "NoSuchKey"}
LISTED_PER_PAGE = 1000
PIECE_BYTES = 64 * 1024
"""Of a body, handed to the network at a time: 24 of them are sent in 5 s on a line of 3 Mbit/s."""


@dataclass(frozen=True)
class Destination:
    """Where to publish.

    Args:
        account: must own ``bucket``; it goes with every call.
        kms_key: id, ARN or alias of the key that encrypts every object; None leaves it to the bucket.
        publisher: ARN of whoever publishes, written beside the manifest for those who come second.
    """

    account: str
    region: str
    bucket: str
    name: str
    kms_key: str | None = None
    publisher: str | None = None


@dataclass(frozen=True)
class Head:
    """What S3 tells of an object. ``checksum``: its SHA-256 in base64, "…-N" for one made of N parts."""

    size: int
    checksum: str | None
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class StoredPart:
    """A part that S3 has confirmed."""

    size: int
    etag: str
    checksum: str | None


@dataclass(frozen=True)
class Listing:
    """Keys below a prefix, complete up to and including ``through``; None is complete to the end."""

    keys: frozenset[str]
    through: str | None

    def lacks(self, key: str) -> bool:
        """Whether the key was certainly not there."""
        return key not in self.keys and (self.through is None or key <= self.through)


class Bucket:
    """One bucket of one account, for several threads. ``stopping``: no more attempts once it is set."""

    def __init__(
        self, s3: AwsClient, destination: Destination, *, stopping: threading.Event | None = None
    ) -> None:
        s3.meta.events.register_last("before-call.s3", _at_once, unique_id="traceship-at-once")
        self._s3 = s3
        self._to = destination
        self._stopping = stopping or threading.Event()
        self._key: dict[str, Any] = {}
        if destination.kms_key is not None:
            self._key = {
                "ServerSideEncryption": "aws:kms",
                "SSEKMSKeyId": destination.kms_key,
                "BucketKeyEnabled": True,
            }

    def check(self) -> None:
        """See that the bucket is there, is the expected account's, and lies in the expected region.

        Raises:
            BucketMissing, BucketForeign, WrongRegion: see there.
        """
        from botocore.exceptions import ClientError

        try:
            found = self._call("head_bucket")
        except ClientError as error:
            code = error_code(error)
            if code in {"404", "NoSuchBucket"}:
                raise BucketMissing(bucket=self._to.bucket, why="there is no such bucket") from None
            if code in {"403", "AccessDenied"} and self._answers_anybody():
                raise BucketForeign(bucket=self._to.bucket, account=self._to.account) from None
            raise
        region = found.get("BucketRegion")
        if region not in {None, self._to.region}:
            raise WrongRegion(doing=f"use the bucket {self._to.bucket}", region=region)

    def head(self, key: str) -> Head | None:
        """What is at ``key``, None if nothing is."""
        from botocore.exceptions import ClientError

        try:
            found = self._call("head_object", Key=key, ChecksumMode="ENABLED")
        except ClientError as error:
            if error_code(error) in _MISSING:
                return None
            raise
        return Head(
            size=int(found["ContentLength"]),
            checksum=found.get("ChecksumSHA256"),
            metadata=found.get("Metadata", {}),
        )

    def get(self, key: str) -> dict[str, Any] | None:
        """The answer with the object's whole ``Body`` as bytes, None where there is none."""
        from botocore.exceptions import ClientError

        for left in range(ROUNDS - 1, -1, -1):
            try:
                found = self._call("get_object", Key=key)
                return {**found, "Body": found["Body"].read()}
            except ClientError as error:
                if error_code(error) in _MISSING:
                    return None
                raise
            except Exception as error:
                if left == 0 or not is_broken_answer(error):
                    raise
        raise AssertionError("the last round returns or raises")

    def listing(self, prefix: str, *, pages: int) -> Listing:
        """Keys below ``prefix``, at most so many pages of them."""
        keys: list[str] = []
        more: dict[str, str] = {}
        for _ in range(pages):
            found = self._call("list_objects_v2", Prefix=prefix, **more)
            keys += [entry["Key"] for entry in found.get("Contents", [])]
            if not found.get("IsTruncated"):
                return Listing(keys=frozenset(keys), through=None)
            more = {"ContinuationToken": found["NextContinuationToken"]}
        return Listing(keys=frozenset(keys), through=keys[-1])

    def put(
        self,
        key: str,
        body: bytes,
        checksum: str,
        *,
        create: bool,
        metadata: Mapping[str, str] | None = None,
        content_type: str = "application/octet-stream",
    ) -> bool:
        """Store ``body``; False if ``create`` was asked for and something lay there already."""
        from botocore.exceptions import ClientError

        condition = {"IfNoneMatch": "*"} if create else {}
        try:
            with failpoint("upload.put"):
                self._call(
                    "put_object",
                    Key=key,
                    Body=_Held(body),
                    ChecksumAlgorithm="SHA256",
                    ChecksumSHA256=checksum,
                    ContentType=content_type,
                    Metadata=dict(metadata or {}),
                    **condition,
                    **self._key,
                )
        except ClientError as error:
            if _status(error) == 412:
                return False
            raise
        return True

    def unfinished_upload(self, key: str) -> str | None:
        """Id of the latest upload of this key that was begun and neither completed nor removed."""
        found = self._call("list_multipart_uploads", Prefix=key)
        uploads = [upload for upload in found.get("Uploads", []) if upload["Key"] == key]
        if not uploads:
            return None
        return str(max(uploads, key=lambda upload: upload["Initiated"])["UploadId"])

    def begin(self, key: str) -> str:
        """Id of a new upload."""
        with failpoint("upload.begin"):
            made = self._call(
                "create_multipart_upload",
                Key=key,
                ChecksumAlgorithm="SHA256",
                ChecksumType="COMPOSITE",
                ContentType="application/octet-stream",
                **self._key,
            )
        return str(made["UploadId"])

    def stored_parts(self, key: str, upload: str) -> dict[int, StoredPart]:
        """Parts that S3 has of an upload, by number."""
        parts: dict[int, StoredPart] = {}
        more: dict[str, int] = {}
        while True:
            found = self._call("list_parts", Key=key, UploadId=upload, **more)
            for part in found.get("Parts", []):
                parts[part["PartNumber"]] = StoredPart(
                    size=part["Size"], etag=part["ETag"], checksum=part.get("ChecksumSHA256")
                )
            if not found.get("IsTruncated"):
                return parts
            more = {"PartNumberMarker": found["NextPartNumberMarker"]}

    def put_part(self, key: str, upload: str, number: int, body: bytearray | FilePart, checksum: str) -> str:
        """Store one part; its ETag."""
        with failpoint("upload.part"):
            answer = self._call(
                "upload_part",
                Key=key,
                UploadId=upload,
                PartNumber=number,
                Body=_Held(body) if isinstance(body, bytearray) else body,
                ChecksumAlgorithm="SHA256",
                ChecksumSHA256=checksum,
            )
        return str(answer["ETag"])

    def complete(self, key: str, upload: str, parts: Mapping[int, StoredPart], *, create: bool) -> str | None:
        """Make an object of the parts; the checksum that S3 names. See ``put`` for ``create``.

        Raises:
            ClientError: with status 409 or 412, or the code NoSuchUpload, if somebody was faster.
        """
        condition = {"IfNoneMatch": "*"} if create else {}
        named = [
            {"PartNumber": number, "ETag": part.etag, "ChecksumSHA256": part.checksum}
            for number, part in sorted(parts.items())
        ]
        with failpoint("upload.complete"):
            answer = self._call(
                "complete_multipart_upload",
                Key=key,
                UploadId=upload,
                MultipartUpload={"Parts": named},
                **condition,
            )
        found: str | None = answer.get("ChecksumSHA256")
        return found

    def abort(self, key: str, upload: str) -> None:
        """Remove an upload; one that is gone already is no error."""
        from botocore.exceptions import ClientError

        try:
            self._call("abort_multipart_upload", Key=key, UploadId=upload)
        except ClientError as error:
            if error_code(error) != "NoSuchUpload":
                raise

    def _answers_anybody(self) -> bool:
        """Whether the bucket answers these credentials once no owner is asked for."""
        from botocore.exceptions import ClientError

        try:
            self._s3.head_bucket(Bucket=self._to.bucket)
        except ClientError:
            return False
        return True

    def _call(self, operation: str, **request: Any) -> Any:
        method, body = getattr(self._s3, operation), request.get("Body")
        for left in range(ROUNDS - 1, -1, -1):
            if isinstance(body, (FilePart, _Held)):
                body.seek(0)  # an attempt that broke off has read a piece of it
            try:
                return method(Bucket=self._to.bucket, ExpectedBucketOwner=self._to.account, **request)
            except Exception as error:
                if left == 0 or self._stopping.is_set() or error_code(error) not in _PASSING:
                    raise
            self._stopping.wait(_pause(ROUNDS - left))
        raise AssertionError("the last round returns or raises")


class _Held:
    """A body that lies in memory, as a file of which a piece is sent at a time.

    Whatever is sent at once must be gone within the time-out of a connection that is new: of a whole
    part, on a line that many parts share, it would not be.
    """

    def __init__(self, data: bytes | bytearray) -> None:
        self._view = memoryview(data)
        self._at = 0

    def __len__(self) -> int:
        return len(self._view)

    def read(self, size: int = -1) -> bytes:
        """The next piece, larger than what is asked for where that is little."""
        end = len(self._view) if size is None or size < 0 else self._at + max(size, PIECE_BYTES)
        piece = bytes(self._view[self._at : end])
        self._at += len(piece)
        return piece

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: len(self._view)}[whence]
        self._at = max(0, min(len(self._view), base + offset))
        return self._at

    def tell(self) -> int:
        return self._at


def _at_once(params: dict[str, Any], **_: Any) -> None:
    """Send a body that lies in memory right after its headers.

    botocore would ask S3 whether it may send it (``Expect: 100-continue``): a round trip for every
    object, and for small ones most of the work.
    """
    if isinstance(params.get("body"), _Held):
        params["headers"].pop("Expect", None)


def _pause(attempt: int) -> float:
    """Seconds before the next attempt: doubling, and different for each thread."""
    return random.uniform(0.1, 0.25) * 2.0**attempt  # noqa: S311 - spreads attempts, guards nothing


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def lost_race(error: Any) -> bool:
    """Whether a write failed because somebody else's came first, or ran at the same time."""
    return _status(error) in {409, 412} or error_code(error) == "NoSuchUpload"
