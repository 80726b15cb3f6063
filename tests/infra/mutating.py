"""How a template loses one property: what a mutant is, and the ways to take something away."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Body = dict[str, Any]
Mutation = Callable[[Body, dict[str, Body]], object]

BALANCER = ("fleet", "AWS::ElasticLoadBalancingV2::LoadBalancer")
LISTENER = ("fleet", "AWS::ElasticLoadBalancingV2::Listener")
TARGETS = ("fleet", "AWS::ElasticLoadBalancingV2::TargetGroup")
LAUNCH = ("fleet", "AWS::EC2::LaunchTemplate")
GROUP = ("fleet", "AWS::AutoScaling::AutoScalingGroup")
HOOK = ("fleet", "AWS::AutoScaling::LifecycleHook")
POLICY = ("fleet", "AWS::AutoScaling::ScalingPolicy")
SCHEDULED = ("fleet", "AWS::AutoScaling::ScheduledAction")
WARM_POOL = ("fleet", "AWS::AutoScaling::WarmPool")
TRUST_STORE = ("fleet", "AWS::ElasticLoadBalancingV2::TrustStore")
ALARM = ("fleet", "AWS::CloudWatch::Alarm")
DOOR = ("fleet", "AWS::EC2::SecurityGroup")
INGRESS = ("fleet", "AWS::EC2::SecurityGroupIngress")
EGRESS = ("fleet", "AWS::EC2::SecurityGroupEgress")
TOPIC = ("fleet", "AWS::SNS::Topic")
TOPIC_POLICY = ("fleet", "AWS::SNS::TopicPolicy")
LOGS = ("fleet", "AWS::Logs::LogGroup")
FLEET_POLICY = ("fleet", "AWS::IAM::ManagedPolicy")
FLEET_ROLE = ("fleet", "AWS::IAM::Role")
COMPONENT = ("image", "AWS::ImageBuilder::Component")
RECIPE = ("image", "AWS::ImageBuilder::ImageRecipe")
BUILDER = ("image", "AWS::ImageBuilder::InfrastructureConfiguration")
PIPELINE = ("image", "AWS::ImageBuilder::ImagePipeline")
MODEL = ("endpoint", "AWS::SageMaker::Model")
CONFIG = ("endpoint", "AWS::SageMaker::EndpointConfig")
ENDPOINT = ("endpoint", "AWS::SageMaker::Endpoint")
SCALABLE = ("endpoint", "AWS::ApplicationAutoScaling::ScalableTarget")
SCALING = ("endpoint", "AWS::ApplicationAutoScaling::ScalingPolicy")
ENDPOINT_ROLE = ("endpoint", "AWS::IAM::Role")
JOB = ("compile", "AWS::Batch::JobDefinition")
MACHINE = ("compile", "AWS::StepFunctions::StateMachine")
ENVIRONMENT = ("compile", "AWS::Batch::ComputeEnvironment")
JOB_LAUNCH = ("compile", "AWS::EC2::LaunchTemplate")
EVENT_RULE = ("compile", "AWS::Events::Rule")
SCHEDULE = ("compile", "AWS::Scheduler::Schedule")
JOB_GROUP = ("compile", "AWS::EC2::SecurityGroup")
VPC = ("network", "AWS::EC2::VPC")
SUBNET = ("network", "AWS::EC2::Subnet")
DOORS = ("network", "AWS::EC2::VPCEndpoint")
KEY = ("artifacts", "AWS::KMS::Key")
BUCKET = ("artifacts", "AWS::S3::Bucket")
BUCKET_POLICY = ("artifacts", "AWS::S3::BucketPolicy")
REPOSITORY = ("artifacts", "AWS::ECR::Repository")

TAGGED = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/traceship/serving:latest"
ANYBODY = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "s3:GetObject", "Resource": "*"}


@dataclass(frozen=True)
class Mutant:
    """``property``: what is removed, in words. ``settings``: the world it lives in (conftest.py)."""

    rule: str
    property: str
    place: tuple[str, str]
    mutate: Mutation
    settings: str = "inf1"


def put(*path: str, to: Any) -> Mutation:
    """Give the property at ``path`` another value; None takes it away."""

    def mutate(body: Body, _: dict[str, Body]) -> None:
        place = body["Properties"]
        for key in path[:-1]:
            place = place.setdefault(key, {})
        if to is None:
            del place[path[-1]]
        else:
            place[path[-1]] = to

    return mutate


def launch(*path: str, to: Any) -> Mutation:
    return put("LaunchTemplateData", *path, to=to)


def refresh(name: str, to: Any) -> Mutation:
    def mutate(body: Body, _: dict[str, Body]) -> None:
        preferences = body["UpdatePolicy"]["AutoScalingInstanceRefresh"]["Preferences"]
        if to is None:
            del preferences[name]
        else:
            preferences[name] = to

    return mutate


def attribute(name: str, to: str | None, table: str = "LoadBalancerAttributes") -> Mutation:
    def mutate(body: Body, _: dict[str, Body]) -> None:
        rows = [row for row in body["Properties"][table] if row["Key"] != name]
        body["Properties"][table] = rows + ([] if to is None else [{"Key": name, "Value": to}])

    return mutate


def boot(old: str, new: str) -> Mutation:
    """Change the text of the user data wherever ``old`` (a pattern) stands in it."""

    def mutate(body: Body, _: dict[str, Body]) -> None:
        joined = body["Properties"]["LaunchTemplateData"]["UserData"]["Fn::Base64"]["Fn::Join"][1]
        changed = [re.sub(old, new, part) if isinstance(part, str) else part for part in joined]
        assert changed != joined
        joined[:] = changed

    return mutate


def _releases(resources: dict[str, Body], kind: str = "AWS::S3::Bucket") -> Body:
    """The bucket that holds releases, or its policy."""
    (name,) = (n for n, r in resources.items() if r["Type"] == kind and n.startswith("Artifacts"))
    return resources[name]


def bucket(*path: str, to: Any) -> Mutation:
    def mutate(_: Body, resources: dict[str, Body]) -> None:
        put(*path, to=to)(_releases(resources), resources)

    return mutate


def without_statement(kind: str, word: str) -> Mutation:
    """Drop the statements of every policy of a type that mention ``word``."""

    def mutate(_: Body, resources: dict[str, Body]) -> None:
        dropped = 0
        for body in resources.values():
            if body["Type"] == kind:
                rows = body["Properties"]["PolicyDocument"]["Statement"]
                kept = [row for row in rows if word not in str(row)]
                dropped += len(rows) - len(kept)
                body["Properties"]["PolicyDocument"]["Statement"] = kept
        assert dropped

    return mutate


def without_condition(word: str) -> Mutation:
    """Let the statements of every managed policy that mention ``word`` hold without a condition."""

    def mutate(_: Body, resources: dict[str, Body]) -> None:
        rows = [
            row
            for body in resources.values()
            if body["Type"] == "AWS::IAM::ManagedPolicy"
            for row in body["Properties"]["PolicyDocument"]["Statement"]
            if word in str(row)
        ]
        assert rows
        for row in rows:
            del row["Condition"]

    return mutate


def for_one_role(kind: str, word: str) -> Mutation:
    """Let the statements of every policy of a type that mention ``word`` speak of one role only."""

    def mutate(_: Body, resources: dict[str, Body]) -> None:
        rows = [
            row
            for body in resources.values()
            if body["Type"] == kind
            for row in body["Properties"]["PolicyDocument"]["Statement"]
            if word in str(row)
        ]
        assert rows
        for row in rows:
            row["Principal"] = {"AWS": "arn:aws:iam::111122223333:role/one"}

    return mutate


def statement(change: Callable[[list[Body]], object], *document: str) -> Mutation:
    """Change the list of statements of the resource's policy document."""

    def mutate(body: Body, _: dict[str, Body]) -> None:
        place = body["Properties"]
        for key in document or ("PolicyDocument",):
            place = place[key]
        change(place["Statement"])

    return mutate


def drop(kind: str) -> Mutation:
    def mutate(_: Body, resources: dict[str, Body]) -> None:
        for name in [name for name, body in resources.items() if body["Type"] == kind]:
            del resources[name]

    return mutate


def add(kind: str, **properties: Any) -> Mutation:
    def mutate(_: Body, resources: dict[str, Body]) -> None:
        resources["Added"] = {"Type": kind, "Properties": properties}

    return mutate


def interface_endpoint(name: str) -> Mutation:
    def mutate(_: Body, resources: dict[str, Body]) -> None:
        bodies = [body["Properties"] for body in resources.values() if body["Type"] == DOORS[1]]
        next(body for body in bodies if body["VpcEndpointType"] == "Interface").pop(name)

    return mutate


def s3_gateway(change: Callable[[list[Body]], object]) -> Mutation:
    """Change the statements of the policy of S3's endpoint."""

    def mutate(_: Body, resources: dict[str, Body]) -> None:
        bodies = [body["Properties"] for body in resources.values() if body["Type"] == DOORS[1]]
        (gateway,) = (body for body in bodies if body["VpcEndpointType"] == "Gateway")
        change(gateway["PolicyDocument"]["Statement"])

    return mutate


def bucket_rules(change: Callable[[list[Body]], object]) -> Mutation:
    """Change the lifecycle rules of the bucket that holds releases."""

    def mutate(_: Body, resources: dict[str, Body]) -> None:
        change(_releases(resources)["Properties"]["LifecycleConfiguration"]["Rules"])

    return mutate


def image_rules(change: Callable[[list[Body]], object]) -> Mutation:
    """Change the rules of the repository's lifecycle policy, which are JSON in a text."""

    def mutate(body: Body, _: dict[str, Body]) -> None:
        policy = body["Properties"]["LifecyclePolicy"]
        document = json.loads(policy["LifecyclePolicyText"])
        change(document["rules"])
        policy["LifecyclePolicyText"] = json.dumps(document)

    return mutate


def without_alarm(metric: str) -> Mutation:
    def mutate(_: Body, resources: dict[str, Body]) -> None:
        found = [n for n, body in resources.items() if body["Properties"].get("MetricName") == metric]
        assert found
        for name in found:
            del resources[name]

    return mutate


def replace_alarm_metrics(_: Body, resources: dict[str, Body]) -> None:
    for body in resources.values():
        if body["Type"] == "AWS::CloudWatch::Alarm":
            body["Properties"].update(MetricName="Invocations", Metrics=[])


def script(old: str, new: str) -> Mutation:
    """Change the text of a component wherever ``old`` (a pattern) stands in it."""

    def changed(value: Any) -> Any:
        if isinstance(value, str):
            return re.sub(old, new, value)
        if isinstance(value, list):
            return [changed(item) for item in value]
        return {name: changed(item) for name, item in value.items()} if isinstance(value, dict) else value

    def mutate(body: Body, _: dict[str, Body]) -> None:
        before = body["Properties"]["Data"]
        body["Properties"]["Data"] = changed(before)
        assert body["Properties"]["Data"] != before, old

    return mutate


def of_alarms(property_name: str, old: Any, new: Any) -> Mutation:
    """Give every alarm with the value ``old`` of a property another one."""

    def mutate(_: Body, resources: dict[str, Body]) -> None:
        found = [body["Properties"] for body in resources.values() if body["Type"] == ALARM[1]]
        changed = [properties for properties in found if properties.get(property_name) == old]
        assert changed
        for properties in changed:
            properties[property_name] = new

    return mutate


def variant(at: int, **changes: Any) -> Mutation:
    """Change a variant of the endpoint's configuration."""

    def mutate(body: Body, _: dict[str, Body]) -> None:
        body["Properties"]["ProductionVariants"][at].update(changes)

    return mutate


def each(kind: str, change: Mutation, *, where: str = "") -> Mutation:
    """Apply ``change`` to every resource of a type whose text mentions ``where``."""

    def mutate(_: Body, resources: dict[str, Body]) -> None:
        found = [body for body in resources.values() if body["Type"] == kind and where in str(body)]
        assert found
        for body in found:
            change(body, resources)

    return mutate


def without(kind: str, where: str) -> Mutation:
    """Drop the resources of a type whose text mentions ``where``."""

    def mutate(_: Body, resources: dict[str, Body]) -> None:
        found = [name for name, body in resources.items() if body["Type"] == kind and where in str(body)]
        assert found
        for name in found:
            del resources[name]

    return mutate


def without_alarms(word: str) -> Mutation:
    """Drop the alarms whose logical id begins with ``word``."""

    def mutate(_: Body, resources: dict[str, Body]) -> None:
        names = [n for n, body in resources.items() if body["Type"] == ALARM[1] and n.startswith(word)]
        assert names
        for name in names:
            del resources[name]

    return mutate


def lifecycle(prefix: str, *path: str, to: Any) -> Mutation:
    """Change the lifecycle rule of a prefix of the bucket that holds releases."""

    def mutate(_: Body, resources: dict[str, Body]) -> None:
        rows = _releases(resources)["Properties"]["LifecycleConfiguration"]["Rules"]
        (row,) = [row for row in rows if row.get("Prefix") == prefix]
        put(*path, to=to)({"Properties": row}, resources)

    return mutate
