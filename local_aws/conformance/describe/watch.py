"""Alarms, dashboards and topics."""

from __future__ import annotations

from local_aws.conformance.describe.model import Describer, Found, Resource, only
from local_aws.conformance.selfcheck import Clients


def _alarm(clients: Clients, resource: Resource) -> Found:
    answer = clients.client("cloudwatch").describe_alarms(AlarmNames=[resource.physical_id])
    alarm = only(answer["MetricAlarms"], "alarm")
    tags = clients.client("cloudwatch").list_tags_for_resource(ResourceARN=alarm["AlarmArn"])["Tags"]
    return {**alarm, "Tags": tags}


def _dashboard(clients: Clients, resource: Resource) -> Found:
    return dict(clients.client("cloudwatch").get_dashboard(DashboardName=resource.physical_id))


def _topic(clients: Clients, resource: Resource) -> Found:
    sns, arn = clients.client("sns"), resource.physical_id
    tags = sns.list_tags_for_resource(ResourceArn=arn)["Tags"]
    return {**sns.get_topic_attributes(TopicArn=arn)["Attributes"], "Tags": tags}


def _topic_policy(clients: Clients, resource: Resource) -> Found:
    """The policy is there iff every topic that it names has it."""
    sns, topics = clients.client("sns"), resource.properties["Topics"]
    policies = [sns.get_topic_attributes(TopicArn=topic)["Attributes"].get("Policy") for topic in topics]
    same = all(policy == policies[0] for policy in policies)
    return {"Topics": topics, "PolicyDocument": policies[0] if same else policies}


DESCRIBERS: dict[str, Describer] = {
    "AWS::CloudWatch::Alarm": _alarm,
    "AWS::CloudWatch::Dashboard": _dashboard,
    "AWS::SNS::Topic": _topic,
    "AWS::SNS::TopicPolicy": _topic_policy,
}
