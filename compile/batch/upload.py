"""Models and examples to s3://BUCKET/models/, named by their content: what is there is not sent again.

Only the files that a compile reads are sent, the ones whose digests identify the model. Their
partner in the job is ``sources/bucket.py``.
"""

from __future__ import annotations

import base64
import datetime
import email.utils
import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from artifact.aws import translated
from artifact.canonical import encode
from artifact.manifest import File
from compile.batch.deployment import MODELS, Deployment
from compile.places import SCHEME
from compile.source import ModelSource, hash_file

_EXPIRY = re.compile(r'expiry-date="([^"]+)"')
_WANTED = datetime.timedelta(days=2)
"""An execution takes a day at most; a model must not go while its rows wait."""

Report = Callable[[str], None]
"""Called with one line of progress for people."""


def upload_model(to: Deployment, found: ModelSource, report: Report) -> str:
    """Put the model's files into a folder named by their digests; return it, ``s3://BUCKET/PREFIX``.

    Raises:
        AwsDenied, AwsUnreachable, AwsRefused: what S3 said; run again to go on.
    """
    content = hashlib.sha256(encode(list(found.identity.files))).hexdigest()
    prefix = f"{MODELS}/{content}"
    for file in found.identity.files:
        _put(to, found.folder / file.path, f"{prefix}/{file.path}", file, report)
    return f"{SCHEME}{to.bucket}/{prefix}"


def upload_samples(to: Deployment, samples: Path, report: Report) -> str:
    """Put a file of examples where a job can read it; return it, ``s3://BUCKET/KEY``.

    Raises:
        SourceUnreadable: the file cannot be read.
        AwsDenied, AwsUnreachable, AwsRefused: what S3 said.
    """
    file = hash_file(samples.parent, samples.name)
    key = f"{MODELS}/samples/{file.sha256}/{samples.name}"
    _put(to, samples, key, file, report)
    return f"{SCHEME}{to.bucket}/{key}"


def _put(to: Deployment, path: Path, key: str, file: File, report: Report) -> None:
    """Send one file unless S3 has it with this size and checksum, and for long enough yet."""
    checksum = base64.b64encode(bytes.fromhex(file.sha256)).decode()
    with translated(f"write s3://{to.bucket}/{key}"):
        if _there(to, key) == (file.size, checksum):
            return
        with path.open("rb") as body:
            to.clients.s3.put_object(
                Bucket=to.bucket,
                Key=key,
                Body=body,
                ContentLength=file.size,
                ChecksumAlgorithm="SHA256",
                ChecksumSHA256=checksum,
                ExpectedBucketOwner=to.account,
            )
    report(f"uploaded {file.path} ({file.size / 1e6:.1f} MB)")


def _there(to: Deployment, key: str) -> tuple[int, str | None] | None:
    """Size and SHA-256 that S3 keeps of an object; None where there is none."""
    from botocore.exceptions import ClientError

    try:
        head = to.clients.s3.head_object(
            Bucket=to.bucket, Key=key, ChecksumMode="ENABLED", ExpectedBucketOwner=to.account
        )
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != 404:
            raise
        return None
    if _goes_soon(head):
        return None
    return head["ContentLength"], head.get("ChecksumSHA256")


def _goes_soon(head: Mapping[str, Any]) -> bool:
    """Whether the bucket's lifecycle deletes the object within days; S3 says when in ``Expiration``."""
    match = _EXPIRY.search(head.get("Expiration", ""))
    if match is None:
        return False
    date = email.utils.parsedate_to_datetime(match[1])
    return date - datetime.datetime.now(datetime.timezone.utc) < _WANTED
