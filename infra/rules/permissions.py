"""Roles and their policies. What they amount to together is proved in tests/infra/test_permissions.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from infra import names
from infra.rules.template import Resource, Template, at, listed, rule, text

POLICY = "AWS::IAM::ManagedPolicy"
INLINE = "AWS::IAM::Policy"
ROLE = "AWS::IAM::Role"
LONG_LIVED = ("AWS::IAM::User", "AWS::IAM::AccessKey", "AWS::IAM::Group")

EC2 = "ec2.amazonaws.com"
WITHOUT_RESOURCES = (
    "batch:DescribeJobs",
    "batch:TerminateJob",
    "ec2:CreateNetworkInterface",
    "ec2:CreateNetworkInterfacePermission",
    "ec2:DeleteNetworkInterface",
    "ec2:DeleteNetworkInterfacePermission",
    "ec2:DescribeDhcpOptions",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
    "ec2messages:AcknowledgeMessage",
    "ec2messages:DeleteMessage",
    "ec2messages:FailMessage",
    "ec2messages:GetEndpoint",
    "ec2messages:GetMessages",
    "ec2messages:SendReply",
    "ecr:GetAuthorizationToken",
    "ecs:DeregisterContainerInstance",
    "ecs:DiscoverPollEndpoint",
    "ecs:Poll",
    "ecs:RegisterContainerInstance",
    "ecs:StartTelemetrySession",
    "ecs:SubmitAttachmentStateChanges",
    "ecs:SubmitContainerStateChange",
    "ecs:SubmitTaskStateChange",
    "ecs:UpdateContainerInstancesState",
    "logs:CreateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:DescribeLogGroups",
    "logs:DescribeResourcePolicies",
    "logs:GetLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:UpdateLogDelivery",
    "ssm:UpdateInstanceInformation",
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
    "xray:GetSamplingRules",
    "xray:GetSamplingTargets",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
)
"""Actions that may be allowed on ``*``: they know no resources, or not before there are any (a network
interface of SageMaker's, a job that Step Functions ends, a cluster of Batch's). Source: Service
Authorization Reference."""
OF_A_TAGGED_GROUP = ("autoscaling:CompleteLifecycleAction", "autoscaling:SetInstanceHealth")
"""Actions on ``*`` whose statement must name the group by its tag: its ARN has a random part."""


@rule(
    "no-wildcard-actions",
    POLICY,
    INLINE,
    ROLE,
    what="A permission names its actions",
    why="a wildcard grows with every action that AWS adds",
    fix="write the actions out",
)
def no_wildcard_actions(resource: Resource, _: Template) -> bool:
    return all(
        "NotAction" not in statement and all("*" not in action for action in listed(statement["Action"]))
        for statement in _allowed(resource)
    )


@rule(
    "no-wildcard-resources",
    POLICY,
    INLINE,
    ROLE,
    what="A permission names its resources",
    why="* means every release, key and queue of the account",
    fix="write ARNs; only actions that know no resources may have *, only an object's key may end in /*, and "
    "the executions of a state machine in :*",
)
def no_wildcard_resources(resource: Resource, _: Template) -> bool:
    return all(
        "NotResource" not in statement
        and all(_is_narrow(text(place), statement) for place in listed(statement["Resource"]))
        for statement in _allowed(resource)
    )


@rule(
    "one-service-assumes",
    ROLE,
    what="A role is assumed by one service, on behalf of this account",
    why="a service that acts for anybody could be made to act for a stranger (the confused deputy)",
    fix="name one Service principal and require aws:SourceAccount (EC2 does not send it)",
)
def one_service_assumes(resource: Resource, _: Template) -> bool:
    return all(
        set(statement["Principal"]) == {"Service"}
        and isinstance(statement["Principal"]["Service"], str)
        and (
            statement["Principal"]["Service"] == EC2
            or bool(at(statement, "Condition", "StringEquals", "aws:SourceAccount"))
        )
        for statement in resource.at("AssumeRolePolicyDocument")["Statement"]
    )


@rule(
    "no-broad-policies",
    ROLE,
    what="A role has policies of this stack only",
    why="AWS's own are written for everybody and grow; SageMaker's full access reads every bucket",
    fix="write a policy of the stack's own",
)
def no_broad_policies(resource: Resource, template: Template) -> bool:
    own = {policy.id for policy in template.all(POLICY)}
    return all(at(arn, "Ref") in own for arn in listed(resource.at("ManagedPolicyArns")))


@rule(
    "no-standing-credentials",
    *LONG_LIVED,
    what="Nobody has credentials that do not expire",
    why="they are copied, committed and found",
    fix="use a role",
)
def no_standing_credentials(_resource: Resource, _: Template) -> bool:
    return False


def _allowed(resource: Resource) -> Iterator[dict[str, Any]]:
    """Statements that allow something; of a role those of its inline policies."""
    documents = [resource.at("PolicyDocument")] if resource.type != ROLE else []
    documents += [at(row, "PolicyDocument") for row in listed(resource.at("Policies"))]
    for document in documents:
        yield from (row for row in listed(document["Statement"]) if row["Effect"] == "Allow")


def _is_narrow(place: str, statement: dict[str, Any]) -> bool:
    """No wildcard, one after keys' prefix or a state machine's name, or an action that knows no resources."""
    if place == "*":
        known = WITHOUT_RESOURCES + (OF_A_TAGGED_GROUP if _names_group(statement) else ())
        return all(action in known for action in listed(statement["Action"]))
    head, star, tail = place.partition("*")
    if not star:
        return True
    prefix = head.partition(":s3:::")[2].partition("/")[2]
    executions = head.partition(":execution:")[2]
    return not tail and (prefix.endswith("/") or (len(executions) > 1 and executions.endswith(":")))


def _names_group(statement: dict[str, Any]) -> bool:
    """Whether it holds for the one group with a fleet's tag."""
    wanted = at(statement, "Condition", "StringEquals", f"aws:ResourceTag/{names.FLEET_TAG}")
    return isinstance(wanted, str) and wanted != "" and "*" not in wanted
