"""Read release.lock.json for the stacks. Written by ``traceship ship``."""

from __future__ import annotations

from pathlib import Path

import msgspec

from artifact.canonical import NotCanonical, decode
from artifact.errors import UsageError
from artifact.release import PLACEHOLDER_AMI, Ami, ReleaseLock
from settings.model import Settings


class LockMissing(UsageError):
    """A fleet or an endpoint is wanted, but nothing says which release it should run."""

    id = "lock-missing"

    def __init__(self, *, path: Path, who: str) -> None:
        super().__init__(
            what=f"there is no {path}",
            why=f"{who} needs a release, and the lock says which",
            fix="run `traceship deploy --foundation`, then `traceship ship`",
        )


class LockInvalid(UsageError):
    """The lock cannot be read."""

    id = "lock-invalid"

    def __init__(self, *, path: Path, why: str) -> None:
        super().__init__(
            what=f"{path} is not a lock that this traceship reads",
            why=why,
            fix="restore it from git, or write a new one with `traceship ship`",
        )


class CompileImagesDiffer(UsageError):
    """The locks of several services name different images for the compile stage that they share."""

    id = "compile-images-differ"

    def __init__(self, *, images: list[str]) -> None:
        super().__init__(
            what="the services do not agree on the image of the compile stage",
            why=f"they share one compile stack, and their locks name {' and '.join(images)}",
            fix="set compile.image once, outside of the services, then `traceship ship` each of them",
        )


def ami_of(settings: Settings) -> Ami:
    """The AMI of the settings, a placeholder where they name none."""
    if settings.fleet is None or settings.fleet.ami is None:
        return Ami(id=PLACEHOLDER_AMI, placeholder=True)
    return Ami(id=settings.fleet.ami, placeholder=False)


def seen_by(settings: Settings, lock: ReleaseLock | None) -> ReleaseLock | None:
    """The lock as a service runs it: one that another service shipped has the AMI of that one's fleet."""
    if lock is None or settings.runs == settings.service:
        return lock
    return msgspec.structs.replace(lock, ami=ami_of(settings))


def read_lock(path: Path) -> ReleaseLock | None:
    """Return the lock, or None where there is none.

    Raises:
        LockInvalid: not canonical JSON of schema ``traceship.lock/1``.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return decode(data, ReleaseLock)
    except NotCanonical as error:
        raise LockInvalid(path=path, why=str(error)) from None
