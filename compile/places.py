"""``s3://BUCKET/PREFIX``: a folder in a bucket, where a model lies or an artifact goes."""

from __future__ import annotations

import re

from artifact.aws import AwsClient, translated
from artifact.errors import UsageError

SCHEME = "s3://"
_PLACE = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(?P<prefix>[^/].*?)/?")


class NotAPlace(UsageError):
    """A location that does not name a folder in a bucket."""

    id = "not-an-s3-place"

    def __init__(self, *, place: str) -> None:
        super().__init__(
            what=f"{place!r} does not name a folder in S3",
            why="it is not s3://BUCKET/PREFIX",
            fix="give bucket and prefix, such as s3://my-artifacts/models/minilm",
        )


def split_place(place: str) -> tuple[str, str]:
    """Bucket and prefix, the latter without a slash at its end.

    Raises:
        NotAPlace: another spelling, a whole bucket, or a prefix with ``..`` in it.
    """
    match = _PLACE.fullmatch(place)
    if match is None or "//" in match["prefix"] or ".." in match["prefix"].split("/"):
        raise NotAPlace(place=place)
    return match["bucket"], match["prefix"]


def s3_client() -> AwsClient:
    """An S3 client with the environment's credentials and endpoint.

    Raises:
        AwsDenied: there are none.
    """
    import boto3
    from botocore.config import Config

    with translated("make an S3 client"):
        return boto3.client("s3", config=Config(retries={"mode": "standard", "max_attempts": 5}))
