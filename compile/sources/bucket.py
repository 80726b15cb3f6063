"""``s3://BUCKET/PREFIX``: the files of a model that lie directly under a prefix.

They are brought once: a folder of the cache is named by what S3 lists (names, ETags, sizes,
times), so an unchanged prefix costs one listing. The model is identified by its content, as every
folder is; where it lay does not matter.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path

from artifact.aws import AwsClient, translated
from artifact.canonical import encode
from artifact.errors import Conflict, UsageError
from compile.drafts import draft_in
from compile.places import s3_client, split_place
from compile.sources.cache import cache_folder
from compile.sources.selection import Allowed, select

MAX_FILES = 200
"""Most files of a model folder; a checkpoint has a few dozen."""


class NoModelThere(UsageError):
    """Nothing lies under the prefix, or far more than a model."""

    id = "no-model-in-s3"

    def __init__(self, *, place: str, files: int) -> None:
        super().__init__(
            what=f"there is no model at {place}",
            why=f"{files} files lie directly under that prefix, a model has 1 to {MAX_FILES}",
            fix="copy the model's files there: config.json, weights and tokenizer",
        )


class PlaceChanged(Conflict):
    """Somebody wrote under the prefix while it was read."""

    id = "s3-place-changed"

    def __init__(self, *, place: str) -> None:
        super().__init__(
            what=f"the files at {place} changed while they were read",
            why="a mixture of two models would have been compiled",
            fix="wait until the upload has ended, then run the command again",
        )


@dataclass(frozen=True)
class Listed:
    """One object as S3 lists it. ``modified`` in ISO format."""

    name: str
    etag: str
    size: int
    modified: str


def fetch(place: str, allowed: Allowed, report: Callable[[str], None]) -> Path:
    """Bring the files that a compile reads and return their folder; it must not be written to.

    Raises:
        NotAPlace, NoModelThere, PlaceChanged: see there.
        ConfigMissing, WeightsMissing, PickleRefused, TokenizerMissing: what lies there is no model.
        AwsDenied, AwsUnreachable, AwsRefused: what S3 said.
    """
    bucket, prefix = split_place(place)
    s3 = s3_client()
    with translated(f"read {place}"):
        listed = _list(s3, bucket, prefix, place)
        key = hashlib.sha256(encode([bucket, prefix, [astuple(row) for row in listed], astuple(allowed)]))
        cache = cache_folder("s3")
        folder = cache / key.hexdigest()
        if folder.is_dir():
            return folder
        with draft_in(cache, prefix=".", suffix=".partial") as partial:
            _bring(s3, bucket, prefix, listed, partial, place=place, allowed=allowed)
            if _list(s3, bucket, prefix, place) != listed:
                raise PlaceChanged(place=place)
            _install(partial, folder)
    report(f"brought {place}")
    return folder


def _list(s3: AwsClient, bucket: str, prefix: str, place: str) -> list[Listed]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/", Delimiter="/")
    listed = [
        Listed(
            row["Key"].removeprefix(f"{prefix}/"), row["ETag"], row["Size"], row["LastModified"].isoformat()
        )
        for page in pages
        for row in page.get("Contents", ())
    ]
    listed = [row for row in listed if row.name]
    if not 1 <= len(listed) <= MAX_FILES:
        raise NoModelThere(place=place, files=len(listed))
    return listed


def _bring(
    s3: AwsClient,
    bucket: str,
    prefix: str,
    listed: list[Listed],
    into: Path,
    *,
    place: str,
    allowed: Allowed,
) -> None:
    def read(name: str) -> bytes:
        body: bytes = s3.get_object(Bucket=bucket, Key=f"{prefix}/{name}")["Body"].read()
        return body

    chosen = select({row.name for row in listed}, read, where=place, allowed=allowed)
    for name in chosen.names:
        s3.download_file(bucket, f"{prefix}/{name}", str(into / name))


def _install(partial: Path, folder: Path) -> None:
    """Give the whole folder its name; another process may have done so a moment ago."""
    partial.chmod(0o755)
    try:
        os.replace(partial, folder)  # noqa: PTH105 - says that it is a rename, not a move
    except OSError:
        if not folder.is_dir():
            raise
