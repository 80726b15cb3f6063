"""The second lock: which release stands beside the first (docs/endpoint.md, "A canary")."""

from __future__ import annotations

from pathlib import Path

from artifact.errors import UsageError
from artifact.release import ReleaseLock
from infra.lock import read_lock
from infra.names import canary_lock_file
from settings.model import Settings


class CanaryLockMissing(UsageError):
    """A canary is wanted, but nothing says which release it should run."""

    id = "canary-lock-missing"

    def __init__(self, *, lock: str) -> None:
        super().__init__(
            what=f"there is no {lock}",
            why="[endpoint.canary] needs a second release, and its lock says which",
            fix="run `traceship ship --canary`, or remove [endpoint.canary]",
        )


def read_canary(settings: Settings, folder: Path) -> ReleaseLock | None:
    """The canary's lock in ``folder``; None where there is none, or no canary is wanted.

    Raises:
        LockInvalid: see there.
    """
    endpoint = settings.endpoint
    if endpoint is None or endpoint.canary is None:
        return None
    return read_lock(folder / canary_lock_file(settings))


def wanted_canary(settings: Settings, canary: ReleaseLock | None) -> ReleaseLock | None:
    """``canary`` if the settings want one.

    Raises:
        CanaryLockMissing: they do, and it is None.
    """
    endpoint = settings.endpoint
    if endpoint is None or endpoint.canary is None:
        return None
    if canary is None:
        raise CanaryLockMissing(lock=canary_lock_file(settings))
    return canary
