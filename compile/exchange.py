"""What a compile job takes from S3 and leaves there, since its disk ends with it.

``--out s3://BUCKET/compiled/NAME`` takes the artifact's files after the compile, and beside the folder
``NAME.result.json``, what the compile reported; the manifest comes last. Such a folder is no release:
``traceship ship --artifact`` makes one of it once somebody has fetched and verified it, which
``batch/results.py`` does. A bucket traced apart goes there and comes back in the same way (``parts.py``).
Models come out of S3 by ``sources/bucket.py``, a file of samples here.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from artifact.aws import AwsClient, translated
from artifact.errors import Conflict
from artifact.manifest import MANIFEST, MANIFEST_DIGEST
from artifact.verify import verify
from compile.parts import PART, PartUnusable, parse_part
from compile.places import SCHEME, s3_client, split_place
from compile.request import Shape

RESULT = ".result.json"
"""Follows an artifact's prefix in the key of what its compile reported."""


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
    """The artifact's place on this machine. ``deliver`` takes the compile's result, as ``result_data``
    gives it, and tells where the artifact is in the end; ``deliver_part`` does that for a traced bucket."""

    out: Path
    deliver: Callable[[dict[str, Any]], str]
    deliver_part: Callable[[], str]


@contextmanager
def settled(out: str) -> Iterator[Settled]:
    """Give a local place for ``out``; one in S3 gets a temporary folder.

    Raises:
        NotAPlace: before anything is compiled; on delivery PlaceTaken.
        AwsDenied, AwsUnreachable, AwsRefused: what S3 said.
    """
    if not out.startswith(SCHEME):
        local = Path(out).absolute()
        yield Settled(out=local, deliver=lambda _result: str(local), deliver_part=lambda: str(local))
        return
    split_place(out)
    with tempfile.TemporaryDirectory(prefix="traceship-job-") as folder:
        made = Path(folder) / "artifact"
        yield Settled(
            out=made,
            deliver=lambda result: _leave(made, out, result),
            deliver_part=lambda: _leave_part(made, out),
        )


@contextmanager
def brought(file: str | None) -> Iterator[Path | None]:
    """Give ``file`` as a file on this machine, for as long as the context lasts.

    Raises:
        NotAPlace: it begins with s3:// and names no object.
        AwsDenied, AwsUnreachable, AwsRefused: what S3 said.
    """
    if file is None or not file.startswith(SCHEME):
        yield None if file is None else Path(file)
        return
    bucket, key = split_place(file)
    with tempfile.TemporaryDirectory(prefix="traceship-job-") as folder:
        local = Path(folder) / PurePosixPath(key).name
        with translated(f"read {file}"):
            s3_client().download_file(bucket, key, str(local))
        yield local


@contextmanager
def brought_parts(place: str | None, shapes: tuple[Shape, ...]) -> Iterator[Path | None]:
    """Give the traced buckets of ``place`` as a folder on this machine, for as long as the context lasts.

    Raises:
        NotAPlace: it begins with s3:// and names no prefix.
        PartUnusable: a bucket is missing there, or names other files than a bucket has.
        AwsDenied, AwsUnreachable, AwsRefused: what S3 said.
    """
    if place is None or not place.startswith(SCHEME):
        yield None if place is None else Path(place)
        return
    bucket, prefix = split_place(place)
    with tempfile.TemporaryDirectory(prefix="traceship-job-") as folder:
        s3 = s3_client()
        with translated(f"read {place}"):
            for shape in shapes:
                _bring_part(s3, bucket, f"{prefix}/{shape}", Path(folder) / str(shape), shape)
        yield Path(folder)


def _bring_part(s3: AwsClient, bucket: str, prefix: str, into: Path, shape: Shape) -> None:
    data = _there(s3, bucket, f"{prefix}/{PART}")
    if data is None:
        raise PartUnusable(bucket=str(shape), why=f"there is no {SCHEME}{bucket}/{prefix}/{PART}")
    into.mkdir()
    (into / PART).write_bytes(data)
    for file in parse_part(data, shape).files:
        target = into / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        body = _there(s3, bucket, f"{prefix}/{file.path}")
        if body is None:
            raise PartUnusable(bucket=str(shape), why=f"there is no {SCHEME}{bucket}/{prefix}/{file.path}")
        target.write_bytes(body)


def _leave_part(root: Path, place: str) -> str:
    """Upload a traced bucket, what names its files last; return ``place``."""
    bucket, prefix = split_place(place)
    s3 = s3_client()
    with translated(f"write {place}"):
        for path in sorted(path for path in root.rglob("*") if path.is_file() and path.name != PART):
            _put(s3, bucket, f"{prefix}/{path.relative_to(root).as_posix()}", path.read_bytes())
        _put(s3, bucket, f"{prefix}/{PART}", (root / PART).read_bytes())
    return place


def _leave(root: Path, place: str, result: dict[str, Any]) -> str:
    """Upload a verified artifact and its result, the manifest last; return ``place``."""
    bucket, prefix = split_place(place)
    s3, artifact = s3_client(), verify(root)
    with translated(f"write {place}"):
        manifest = (root / MANIFEST).read_bytes()
        if _there(s3, bucket, f"{prefix}/{MANIFEST}") not in (None, manifest):
            raise PlaceTaken(place=place)
        for path in [*(file.path for file in artifact.manifest.files), MANIFEST_DIGEST]:
            _put(s3, bucket, f"{prefix}/{path}", (root / path).read_bytes())
        told = json.dumps({**result, "path": ""}, ensure_ascii=False).encode()
        _put(s3, bucket, f"{prefix}{RESULT}", told)
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
