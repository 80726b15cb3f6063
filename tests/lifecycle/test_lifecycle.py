"""Every stack through create, no-op, update in place, failed update, another release and destroy."""

from __future__ import annotations

from typing import Any

import pytest

from infra.names import ENDPOINT, FLEET, FOUNDATION, IMAGE, SERVICES, stack_names
from infra.stack import DIGITS
from local_aws.conformance.census import WITHOUT_OWN_LIST
from local_aws.conformance.describe import TAGGED
from local_aws.conformance.waivers import Waivers
from tests.infra.worlds import settings_of
from tests.lifecycle.history import CAPACITY, DENIED, IN_PLACE, NO_CAPACITY, Failure, History, Moment
from tests.lifecycle.world import BASE, NAME

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

STACKS = stack_names([settings_of(BASE)])
ROLES = tuple(name.removeprefix(f"{NAME}-") for name in STACKS)
REVISED = "AWS::Batch::JobDefinition"
"""Every change of a job definition registers a revision, which is another physical id."""
MADE_BY_SERVICES = {
    "AWS::EC2::Instance",
    "main route table of a VPC",
    "default security group of a VPC",
}
"""What CloudFormation does not make itself: instances belong to their Auto Scaling group."""
CHANGED = {
    FLEET: ("AWS::AutoScaling::AutoScalingGroup", "MaxSize", 2, 3),
    ENDPOINT: ("AWS::ApplicationAutoScaling::ScalableTarget", "MaxCapacity", 2, 3),
}
"""What IN_PLACE changes beside the tags of everything: type, member, before and after."""


NOT_HERE = {IMAGE: "AWS::ImageBuilder::ImageRecipe"}
"""Roles whose stacks the local AWS refuses, with a type for which waivers.toml names the test instead."""


def test_every_stack_has_a_life_or_says_why_not() -> None:
    """A stack that joins the names module without living here fails."""
    waived = Waivers.load().types

    assert set(ROLES) == {*FOUNDATION, *SERVICES} - set(NOT_HERE)
    assert all(kind in waived for kind in NOT_HERE.values())


def _members(moment: Moment, kind: str, member: str) -> list[Any]:
    return [described[member] for described in moment.census.found[kind].values()]


def _claimed(moment: Moment) -> dict[str, set[str]]:
    """By type, the ids that stacks say are theirs."""
    claimed: dict[str, set[str]] = {}
    for kind, identity in moment.ids.values():
        if kind not in WITHOUT_OWN_LIST:
            claimed.setdefault(kind, set()).add(identity)
    return claimed


def _unclaimed(history: History, moment: Moment) -> dict[str, tuple[set[str], set[str]]]:
    """By type, what exists since the project came and is no stack's, and what a stack has in name only."""
    made, claimed = moment.census.since(history.nothing), _claimed(moment)
    kinds = (set(made) | set(claimed)) - MADE_BY_SERVICES
    both = {kind: (made.get(kind, set()), claimed.get(kind, set())) for kind in kinds}
    return {kind: (m - c, c - m) for kind, (m, c) in both.items() if m != c}


@pytest.mark.parametrize("step", ["first", "in_place", "second"])
def test_every_resource_is_what_the_templates_ask_for(history: History, step: str) -> None:
    """Described by its own service, references and the stack's tags included; nothing is taken on trust."""
    moment: Moment = getattr(history, step)

    assert moment.inventory.problems == ()
    assert {row.stack for row in moment.inventory.rows} == set(STACKS)
    assert [(row.logical_id, row.unknown) for row in moment.inventory.rows if row.unknown] == []


@pytest.mark.parametrize("step", ["first", "in_place", "second"])
def test_what_exists_is_what_the_stacks_say_they_made(history: History, step: str) -> None:
    """By type, in both directions: no orphan, no stub, nothing adopted from somebody else."""
    moment: Moment = getattr(history, step)

    assert _unclaimed(history, moment) == {}
    instances = moment.census.since(history.nothing)["AWS::EC2::Instance"]
    (members,) = _members(moment, "AWS::AutoScaling::AutoScalingGroup", "Instances")
    assert instances == {member["InstanceId"] for member in members}
    kinds = [row["kind"] for row in moment.replicas]
    assert sorted(kinds) == ["instance", "variant"]


def test_no_value_of_a_template_could_be_another_one_unnoticed(history: History) -> None:
    """Every single value of every property was changed in what is asked for: each time it was seen."""
    assert history.tried.count > 200
    assert history.tried.overlooked == []


def test_deploying_the_same_again_touches_nothing(history: History) -> None:
    """CloudFormation itself finds the change sets empty: same ids, same events, the same world."""
    first, again = history.first, history.again

    assert again.deployment.output.count("(no changes)") == len(STACKS)
    assert list(again.census.differences(first.census)) == []
    assert again.ids == first.ids
    assert again.events == first.events
    assert again.replicas == first.replicas


@pytest.mark.parametrize("stack", STACKS)
def test_an_update_in_place_keeps_the_resources_and_changes_them(history: History, stack: str) -> None:
    """Other tags reach every resource that takes some; nothing is replaced."""
    first, after = history.first, history.in_place

    assert (first.statuses[stack], after.statuses[stack]) == ("CREATE_COMPLETE", "UPDATE_COMPLETE")
    before, now = ({k: v for k, v in m.ids.items() if k[0] == stack} for m in (first, after))
    replaced = {now[key][0] for key in now if before.get(key) != now[key]}
    assert before.keys() == now.keys()
    assert replaced <= {REVISED}
    tagged = [row for row in after.inventory.rows if row.stack == stack and row.type_name in TAGGED]
    assert tagged
    for row in tagged:
        tags = (row.properties or {})["Tags"]
        found = tags if isinstance(tags, dict) else {tag["Key"]: tag["Value"] for tag in tags}
        assert found["stage"] == IN_PLACE["tags"]["stage"], row.logical_id


@pytest.mark.parametrize("role", CHANGED)
def test_the_changed_setting_is_what_the_service_says_now(history: History, role: str) -> None:
    """The sizes of the fleet and of the endpoint, by describe call."""
    kind, member, before, now = CHANGED[role]

    assert _members(history.first, kind, member) == [before]
    assert _members(history.in_place, kind, member) == [now]


def test_an_update_in_place_restarts_no_server(history: History) -> None:
    """The processes are the same, and no client noticed."""
    processes = [[row["pid"] for row in m.replicas] for m in (history.first, history.in_place)]

    assert processes[0] == processes[1]
    for heard in history.in_place.heard.values():
        assert heard.answers
        assert set(heard.answers) == {"first"}


def _not_restored(failure: Failure) -> list[str]:
    """What differs from before, but for what a rollback leaves on AWS, too.

    A launch template keeps the version of the failed update and gets one with the old content
    (aws-cloudformation/cloudformation-coverage-roadmap#1912); instances were replaced there and back;
    an endpoint says why its last update failed.
    """
    found, before = (
        {kind: dict(ids) for kind, ids in c.found.items()} for c in (failure.after, failure.before)
    )
    for there in (found, before):
        there.pop("AWS::EC2::Instance")
        for one in there["AWS::EC2::LaunchTemplate"]:
            described = dict(there["AWS::EC2::LaunchTemplate"][one])
            versions = described.pop("versions")
            newest = versions[str(described.pop("LatestVersionNumber"))]
            described["newest"] = {**newest, "VersionNumber": None, "DefaultVersion": None}
            there["AWS::EC2::LaunchTemplate"][one] = described
        for kind, member in (
            ("AWS::AutoScaling::AutoScalingGroup", "Instances"),
            ("AWS::SageMaker::Endpoint", "FailureReason"),
        ):
            there[kind] = {
                one: {k: v for k, v in described.items() if k != member}
                for one, described in there[kind].items()
            }
    return [
        f"{kind} {one}: {before[kind].get(one)} became {found[kind].get(one)}"
        for kind in found
        for one in sorted({*found[kind], *before[kind]})
        if found[kind].get(one) != before[kind].get(one)
    ]


@pytest.mark.parametrize("name", [*ROLES, *CAPACITY])
def test_a_failed_update_leaves_everything_as_it_was(history: History, name: str) -> None:
    """Everything was changed, then the last call was refused: the stack goes back and says so."""
    failure = history.failures[name]

    assert failure.deployment.code != 0
    assert [fault["hits"] for fault in failure.faults] == [1]
    assert (NO_CAPACITY if name in CAPACITY else DENIED)["message"] in failure.reasons
    assert failure.status == "UPDATE_ROLLBACK_COMPLETE"
    assert "UPDATE_ROLLBACK_IN_PROGRESS" in failure.statuses
    assert _not_restored(failure) == []


@pytest.mark.parametrize("role", ROLES)
def test_a_failed_update_had_changed_something_before(history: History, role: str) -> None:
    """A rollback that has nothing to undo would prove nothing: resources were updated, and sent back."""
    statuses = list(reversed(history.failures[role].statuses))
    back = statuses.index("UPDATE_ROLLBACK_IN_PROGRESS")

    assert statuses[:back].count("UPDATE_COMPLETE") > 1
    assert "UPDATE_COMPLETE" in statuses[back:]


@pytest.mark.parametrize("name", [*ROLES, *CAPACITY])
def test_clients_notice_nothing_of_a_failed_update(history: History, name: str) -> None:
    """Endpoint and load balancer answer all through; the half-deployed release may have, and no error did."""
    for way, heard in history.failures[name].heard.items():
        assert len(heard.answers) >= 3, way
        assert heard.failures == [], way


def test_the_fleet_was_replaced_and_came_back(history: History) -> None:
    """The late failure found the instances replaced already: others run now, of the release before."""
    failure = history.failures[FLEET]
    kind = "AWS::EC2::Instance"

    assert failure.before.ids(kind).isdisjoint(failure.after.ids(kind))
    assert len(failure.before.ids(kind)) == len(failure.after.ids(kind)) == 1


def test_without_capacity_no_instance_is_touched(history: History) -> None:
    """The first launch of the refresh is refused: the old instance stays."""
    failure = history.failures["launch"]

    assert failure.before.ids("AWS::EC2::Instance") == failure.after.ids("AWS::EC2::Instance")


def test_another_release_replaces_what_serves_and_nothing_else(history: History) -> None:
    """A new launch template version, model and configuration; group, endpoint and data stay."""
    before, after = history.in_place, history.second
    digest = history.world.locks["second"].digest
    logical = {key for key in before.ids.keys() & after.ids.keys() if before.ids[key] != after.ids[key]}
    replaced = {after.ids[key][0] for key in logical}
    (template,) = _members(after, "AWS::EC2::LaunchTemplate", "versions")
    (group,) = _members(after, "AWS::AutoScaling::AutoScalingGroup", "Instances")
    newest = str(max(map(int, template)))

    assert replaced == {"AWS::SageMaker::Model", "AWS::SageMaker::EndpointConfig"}
    assert digest[:DIGITS] in template[newest]["VersionDescription"]
    assert {one["LaunchTemplate"]["Version"] for one in group} == {newest}
    assert {row["digest"] for row in after.replicas} == {digest}


def test_another_release_is_what_clients_get(history: History) -> None:
    """Each of both ways changes over without an error, and stays with the new one."""
    after = history.second

    assert history.in_place.asked == {"endpoint": "first", "fleet": "first"}
    assert after.asked == {"endpoint": "second", "fleet": "second"}
    for way, heard in after.heard.items():
        assert heard.failures == [], way


def test_instances_are_really_replaced(history: History) -> None:
    """No instance and no process of the release before is left."""
    old, new = (set(m.census.ids("AWS::EC2::Instance")) for m in (history.in_place, history.second))
    pids = [{row["pid"] for row in m.replicas} for m in (history.in_place, history.second)]

    assert old.isdisjoint(new)
    assert pids[0].isdisjoint(pids[1])


def test_the_identities_of_the_release_before_are_gone(history: History) -> None:
    """Roles, profiles and policies carry a release's digest; only those of the new one exist."""
    digests = {name: lock.digest[:DIGITS] for name, lock in history.world.locks.items()}
    kinds = ("AWS::IAM::Role", "AWS::IAM::ManagedPolicy", "AWS::IAM::InstanceProfile")

    for moment, here, gone in ((history.in_place, "first", "second"), (history.second, "second", "first")):
        names = [name for kind in kinds for name in moment.census.ids(kind)]
        logical = [logical_id for _, logical_id in moment.ids]
        assert any(digests[here] in one for one in logical)
        assert not any(digests[gone] in one for one in (*logical, *names))


def test_destroy_leaves_nothing_and_touches_nobody(history: History) -> None:
    """What there is afterwards is what there was before, a neighbour's stack included."""
    assert history.destroyed.code == 0, history.destroyed.stderr
    assert history.destroyed.json == {"destroyed": list(reversed(STACKS)), "kept": []}
    assert list(history.gone.differences(history.nothing)) == []
    assert "neighbours-bucket" in history.gone.ids("AWS::S3::Bucket")
    assert history.left == []


def test_every_type_of_the_templates_is_in_the_census(history: History) -> None:
    """A type that nobody lists could leave something behind unseen."""
    kinds = {kind for kind, _ in history.first.ids.values()}

    assert kinds - set(history.nothing.found) - set(WITHOUT_OWN_LIST) == set()
