"""How many requests a replica should get, from what the artifact was measured to do."""

from __future__ import annotations

import math
from collections.abc import Sequence

from artifact.release import ReleaseLock
from infra.exact_keys import needed_device
from infra.instances import chip, instances
from settings.model import Settings

MILLISECONDS = 1000
HEADROOM = 0.7
"""Scale out at 70 % of what a replica can do, so that a new one is up in time."""


def per_replica_minute(lock: ReleaseLock, *, share: float = HEADROOM) -> int:
    """Requests a minute and replica at which another replica is added; at least 1.

    ``share``: of what a replica can do, above 0, at most 1.
    """
    return max(1, math.floor(lock.throughput.per_second * 60 * share))


def per_replica_in_flight(settings: Settings, lock: ReleaseLock, types: Sequence[str]) -> float:
    """Requests in flight on a replica at which another one is added; at least 1.

    Either the batches are as full as the headroom allows, or (Little's law) so many wait that the
    last of them is answered only when the latency alarm's limit is reached, whichever comes first.

    Args:
        types: the fleet's instance types; the weakest counts.
    """
    full = HEADROOM * min(_workers(settings, lock, name) for name in types) * _rows(lock)
    in_time = HEADROOM * lock.throughput.per_second * settings.alarms.latency_p99_ms / MILLISECONDS
    return max(1.0, round(min(full, in_time), 1))


def _rows(lock: ReleaseLock) -> int:
    return max(bucket.batch for bucket in lock.artifact.buckets)


def _workers(settings: Settings, lock: ReleaseLock, name: str) -> int:
    """Processes with graphs, as ``inference_code/workers/cores.py`` starts them where memory suffices."""
    instance = instances()[name]
    if settings.serve.workers is not None:
        return settings.serve.workers
    if instance.chips:
        return max(1, instance.chips * chip().cores // needed_device(lock).cores)
    return instance.vcpus
