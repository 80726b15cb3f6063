"""What SageMaker does not do for this release on this type, asked before anything is synthesised.

Sources: SageMaker guide, "deployment-guardrails-exclusions", and "Asynchronous inference", which
excludes what that page excludes; "Use your own inference code" for the time to answer.
"""

from __future__ import annotations

from artifact.release import ReleaseLock
from artifact.serving import ANSWER_TIMEOUT_SECONDS
from infra.endpoint_limits import (
    ANSWER_MARGIN_SECONDS,
    MAX_TIMEOUT_SECONDS,
    MAX_VOLUME_GIB,
    needed_volume_gib,
)
from infra.incompatible import Incompatible
from settings.endpoint import Endpoint
from settings.model import Serve

INF1 = "ml.inf1."
LONGEST_DEADLINE_SECONDS = ANSWER_TIMEOUT_SECONDS - ANSWER_MARGIN_SECONDS


class NotOnInf1(Incompatible):
    """A feature of SageMaker that Inf1 does not have."""

    id = "not-on-inf1"

    def __init__(self, *, section: str, name: str, why: str, fix: str) -> None:
        super().__init__(what=f"{section} cannot be used on {name}", why=why, fix=fix)


class DeadlineTooLong(Incompatible):
    """SageMaker would give up before the server does."""

    id = "deadline-too-long"

    def __init__(self, *, seconds: float) -> None:
        super().__init__(
            what=f"serve.deadline_seconds = {seconds:g} is too long for an endpoint",
            why=f"SageMaker waits {ANSWER_TIMEOUT_SECONDS:g} s for an answer, and the caller would get its "
            "time-out in place of the server's own words",
            fix=f"set it to at most {LONGEST_DEADLINE_SECONDS:g}",
        )


class ReplicaStartsTooSlowly(Incompatible):
    """A replica starts, by the lock, later than SageMaker waits."""

    id = "replica-starts-too-slowly"

    def __init__(self, *, seconds: int) -> None:
        super().__init__(
            what="the release starts too slowly for an endpoint",
            why=f"the lock says that it takes {seconds} s, SageMaker waits {MAX_TIMEOUT_SECONDS} s at most",
            fix="compile fewer buckets, or serve it from a fleet",
        )


class DiskTooSmall(Incompatible):
    """No disk that an endpoint can have holds the release."""

    id = "disk-too-small"

    def __init__(self, *, needed: int) -> None:
        super().__init__(
            what="the release is too large for an endpoint",
            why=f"archive and files need {needed} GiB, a variant's disk has {MAX_VOLUME_GIB} at most",
            fix="compile fewer buckets, or serve it from a fleet",
        )


def check_endpoint(endpoint: Endpoint, serve: Serve, lock: ReleaseLock) -> None:
    """Compare what is wanted of the endpoint with what SageMaker does.

    Raises:
        NotOnInf1, DeadlineTooLong, ReplicaStartsTooSlowly, DiskTooSmall: see there.
    """
    name = endpoint.instance_type
    if name.startswith(INF1) and endpoint.deployment is not None:
        raise NotOnInf1(
            section="[endpoint.deployment]",
            name=name,
            why="SageMaker ignores it on Inf1: all traffic flips at once, and no alarm sends it back",
            fix="remove it; shift traffic by variant weights with [endpoint.canary] (docs/endpoint.md)",
        )
    if name.startswith(INF1) and endpoint.async_ is not None:
        raise NotOnInf1(
            section="[endpoint.async]",
            name=name,
            why="SageMaker has no asynchronous inference on Inf1",
            fix='remove it, or use a CPU type with compile.target = "cpu"',
        )
    if serve.deadline_seconds > LONGEST_DEADLINE_SECONDS:
        raise DeadlineTooLong(seconds=serve.deadline_seconds)
    if lock.startup_seconds > MAX_TIMEOUT_SECONDS:
        raise ReplicaStartsTooSlowly(seconds=lock.startup_seconds)
    if needed_volume_gib(lock) > MAX_VOLUME_GIB:
        raise DiskTooSmall(needed=needed_volume_gib(lock))
