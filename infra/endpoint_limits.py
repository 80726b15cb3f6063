"""What SageMaker lets a variant have: seconds to fetch and to start, and a disk.

Source: API reference, ProductionVariant. No CDK here, so that settings and release can be compared
without it (endpoint_compatibility.py).
"""

from __future__ import annotations

import math

from artifact.release import ReleaseLock

MIN_TIMEOUT_SECONDS = 60
MAX_TIMEOUT_SECONDS = 3600
"""Limits of both time-outs."""
SLOWEST_DOWNLOAD_BYTES = 10_000_000
"""Bytes a second below which a download counts as stuck; not measured."""
STARTUP_FACTOR = 2
MIN_STARTUP_SECONDS = 300
"""What shipping cannot see: Python and torch, the golden replay on every worker, a busy new machine."""

DEFAULT_VOLUME_GIB = 30
"""What an instance without a disk of its own gets unasked. Source: "Host instance storage volumes table"
of the release notes; read in 2022, not measured."""
MAX_VOLUME_GIB = 512
SPARE_GIB = 10
"""For the log, the copies that data capture has not uploaded yet, and /tmp."""
GIB = 1024**3

ANSWER_MARGIN_SECONDS = 5
"""Between the server's own deadline and the platform's: the way there and back, and the server's words."""


def startup_timeout(lock: ReleaseLock) -> int:
    """Seconds until /ping must answer: twice what the lock says, within the platform's limits."""
    return _within_limits(max(MIN_STARTUP_SECONDS, STARTUP_FACTOR * lock.startup_seconds))


def download_timeout(lock: ReleaseLock) -> int:
    """Seconds for fetching and unpacking the archive."""
    return _within_limits(math.ceil(lock.artifact.archive_bytes / SLOWEST_DOWNLOAD_BYTES))


def needed_volume_gib(lock: ReleaseLock) -> int:
    """GiB that the archive, what is unpacked of it and the rest take; the archive stays beside its files."""
    held = lock.artifact.archive_bytes + lock.artifact.files_bytes
    return math.ceil(held / GIB) + SPARE_GIB


def volume_gib(lock: ReleaseLock) -> int | None:
    """The disk to ask for; None where the one that comes unasked is large enough."""
    needed = needed_volume_gib(lock)
    return needed if needed > DEFAULT_VOLUME_GIB else None


def _within_limits(seconds: int) -> int:
    return min(MAX_TIMEOUT_SECONDS, max(MIN_TIMEOUT_SECONDS, seconds))
