"""What an instance does around its server: check itself, tell of a failure, have itself replaced."""

from __future__ import annotations

import re

from artifact import host
from infra import names
from infra.rules.machines import TEMPLATE, user_data
from infra.rules.template import Resource, Template, at, is_completed_by_batch, listed, rule
from infra.units import SCRIPT_FILE, WATCH_UNIT

GROUP = "AWS::AutoScaling::AutoScalingGroup"
POLICY = "AWS::IAM::ManagedPolicy"
FETCH = "--name traceship-fetch"
ON_INF1 = "--device /dev/neuron"
CONTAINER = re.compile(r"docker run [^\n]*--name traceship-(\w+) [^\n]*--user (\d+):")


@rule(
    "knows-its-group",
    TEMPLATE,
    what="An instance can ask which Auto Scaling group it is in",
    why="otherwise it cannot end the wait of its own launch, and every launch takes the hook's whole hour",
    fix="set MetadataOptions.InstanceMetadataTags to enabled",
)
def knows_its_group(resource: Resource, template: Template) -> bool:
    if is_completed_by_batch(resource, template):
        return True
    return bool(resource.at("LaunchTemplateData", "MetadataOptions", "InstanceMetadataTags") == "enabled")


@rule(
    "checks-chips-before-it-fetches",
    TEMPLATE,
    what="An Inf1 instance looks for its chips and their driver before anything else",
    why="a machine image with another driver would fail in the middle of a load, for an obscure reason",
    fix=f"keep ExecStartPre={SCRIPT_FILE} preflight before the fetch; a CPU instance has none",
)
def checks_chips_before_it_fetches(resource: Resource, template: Template) -> bool:
    if is_completed_by_batch(resource, template):
        return True
    data = user_data(resource)
    preflight = data.find(f"ExecStartPre={SCRIPT_FILE} preflight")
    fetch = data.index(FETCH)
    return 0 <= preflight < fetch if ON_INF1 in data else preflight < 0


@rule(
    "server-without-credentials",
    TEMPLATE,
    what="The server's user cannot reach the instance's credentials",
    why="who breaks into the server would act as the instance: write its log, take its fleet's slots, have "
    "instances replaced",
    fix=f"keep ExecStartPre={SCRIPT_FILE} confine before the fetch, and a user of the server's own, the one "
    f"that {host.ENV_SERVE_USER} names",
)
def server_without_credentials(resource: Resource, template: Template) -> bool:
    if is_completed_by_batch(resource, template):
        return True
    data = user_data(resource)
    users = {found[1]: int(found[2]) for found in CONTAINER.finditer(data.replace("\\\n", " "))}
    confined = re.findall(rf"^\s*{host.ENV_SERVE_USER}=(\d+)$", data, re.MULTILINE)
    own = users.pop("serve")
    before = 0 <= data.find(f"ExecStartPre={SCRIPT_FILE} confine\n") < data.index(FETCH)
    return before and [str(own)] == confined and own not in users.values()


@rule(
    "tells-how-a-start-went",
    TEMPLATE,
    what="Auto Scaling learns whether an instance came up",
    why="one that cannot start would hold its place until somebody looks",
    fix=f"keep ExecStartPost={SCRIPT_FILE} ready and ExecStopPost={SCRIPT_FILE} stopped",
)
def tells_how_a_start_went(resource: Resource, template: Template) -> bool:
    if is_completed_by_batch(resource, template):
        return True
    told = set(re.findall(rf"^\s*(Exec\w+={SCRIPT_FILE} \w+)$", user_data(resource), re.MULTILINE))
    return {f"ExecStartPost={SCRIPT_FILE} ready", f"ExecStopPost={SCRIPT_FILE} stopped"} <= told


@rule(
    "watches-its-chips",
    TEMPLATE,
    what="The chips of an Inf1 instance are watched",
    why="a chip with damaged memory goes on answering, wrongly",
    fix=f"write and start {WATCH_UNIT}",
)
def watches_its_chips(resource: Resource, template: Template) -> bool:
    if is_completed_by_batch(resource, template):
        return True
    data = user_data(resource)
    started = re.search(rf'"enable".*"{re.escape(WATCH_UNIT)}"', data) is not None
    return FETCH in data and (ON_INF1 in data) == (started and f"/{WATCH_UNIT}\n" in data)


@rule(
    "group-is-known-by-its-tag",
    GROUP,
    what="What instances may do to a group, they may do to their own",
    why="the permission cannot name the group, so the group's tag is what keeps it from other fleets",
    fix=f"tag the group with {names.FLEET_TAG} and the value that the policy of its role asks for",
)
def group_is_known_by_its_tag(resource: Resource, template: Template) -> bool:
    key = f"aws:ResourceTag/{names.FLEET_TAG}"
    wanted = {
        at(row, "Condition", "StringEquals", key)
        for policy in template.all(POLICY)
        for row in listed(policy.at("PolicyDocument")["Statement"])
        if any(action.startswith("autoscaling:") for action in listed(row["Action"]))
    }
    tags = {row["Value"] for row in listed(resource.at("Tags")) if row["Key"] == names.FLEET_TAG}
    return len(tags) == 1 and wanted == tags
