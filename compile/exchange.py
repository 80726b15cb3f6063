"""Models and artifacts as folders in S3, for compile jobs whose disk ends with them.

``--model s3://BUCKET/models/NAME`` is brought to a folder before the compile and identified by its
content, as every folder is; ``--out s3://BUCKET/compiled/NAME`` takes the artifact's files after it,
the manifest last. Such a folder is no release: ``traceship ship --artifact`` makes one of it once
somebody has fetched and verified it.
"""

from __future__ import annotations

import base64
import hashlib
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from artifact.aws import AwsClient, translated
from artifact.errors import Conflict, UsageError
from artifact.manifest import MANIFEST, MANIFEST_DIGEST
from artifact.verify import verify

_PLACE = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(?P<prefix>[^/].*?)/?")
_SCHEME = "s3://"
MAX_FILES = 200
"""Most files of a model folder; a checkpoint has a few dozen."""


class NotAPlace(UsageError):
    """A location that does not name a folder in a bucket."""

    id = "not-an-s3-place"

    def __init__(self, *, place: str) -> None:
        super().__init__(
            what=f"{place!r} does not name a folder in S3",
            why="it is not s3://BUCKET/PREFIX",
            fix="give bucket and prefix, such as s3://my-artifacts/models/minilm",
        )


class NoModelThere(UsageError):
    """Nothing lies under the prefix, or far more than a model."""

    id = "no-model-in-s3"

    def __init__(self, *, place: str, files: int) -> None:
        super().__init__(
            what=f"there is no model at {place}",
            why=f"{files} files lie directly under that prefix, a model has 1 to {MAX_FILES}",
            fix="copy the model's files there: config.json, weights and tokenizer",
        )


class PlaceTaken(Conflict):
    """Another artifact lies where this one should go."""

    id = "s3-place-taken"

    def __init__(self, *, place: str) -> None:
        super().__init__(
            what=f"{place} holds another artifact",
            why="its manifest is not the one of this compile, and results are never overwritten",
            fix="give another `--out`, or remove what lies there",
        )


@dataclass(frozen=True)
class Settled:
    """A compile's places on this machine. ``deliver`` tells where the artifact is in the end."""

    model: str
    out: Path
    deliver: Callable[[], str]


@contextmanager
def settled(model: str, out: str, report: Callable[[str], None]) -> Iterator[Settled]:
    """Give local places for ``model`` and ``out``; those in S3 get a temporary folder.

    Raises:
        NotAPlace, NoModelThere: before anything is compiled; on delivery PlaceTaken.
        AwsDenied, AwsUnreachable, AwsRefused: what S3 said.
    """
    with tempfile.TemporaryDirectory(prefix="traceship-job-") as folder:
        local_model, local_out = model, Path(out).absolute()
        if model.startswith(_SCHEME):
            local_model = str(_bring(model, Path(folder) / "model"))
            report(f"brought {model}")
        if not out.startswith(_SCHEME):
            yield Settled(model=local_model, out=local_out, deliver=lambda: str(local_out))
            return
        split_place(out)
        made = Path(folder) / "artifact"
        yield Settled(model=local_model, out=made, deliver=lambda: _leave(made, out))


def _bring(place: str, into: Path) -> Path:
    """Download the files directly under the prefix, by their own names."""
    bucket, prefix = split_place(place)
    s3 = s3_client()
    into.mkdir()
    with translated(f"read {place}"):
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=f"{prefix}/", Delimiter="/"
        )
        names = [o["Key"].removeprefix(f"{prefix}/") for page in pages for o in page.get("Contents", ())]
        names = [name for name in names if name]
        if not 1 <= len(names) <= MAX_FILES:
            raise NoModelThere(place=place, files=len(names))
        for name in names:
            s3.download_file(bucket, f"{prefix}/{name}", str(into / name))
    return into


def _leave(root: Path, place: str) -> str:
    """Upload a verified artifact, the manifest last; return ``place``."""
    bucket, prefix = split_place(place)
    s3, artifact = s3_client(), verify(root)
    with translated(f"write {place}"):
        manifest = (root / MANIFEST).read_bytes()
        if _there(s3, bucket, f"{prefix}/{MANIFEST}") not in (None, manifest):
            raise PlaceTaken(place=place)
        for path in [*(file.path for file in artifact.manifest.files), MANIFEST_DIGEST]:
            _put(s3, bucket, f"{prefix}/{path}", (root / path).read_bytes())
        _put(s3, bucket, f"{prefix}/{MANIFEST}", manifest)
    return place


def _put(s3: AwsClient, bucket: str, key: str, body: bytes) -> None:
    checksum = base64.b64encode(hashlib.sha256(body).digest()).decode()
    s3.put_object(Bucket=bucket, Key=key, Body=body, ChecksumAlgorithm="SHA256", ChecksumSHA256=checksum)


def _there(s3: AwsClient, bucket: str, key: str) -> bytes | None:
    """The object's bytes, or None where there is none."""
    from botocore.exceptions import ClientError

    try:
        found: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != 404:
            raise
        return None
    return found


def split_place(place: str) -> tuple[str, str]:
    """Bucket and prefix of ``s3://BUCKET/PREFIX``.

    Raises:
        NotAPlace: it is spelt another way.
    """
    match = _PLACE.fullmatch(place)
    if match is None or "//" in match["prefix"] or ".." in match["prefix"].split("/"):
        raise NotAPlace(place=place)
    return match["bucket"], match["prefix"]


def s3_client() -> AwsClient:
    """A client for this process's credentials and region, with retries."""
    import boto3
    from botocore.config import Config

    with translated("make an S3 client"):
        return boto3.client("s3", config=Config(retries={"mode": "standard", "max_attempts": 5}))
