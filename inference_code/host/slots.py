"""How many instances of a fleet may go in an hour, agreed on among instances that do not know each other.

A slot is an object in S3. Who wants one writes it where there is none (``If-None-Match: *``) or where
the one that is there is older than an hour (``If-Match`` its ETag): S3 lets one writer win, so a slot
goes to one instance an hour, whatever hour one begins to count at. The script of the host
(infra/data/traceship-host.sh) does the same.

Source: S3 user guide, "How to prevent object overwrites with conditional writes".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from artifact.aws import AwsClient, error_code, translated
from artifact.host import SLOT_SECONDS

_ABSENT = {"403", "404", "AccessDenied", "NoSuchKey", "NotFound"}
"""Without the right to list, S3 answers 403 for an object that is not there."""
_LOST = {"412", "PreconditionFailed", "409", "ConditionalRequestConflict"}
_PUT = "before-call.s3.PutObject"


class Slots:
    """``count`` objects below ``prefix`` in ``bucket``, which ``owner`` must own. Not for several threads."""

    def __init__(self, s3: AwsClient, *, bucket: str, prefix: str, count: int, owner: str) -> None:
        self._s3 = s3
        self._where = {"Bucket": bucket, "ExpectedBucketOwner": owner}
        self._keys = [f"{prefix}/{slot}" for slot in range(count)]

    @property
    def count(self) -> int:
        return len(self._keys)

    def take(self, note: str) -> str | None:
        """Take a slot for an hour and leave ``note`` in it; its key, or None where all are in use.

        Raises:
            AwsDenied, AwsUnreachable and the other errors of ``artifact.aws``: S3 could not be asked.
        """
        with translated("take a slot for a replacement"):
            return next((key for key in self._keys if self._took(key, note)), None)

    def _took(self, key: str, note: str) -> bool:
        from botocore.exceptions import ClientError

        held = self._held(key)
        if held is not None and held[1] < SLOT_SECONDS:
            return False
        condition = {"If-None-Match": "*"} if held is None else {"If-Match": held[0]}
        try:
            with self._only_if(condition):
                self._s3.put_object(Key=key, Body=note.encode(), **self._where)
        except ClientError as error:
            if error_code(error) in _LOST:
                return False
            raise
        return True

    def _held(self, key: str) -> tuple[str, float] | None:
        """ETag of the slot and its age in seconds, both by S3's own clock; None if there is none."""
        from botocore.exceptions import ClientError

        try:
            found = self._s3.head_object(Key=key, **self._where)
        except ClientError as error:
            if error_code(error) in _ABSENT:
                return None
            raise
        told = found["ResponseMetadata"]["HTTPHeaders"].get("date")
        now = parsedate_to_datetime(told) if told else datetime.now(timezone.utc)
        return str(found["ETag"]), (now - found["LastModified"]).total_seconds()

    @contextmanager
    def _only_if(self, condition: dict[str, str]) -> Iterator[None]:
        """Add a header by hand: the container's boto3 may be older than its parameter."""

        def add(params: dict[str, Any], **_: object) -> None:
            params["headers"].update(condition)

        self._s3.meta.events.register(_PUT, add)
        try:
            yield
        finally:
            self._s3.meta.events.unregister(_PUT, add)
