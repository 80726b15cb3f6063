"""The local AWS must refuse what AWS refuses, or nothing that it accepts means anything."""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Protocol

from local_aws.errors import SelfCheckFailed

SELF_CHECK_BUCKET = "traceship-self-check"


class Clients(Protocol):
    """Gives boto3 clients; ``boto3.Session`` and ``launcher.LocalAws`` both do."""

    def client(self, service: str, /) -> Any: ...


def self_check(clients: Clients) -> None:
    """Offer S3 an object whose SHA-256 is not the one declared, which AWS refuses.

    Raises:
        SelfCheckFailed: it was accepted.
    """
    from botocore.exceptions import ClientError

    s3 = clients.client("s3")
    s3.create_bucket(Bucket=SELF_CHECK_BUCKET)
    wrong = base64.b64encode(hashlib.sha256(b"something else").digest()).decode()
    try:
        s3.put_object(Bucket=SELF_CHECK_BUCKET, Key="wrong", Body=b"content", ChecksumSHA256=wrong)
    except ClientError as refused:
        found = refused.response["Error"]["Code"]
    else:
        s3.delete_object(Bucket=SELF_CHECK_BUCKET, Key="wrong")
        found = "accepted"
    s3.delete_bucket(Bucket=SELF_CHECK_BUCKET)
    if found != "BadDigest":
        raise SelfCheckFailed(
            check="S3 refuses an object with a wrong SHA-256", found=f"the answer was {found}"
        )
