"""Auto Scaling groups, target groups and alarms: how a release changes and what stops it."""

from __future__ import annotations

import re
from typing import Any

from artifact import serving
from infra.rules.template import Resource, Template, attributes, listed, rule, text

GROUP = "AWS::AutoScaling::AutoScalingGroup"
HOOK = "AWS::AutoScaling::LifecycleHook"
TARGETS = "AWS::ElasticLoadBalancingV2::TargetGroup"
BALANCER = "AWS::ElasticLoadBalancingV2::LoadBalancer"
ALARM = "AWS::CloudWatch::Alarm"
TEMPLATE = "AWS::EC2::LaunchTemplate"

MARGIN_SECONDS = 10
MIN_GRACE_SECONDS = 60


@rule(
    "version-by-number",
    GROUP,
    what="The launch template's version is a number",
    why="Auto Scaling cannot roll back to $Latest or $Default",
    fix="refer to LatestVersionNumber, which CloudFormation resolves",
)
def version_by_number(resource: Resource, _: Template) -> bool:
    mixed = resource.at("MixedInstancesPolicy", "LaunchTemplate", "LaunchTemplateSpecification")
    version = (mixed or resource.at("LaunchTemplate"))["Version"]
    return version not in ("$Latest", "$Default")


@rule(
    "refreshes-instances",
    GROUP,
    what="A new release replaces instances by a refresh",
    why="without the policy a deploy changes no machine; and a rollback uses the policy of the template "
    "before, so it must be there from the first deploy on",
    fix="keep UpdatePolicy.AutoScalingInstanceRefresh",
)
def refreshes_instances(resource: Resource, _: Template) -> bool:
    return bool(_preferences(resource))


@rule(
    "alarms-stop-a-rollout",
    GROUP,
    what="A rollout is stopped and undone by alarms",
    why="otherwise a bad release reaches the whole fleet",
    fix="name the stack's alarms in Preferences.AlarmSpecification",
)
def alarms_stop_a_rollout(resource: Resource, template: Template) -> bool:
    named = _preferences(resource)["AlarmSpecification"]["Alarms"]
    there = {alarm.id for alarm in template.all(ALARM)}
    return bool(named) and all(row.get("Ref") in there for row in named)


@rule(
    "rollout-reaches-all",
    GROUP,
    what="A rollout ends with the whole fleet",
    why="Auto Scaling leaves the rest as it is if the last checkpoint is below 100",
    fix="end CheckpointPercentages with 100",
)
def rollout_reaches_all(resource: Resource, _: Template) -> bool:
    steps = _preferences(resource)["CheckpointPercentages"]
    return bool(steps[-1] == 100)


@rule(
    "alarm-before-next-step",
    GROUP,
    what="An alarm can fire before the next step of a rollout",
    why="a pause shorter than an alarm's reaction looks at nothing",
    fix="raise CheckpointDelay above the slowest alarm's period times evaluations",
)
def alarm_before_next_step(resource: Resource, template: Template) -> bool:
    preferences = _preferences(resource)
    named = {row["Ref"] for row in preferences["AlarmSpecification"]["Alarms"]}
    reactions = [_reaction(alarm) for alarm in template.all(ALARM) if alarm.id in named]
    return max(reactions) < int(preferences["CheckpointDelay"])


@rule(
    "rollout-bakes",
    GROUP,
    what="A rollout is watched for a while after its last step",
    why="memory that leaks and queues that grow do not show in the first minutes",
    fix="set Preferences.BakeTime",
)
def rollout_bakes(resource: Resource, _: Template) -> bool:
    return int(_preferences(resource)["BakeTime"]) > 0


@rule(
    "matching-instances-stay",
    GROUP,
    what="A rollout leaves instances alone that are already as wanted",
    why="going back from one bad instance would replace the whole fleet, one by one, amid a fault",
    fix="set Preferences.SkipMatching to true; the API's own default is false",
)
def matching_instances_stay(resource: Resource, _: Template) -> bool:
    return _preferences(resource)["SkipMatching"] is True


@rule(
    "new-before-old",
    GROUP,
    what="A new instance is healthy before an old one goes",
    why="otherwise a rollout takes capacity away",
    fix="set MinHealthyPercentage to 100 and MaxHealthyPercentage above it",
)
def new_before_old(resource: Resource, _: Template) -> bool:
    preferences = _preferences(resource)
    return bool(preferences["MinHealthyPercentage"] == 100 and preferences["MaxHealthyPercentage"] > 100)


@rule(
    "capacity-left-alone",
    GROUP,
    what="A deploy does not reset a scaled fleet",
    why="DesiredCapacity in a template undoes what scaling decided",
    fix="remove DesiredCapacity",
)
def capacity_left_alone(resource: Resource, _: Template) -> bool:
    return resource.at("DesiredCapacity") is None


@rule(
    "replaced-when-unhealthy",
    GROUP,
    what="An instance that fails the load balancer's check is replaced",
    why="EC2's own check does not see a server that answers wrongly",
    fix="set HealthCheckType to ELB with a grace period of at least a minute",
)
def replaced_when_unhealthy(resource: Resource, _: Template) -> bool:
    by_balancer = "ELB" in str(resource.at("HealthCheckType"))
    return by_balancer and int(resource.at("HealthCheckGracePeriod")) >= MIN_GRACE_SECONDS


@rule(
    "machines-do-not-age",
    GROUP,
    what="No instance lives for ever",
    why="security updates come with a new machine, never in place",
    fix="set MaxInstanceLifetime",
)
def machines_do_not_age(resource: Resource, _: Template) -> bool:
    return int(resource.at("MaxInstanceLifetime")) > 0


@rule(
    "leaves-drained",
    GROUP,
    what="A leaving instance may finish its requests",
    why="Auto Scaling terminates at once where no hook makes it wait",
    fix="add a lifecycle hook on EC2_INSTANCE_TERMINATING, as long as the deregistration delay at least",
)
def leaves_drained(resource: Resource, template: Template) -> bool:
    delays = [_delay(targets) for targets in template.all(TARGETS)]
    return any(
        "EC2_INSTANCE_TERMINATING" in hook.at("LifecycleTransition")
        and int(hook.at("HeartbeatTimeout")) >= max([serving.DRAIN_SECONDS, *delays])
        for hook in template.beside(resource, HOOK, "AutoScalingGroupName")
    )


@rule(
    "drain-outlasts-deadline",
    TARGETS,
    what="A target keeps its requests longer than any request may take",
    why="the slowest answer would be cut off at every rollout",
    fix=f"set deregistration_delay.timeout_seconds to the deadline and {MARGIN_SECONDS} s more",
)
def drain_outlasts_deadline(resource: Resource, template: Template) -> bool:
    return _delay(resource) >= _deadline(template) + MARGIN_SECONDS


@rule(
    "idle-in-between",
    BALANCER,
    what="The load balancer waits longer than a request may take and gives up before the server closes",
    why="it would cut off the slowest answer, or send a request on a connection that was just closed",
    fix=f"set idle_timeout.timeout_seconds above the deadline and below {serving.KEEP_ALIVE_SECONDS} s",
)
def idle_in_between(resource: Resource, template: Template) -> bool:
    idle = float(attributes(resource, "LoadBalancerAttributes")["idle_timeout.timeout_seconds"])
    return _deadline(template) < idle < serving.KEEP_ALIVE_SECONDS


@rule(
    "health-is-proof",
    TARGETS,
    what="Only a server that passed its golden set gets requests",
    why="an open port says nothing; some Inf1 machines answered every input alike "
    "(aws-neuron/aws-neuron-sdk#325)",
    fix=f"check {serving.PING} and accept 200 only",
)
def health_is_proof(resource: Resource, _: Template) -> bool:
    return bool(
        resource.at("HealthCheckPath") == serving.PING and resource.at("Matcher", "HttpCode") == "200"
    )


@rule(
    "alarm-speaks",
    ALARM,
    what="An alarm tells somebody",
    why="one without an action is a colour on a page",
    fix="add the topic to AlarmActions",
)
def alarm_speaks(resource: Resource, _: Template) -> bool:
    return bool(resource.at("AlarmActions")) and resource.at("ActionsEnabled") is not False


@rule(
    "alarm-knows-silence",
    ALARM,
    what="An alarm says what missing data means",
    why="by default it keeps its last state for ever",
    fix="set TreatMissingData",
)
def alarm_knows_silence(resource: Resource, _: Template) -> bool:
    return resource.at("TreatMissingData") in ("breaching", "notBreaching")


def _delay(targets: Resource) -> float:
    return float(attributes(targets, "TargetGroupAttributes")["deregistration_delay.timeout_seconds"])


def _deadline(template: Template) -> float:
    """Seconds that the machines of the stack give a request.

    Raises:
        ValueError: their user data does not say.
    """
    data = "".join(text(launch.at("LaunchTemplateData", "UserData")) for launch in template.all(TEMPLATE))
    return max(float(found) for found in re.findall(rf"{serving.ENV_DEADLINE_SECONDS}=([0-9.]+)", data))


def _preferences(resource: Resource) -> dict[str, Any]:
    preferences: dict[str, Any] = resource.body["UpdatePolicy"]["AutoScalingInstanceRefresh"]["Preferences"]
    return preferences


def _reaction(alarm: Resource) -> int:
    """Seconds from the first bad period to the alarm."""
    periods = [alarm.at("Period")] + [
        row["MetricStat"]["Period"] for row in listed(alarm.at("Metrics")) if "MetricStat" in row
    ]
    return max(int(period) for period in periods if period is not None) * int(alarm.at("EvaluationPeriods"))
