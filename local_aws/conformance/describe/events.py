"""EventBridge rules with their targets, and schedules."""

from __future__ import annotations

from local_aws.conformance.describe.model import Describer, Found, Resource
from local_aws.conformance.selfcheck import Clients


def _rule(clients: Clients, resource: Resource) -> Found:
    events = clients.client("events")
    found: Found = dict(events.describe_rule(Name=resource.physical_id))
    found["Targets"] = events.list_targets_by_rule(Rule=resource.physical_id)["Targets"]
    if "Tags" in resource.properties:
        found["Tags"] = events.list_tags_for_resource(ResourceARN=found["Arn"])["Tags"]
    return found


def _schedule(clients: Clients, resource: Resource) -> Found:
    return dict(clients.client("scheduler").get_schedule(Name=resource.physical_id))


DESCRIBERS: dict[str, Describer] = {
    "AWS::Events::Rule": _rule,
    "AWS::Scheduler::Schedule": _schedule,
}
