"""One word for the whole picture: healthy only if everything is up and serves the lock's digest."""

from __future__ import annotations

import msgspec
import pytest

from fleet.status import (
    EndpointState,
    FleetState,
    InstanceState,
    StackState,
    Status,
    VariantState,
    assemble,
)

DIGEST = "a" * 64
STACK = StackState(name="s", status="UPDATE_COMPLETE")
VARIANT = VariantState(name="stable", weight=1.0, instances=1, wanted=1, digest=DIGEST)
ENDPOINT = EndpointState(name="e", status="InService", config="c", failure=None, variants=(VARIANT,))
INSTANCE = InstanceState(
    id="i-1", lifecycle="InService", health="healthy", launch_template_version="1", digest=DIGEST
)
FLEET = FleetState(name="f", wanted=1, instances=(INSTANCE,))


def _status(
    stack: StackState = STACK, endpoint: EndpointState | None = ENDPOINT, fleet: FleetState | None = FLEET
) -> Status:
    return assemble(release=DIGEST, waivers=(), stacks=(stack,), endpoint=endpoint, fleet=fleet)


def test_everything_up_with_the_locks_digest_is_healthy() -> None:
    """With both, with one of them, and with neither an endpoint nor a fleet."""
    assert _status().healthy
    assert _status(endpoint=None).healthy
    assert _status(fleet=None).healthy
    assert _status(endpoint=None, fleet=None).healthy


@pytest.mark.parametrize(
    "status",
    ["ABSENT", "UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE", "ROLLBACK_COMPLETE"],
)
def test_a_stack_that_is_not_settled_is_not_healthy(status: str) -> None:
    """A stack that went back to its old state is complete, and not what was asked for."""
    assert not _status(stack=StackState(name="s", status=status)).healthy


@pytest.mark.parametrize(
    "change", [{"digest": "b" * 64}, {"digest": None}, {"instances": 0}], ids=["other", "none", "missing"]
)
def test_a_variant_that_is_short_or_serves_something_else_is_not_healthy(change: dict[str, object]) -> None:
    """SageMaker's InService alone proves neither."""
    variant = msgspec.structs.replace(VARIANT, **change)

    assert not _status(endpoint=msgspec.structs.replace(ENDPOINT, variants=(variant,))).healthy


@pytest.mark.parametrize("status", ["Updating", "Failed", "RollingBack"])
def test_an_endpoint_that_is_not_in_service_is_not_healthy(status: str) -> None:
    """Whatever its variants say."""
    assert not _status(endpoint=msgspec.structs.replace(ENDPOINT, status=status)).healthy


@pytest.mark.parametrize(
    "change", [{"health": "unhealthy"}, {"health": "initial"}, {"digest": "b" * 64}, {"digest": None}]
)
def test_an_instance_that_fails_or_serves_something_else_is_not_healthy(change: dict[str, object]) -> None:
    """The load balancer's word and the digest both count."""
    instance = msgspec.structs.replace(INSTANCE, **change)

    assert not _status(fleet=msgspec.structs.replace(FLEET, instances=(instance,))).healthy


def test_a_fleet_that_is_short_of_instances_is_not_healthy() -> None:
    """Fewer than wanted, even if all that are there are well."""
    assert not _status(fleet=msgspec.structs.replace(FLEET, wanted=2)).healthy


CANARY = VariantState(name="canary-b", weight=0.0, instances=1, wanted=1, digest="b" * 64)


def _beside(*variants: VariantState, canary: tuple[str, str] | None = ("canary-b", "b" * 64)) -> bool:
    endpoint = msgspec.structs.replace(ENDPOINT, variants=variants)
    return assemble(
        release=DIGEST, waivers=(), stacks=(STACK,), endpoint=endpoint, fleet=None, canary=canary
    ).healthy


def test_a_canary_serves_its_own_lock() -> None:
    """Whatever its weight; one that is missing, unwanted, or of another digest is not well."""
    assert _beside(VARIANT, CANARY)
    assert _beside(msgspec.structs.replace(VARIANT, weight=0.0), msgspec.structs.replace(CANARY, weight=1.0))
    assert not _beside(VARIANT)
    assert not _beside(CANARY)
    assert not _beside(VARIANT, CANARY, canary=None)
    assert not _beside(VARIANT, msgspec.structs.replace(CANARY, digest=DIGEST))
    assert not _beside(msgspec.structs.replace(VARIANT, digest="b" * 64), CANARY)


def test_an_endpoint_that_no_weight_leads_to_is_not_healthy() -> None:
    """Every request would be refused, while all servers are well."""
    assert not _beside(msgspec.structs.replace(VARIANT, weight=0.0), CANARY)
