"""Time-outs that follow from settings and release, none of them typed in. Imports no CDK.

deadline < deregistration delay <= terminate hook      a leaving instance answers what it has
deadline < balancer's idle time-out < keep-alive       nobody closes a connection that is in use
server's drain <= container's stop < unit's stop       a stop is a drain, not a kill
start-up, twice <= grace, limit of a start             a slow start is no fault
grace, limit of a start < launch hook                  nor is it abandoned for it
launch hook < alarm on missing replicas                nobody is woken by a boot
terminate hook < Spot's notice                         a taken instance leaves as drained as any
"""

from __future__ import annotations

import math

from artifact import serving
from artifact.release import ReleaseLock
from infra.rhythm import EVALUATIONS, PERIOD_SECONDS
from settings.model import Serve

DRAIN_MARGIN_SECONDS = 10
IDLE_SECONDS = 60
"""What a load balancer takes unasked."""
IDLE_MARGIN_SECONDS = 5
MIN_GRACE_SECONDS = 300
"""What shipping cannot see: Python and torch, the golden replay on every worker, a busy new machine."""
STARTUP_FACTOR = 2
"""A boot may take twice as long as the lock says that fetch and load do."""

PULL_AND_FETCH_SECONDS = 900
"""What image and artifact are given to arrive; a start takes no less (units.py)."""
MAX_HOOK_SECONDS = 7200
"""Longest heartbeat time-out. Source: EC2 Auto Scaling API, LifecycleHookSpecification."""
SPOT_NOTICE_SECONDS = 120
"""From Spot's notice to the end. Source: EC2 user guide, "Spot Instance interruption notices"."""

CONTAINER_STOP_SECONDS = math.ceil(serving.DRAIN_SECONDS) + 5
UNIT_STOP_SECONDS = CONTAINER_STOP_SECONDS + 15


def drain_seconds(serve: Serve) -> int:
    """How long a leaving instance keeps its open requests."""
    return math.ceil(serve.deadline_seconds) + DRAIN_MARGIN_SECONDS


def hook_seconds(serve: Serve) -> int:
    """How long Auto Scaling waits before it terminates an instance."""
    return max(drain_seconds(serve), UNIT_STOP_SECONDS)


def idle_seconds(serve: Serve) -> int:
    """How long the load balancer keeps a connection on which nothing moves."""
    return max(IDLE_SECONDS, math.ceil(serve.deadline_seconds) + IDLE_MARGIN_SECONDS)


def grace_seconds(lock: ReleaseLock) -> int:
    """How long a new instance may be unhealthy before it is replaced."""
    return max(MIN_GRACE_SECONDS, STARTUP_FACTOR * lock.startup_seconds)


def launch_seconds(lock: ReleaseLock) -> int:
    """How long Auto Scaling waits for a new instance to prove itself before it abandons it.

    Image and artifact may take as long as the instance itself gives them, loading as the grace says.
    """
    return PULL_AND_FETCH_SECONDS + grace_seconds(lock)


def missing_minutes(lock: ReleaseLock) -> int:
    """How long wanted replicas may be missing before somebody is told: longer than any boot takes."""
    return math.ceil(launch_seconds(lock) / PERIOD_SECONDS) + EVALUATIONS


def start_seconds(lock: ReleaseLock) -> int:
    """How long an instance may take from the start of its unit to the first 200 of ``/ping``.

    The hook that holds a launch waits longer.
    """
    return max(PULL_AND_FETCH_SECONDS, STARTUP_FACTOR * lock.startup_seconds)
