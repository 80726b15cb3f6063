"""How many requests a replica should get, from what the artifact was measured to do."""

from __future__ import annotations

import math

from artifact.release import ReleaseLock

HEADROOM = 0.7
"""Scale out at 70 % of what a replica can do, so that a new one is up in time."""


def per_replica_minute(lock: ReleaseLock, *, share: float = HEADROOM) -> int:
    """Requests a minute and replica at which another replica is added; at least 1.

    ``share``: of what a replica can do, above 0, at most 1.
    """
    return max(1, math.floor(lock.throughput.per_second * 60 * share))
