"""A project's life, lived once: what was deployed, what was there afterwards, what clients heard.

first     every stack with the first release
again     the same again
in place  other tags and sizes (``IN_PLACE``)
failed    each stack alone: everything changes, the second release included, then the last resource
          fails; and the two ways in which capacity runs out
second    the second release
gone      destroyed
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import aws_cdk as cdk

from infra.app import Service, add_stacks
from infra.names import ENDPOINT, FLEET, stack_name
from local_aws.conformance import Inventory
from local_aws.conformance.census import Census
from tests.infra.worlds import make_app, settings_of
from tests.kit.command import Answer
from tests.lifecycle.asking import Asking, Heard
from tests.lifecycle.mutating import Tried, tried_mutations
from tests.lifecycle.world import BASE, Deployment, World

IN_PLACE: dict[str, Any] = {
    "tags": {"stage": "two"},
    "fleet": {"max_size": 3},
    "endpoint": {"max_count": 3},
    "alarms": {"latency_p99_ms": 900.0},
}
FAILING: dict[str, Any] = {
    "tags": {"stage": "three"},
    "fleet": {"max_size": 4},
    "endpoint": {"max_count": 4},
    "alarms": {"latency_p99_ms": 800.0},
}
LAST = "LastOfAll"
DENIED = {
    "code": "AccessDeniedException",
    "message": "User is not authorized to perform: kms:CreateGrant on this resource",
}
NO_CAPACITY = {
    "code": "InsufficientInstanceCapacity",
    "message": "We currently do not have sufficient capacity in the Availability Zone you requested",
}
CAPACITY = {"launch": (FLEET, "autoscaling:Launch"), "provision": (ENDPOINT, "sagemaker:Provision")}
"""Name of a failure: the role of the stack and the call that fails."""


@dataclass(kw_only=True)
class Moment:
    """The world after a step. ``heard``: what clients were told while it happened."""

    deployment: Deployment
    census: Census
    inventory: Inventory
    ids: dict[tuple[str, str], tuple[str, str]]
    events: dict[str, list[dict[str, Any]]]
    statuses: dict[str, str]
    replicas: list[dict[str, Any]]
    asked: dict[str, str]
    heard: dict[str, Heard] = field(default_factory=dict)


@dataclass(kw_only=True)
class Failure:
    """A deploy of one stack that failed."""

    stack: str
    deployment: Deployment
    faults: list[dict[str, Any]]
    status: str
    reasons: str
    statuses: list[str]
    before: Census
    after: Census
    heard: dict[str, Heard]


@dataclass(kw_only=True)
class History:
    """All of it."""

    world: World
    nothing: Census
    first: Moment
    tried: Tried
    again: Moment
    in_place: Moment
    failures: dict[str, Failure]
    second: Moment
    destroyed: Answer
    gone: Census
    left: list[dict[str, Any]]


def lived(world: World, nothing: Census) -> History:
    """Take a bootstrapped world through everything."""
    _prepare(world)
    first = _moment(world, "first", world.deploy("first"))
    tried = tried_mutations(world, "first")
    again = _moment(world, "first", world.deploy("first", force=True))
    in_place = _after(world, "in-place")
    failures = dict(_failures(world))
    second = _after(world, "second")
    destroyed = world.command("destroy", "--yes", "--json")
    return History(
        world=world,
        nothing=nothing,
        first=first,
        tried=tried,
        again=again,
        in_place=in_place,
        failures=failures,
        second=second,
        destroyed=destroyed,
        gone=world.census(),
        left=world.replicas(),
    )


def _prepare(world: World) -> None:
    done = world.deploy("foundation")
    assert done.code == 0, done.output
    for release in ("first", "second"):
        world.publish(release)
    world.synthesise("first", world.settings, "first")
    world.synthesise("in-place", settings_of(BASE, IN_PLACE), "first")
    world.synthesise("second", settings_of(BASE, IN_PLACE), "second")
    _synthesise_failing(world)


def _synthesise_failing(world: World) -> None:
    """Other settings, the other release, and in each stack a topic that is made after everything else."""
    app = make_app(world.folder / "failing")
    add_stacks(app, [Service(settings_of(BASE, FAILING), world.locks["second"])])
    for stack in app.node.children:
        if isinstance(stack, cdk.Stack):
            others = [c for c in stack.node.find_all() if isinstance(c, cdk.CfnResource)]
            last = cdk.CfnResource(stack, LAST, type="AWS::SNS::Topic")
            last.override_logical_id(LAST)
            for other in others:
                last.add_dependency(other)
    app.synth()


def _after(world: World, assembly: str) -> Moment:
    with Asking(world) as asking:
        deployment = world.deploy(assembly)
    return _moment(world, assembly, deployment, asking.heard)


def _moment(
    world: World, assembly: str, deployment: Deployment, heard: dict[str, Heard] | None = None
) -> Moment:
    assert deployment.code == 0, deployment.output
    return Moment(
        deployment=deployment,
        census=world.census(),
        inventory=world.compare(assembly),
        ids=world.physical_ids(),
        events={stack: world.events(stack) for stack in world.stacks},
        statuses={stack: world.status(stack) for stack in world.stacks},
        replicas=world.replicas(),
        asked=Asking(world).once(),
        heard=heard or {},
    )


def _failures(world: World) -> Iterator[tuple[str, Failure]]:
    for stack, role in world.roles().items():
        yield role, _failure(world, stack, {"point": f"cloudformation:{stack}/{LAST}", **DENIED})
    for name, (role, point) in CAPACITY.items():
        yield name, _failure(world, stack_name(world.settings, role), {"point": point, **NO_CAPACITY})


def _failure(world: World, stack: str, fault: dict[str, Any]) -> Failure:
    before, known = world.census(), {event["EventId"] for event in world.events(stack)}
    with _failing(world, fault), Asking(world) as asking:
        deployment = world.deploy("failing", stack)
        faults = world.faults()
    events = [event for event in world.events(stack) if event["EventId"] not in known]
    failed = [event for event in events if event["ResourceStatus"].endswith("FAILED")]
    return Failure(
        stack=stack,
        deployment=deployment,
        faults=faults,
        status=world.status(stack),
        reasons=" ".join(event.get("ResourceStatusReason", "") for event in failed),
        statuses=[event["ResourceStatus"] for event in events],
        before=before,
        after=world.census(),
        heard=asking.heard,
    )


@contextmanager
def _failing(world: World, fault: dict[str, Any]) -> Iterator[None]:
    world.fail(fault)
    try:
        yield
    finally:
        world.fail()
