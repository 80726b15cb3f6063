"""Time-outs that follow from settings and release, none of them typed in. Imports no CDK.

deadline < deregistration delay <= terminate hook      a leaving instance answers what it has
deadline < balancer's idle time-out < keep-alive       nobody closes a connection that is in use
server's drain <= container's stop < unit's stop       a stop is a drain, not a kill
start-up, twice <= grace                               a slow start is no fault
"""

from __future__ import annotations

import math

from artifact import serving
from artifact.release import ReleaseLock
from settings.model import Serve

DRAIN_MARGIN_SECONDS = 10
IDLE_SECONDS = 60
"""What a load balancer takes unasked."""
IDLE_MARGIN_SECONDS = 5
MIN_GRACE_SECONDS = 300
STARTUP_FACTOR = 2
"""Boot may take twice as long as fetch and load did when they were measured."""

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
