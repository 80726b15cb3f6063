"""What ``traceship gc`` finds, as it prints it with ``--json``."""

from __future__ import annotations

from typing import Literal

from artifact.manifest import NonNegative, Record, Sha256

SCHEMA: Literal["traceship.gc/1"] = "traceship.gc/1"


class FoundRelease(Record, frozen=True, kw_only=True):
    """A release in the bucket, or what is left of one that was never finished (``complete`` false).

    ``kept_by``: everything that names it, in words; empty: nothing does.
    """

    name: str
    digest: Sha256
    complete: bool
    bytes: NonNegative
    age_days: float
    kept_by: tuple[str, ...]


class FoundUpload(Record, frozen=True, kw_only=True):
    """A multipart upload that nobody has finished. ``stale``: old enough to be aborted."""

    key: str
    id: str
    age_days: float
    stale: bool


class FoundBlob(Record, frozen=True, kw_only=True):
    """A file's bytes that no release would name any more."""

    sha256: Sha256
    bytes: NonNegative
    age_days: float


class FoundFolder(Record, frozen=True, kw_only=True):
    """An artifact in the project's state folder that the lock does not name."""

    path: str
    bytes: NonNegative
    age_days: float


class Garbage(Record, frozen=True, kw_only=True):
    """A survey of a bucket and a state folder. ``deleted``: what is not kept is gone now."""

    schema: Literal["traceship.gc/1"] = SCHEMA
    bucket: str
    releases: tuple[FoundRelease, ...]
    uploads: tuple[FoundUpload, ...]
    blobs: tuple[FoundBlob, ...]
    folders: tuple[FoundFolder, ...]
    deleted: bool
