"""IAM, Batch, Step Functions, EventBridge, CloudWatch, SNS, SQS and Lambda."""

from __future__ import annotations

from local_aws.conformance.census.model import Described, Lister, answered, keyed, pages, steady
from local_aws.conformance.selfcheck import Clients


def _roles(clients: Clients) -> dict[str, Described]:
    iam, found = clients.client("iam"), {}
    for role in pages(clients, "iam", "list_roles", "Roles"):
        name = role["RoleName"]
        inline = iam.list_role_policies(RoleName=name)["PolicyNames"]
        found[name] = {
            **steady(iam.get_role(RoleName=name)["Role"]),
            "attached": steady(iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]),
            "inline": {
                policy: iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
                for policy in inline
            },
        }
    return found


def _policies(clients: Clients) -> dict[str, Described]:
    iam, found = clients.client("iam"), {}
    for policy in pages(clients, "iam", "list_policies", "Policies", Scope="Local"):
        arn, version = policy["Arn"], policy["DefaultVersionId"]
        document = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
        described = {key: value for key, value in policy.items() if key != "DefaultVersionId"}
        found[arn] = {**steady(described), "document": document}
    return found


def _profiles(clients: Clients) -> dict[str, Described]:
    profiles = pages(clients, "iam", "list_instance_profiles", "InstanceProfiles")
    named = {p["Arn"]: {**p, "Roles": [role["RoleName"] for role in p["Roles"]]} for p in profiles}
    return {arn: steady(profile) for arn, profile in named.items()}


def _environments(clients: Clients) -> dict[str, Described]:
    answer = clients.client("batch").describe_compute_environments()
    return keyed(answer["computeEnvironments"], "computeEnvironmentArn")


def _queues(clients: Clients) -> dict[str, Described]:
    return keyed(clients.client("batch").describe_job_queues()["jobQueues"], "jobQueueArn")


def _definitions(clients: Clients) -> dict[str, Described]:
    answer = clients.client("batch").describe_job_definitions(status="ACTIVE")
    return keyed(answer["jobDefinitions"], "jobDefinitionArn")


def _state_machines(clients: Clients) -> dict[str, Described]:
    states = clients.client("stepfunctions")
    return {
        machine["stateMachineArn"]: {
            **steady(states.describe_state_machine(stateMachineArn=machine["stateMachineArn"])),
            "tags": steady(states.list_tags_for_resource(resourceArn=machine["stateMachineArn"])["tags"]),
        }
        for machine in pages(clients, "stepfunctions", "list_state_machines", "stateMachines")
    }


def _alarms(clients: Clients) -> dict[str, Described]:
    cloudwatch = clients.client("cloudwatch")
    return {
        alarm["AlarmName"]: {
            **steady(alarm),
            "tags": steady(cloudwatch.list_tags_for_resource(ResourceARN=alarm["AlarmArn"])["Tags"]),
        }
        for alarm in pages(clients, "cloudwatch", "describe_alarms", "MetricAlarms")
    }


def _dashboards(clients: Clients) -> dict[str, Described]:
    cloudwatch = clients.client("cloudwatch")
    return {
        entry["DashboardName"]: {
            "body": cloudwatch.get_dashboard(DashboardName=entry["DashboardName"])["DashboardBody"]
        }
        for entry in cloudwatch.list_dashboards()["DashboardEntries"]
    }


def _topics(clients: Clients) -> dict[str, Described]:
    sns = clients.client("sns")
    return {
        topic["TopicArn"]: {
            **steady(sns.get_topic_attributes(TopicArn=topic["TopicArn"])["Attributes"]),
            "tags": steady(sns.list_tags_for_resource(ResourceArn=topic["TopicArn"])["Tags"]),
        }
        for topic in pages(clients, "sns", "list_topics", "Topics")
    }


def _subscriptions(clients: Clients) -> dict[str, Described]:
    return keyed(pages(clients, "sns", "list_subscriptions", "Subscriptions"), "SubscriptionArn")


def _rules(clients: Clients) -> dict[str, Described]:
    """Rules of the default bus, with their targets. Ref gives the name."""
    events = clients.client("events")
    return {
        rule["Name"]: {
            **steady(rule),
            "targets": steady(events.list_targets_by_rule(Rule=rule["Name"])["Targets"]),
        }
        for rule in events.list_rules()["Rules"]
    }


def _schedules(clients: Clients) -> dict[str, Described]:
    return keyed(pages(clients, "scheduler", "list_schedules", "Schedules"), "Name")


def _functions(clients: Clients) -> dict[str, Described]:
    return keyed(pages(clients, "lambda", "list_functions", "Functions"), "FunctionName")


def _message_queues(clients: Clients) -> dict[str, Described]:
    sqs = clients.client("sqs")
    urls = sqs.list_queues().get("QueueUrls", [])
    return {
        url: answered(sqs.get_queue_attributes, "Attributes", QueueUrl=url, AttributeNames=["All"])
        for url in urls
    }


def _parameters(clients: Clients) -> dict[str, Described]:
    return keyed(pages(clients, "ssm", "describe_parameters", "Parameters"), "Name")


LISTERS: dict[str, Lister] = {
    "AWS::IAM::Role": _roles,
    "AWS::IAM::ManagedPolicy": _policies,
    "AWS::IAM::InstanceProfile": _profiles,
    "AWS::Batch::ComputeEnvironment": _environments,
    "AWS::Batch::JobQueue": _queues,
    "AWS::Batch::JobDefinition": _definitions,
    "AWS::StepFunctions::StateMachine": _state_machines,
    "AWS::CloudWatch::Alarm": _alarms,
    "AWS::CloudWatch::Dashboard": _dashboards,
    "AWS::SNS::Topic": _topics,
    "AWS::SNS::Subscription": _subscriptions,
    "AWS::Events::Rule": _rules,
    "AWS::Scheduler::Schedule": _schedules,
    "AWS::Lambda::Function": _functions,
    "AWS::SQS::Queue": _message_queues,
    "AWS::SSM::Parameter": _parameters,
}
