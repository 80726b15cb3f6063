"""Each added or extended type: created, changed in place or replaced, removed, and seen by its own API."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ClientError

from local_aws.launcher import LocalAws
from tests.local_aws.stacks import TRUST, VPC, Json, Stack, attribute, new_stack, ref


@pytest.fixture
def stack(aws: LocalAws) -> Stack:
    return new_stack(aws)


def bucket(name: str, **properties: object) -> Json:
    return {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": name, **properties}}


def lifecycle(days: int) -> Json:
    rule = {
        "Id": "old",
        "Status": "Enabled",
        "Prefix": "logs/",
        "ExpirationInDays": days,
        "NoncurrentVersionExpiration": {"NoncurrentDays": 30},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
    }
    return {"Rules": [rule]}


def test_bucket_properties_reach_the_bucket(aws: LocalAws, stack: Stack) -> None:
    """Lifecycle, encryption, ownership and tags are what S3 itself returns; removed ones go."""
    s3, name = aws.client("s3"), f"{stack.name}-bucket"
    kms = [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}, "BucketKeyEnabled": True}]
    full = bucket(
        name,
        LifecycleConfiguration=lifecycle(10),
        BucketEncryption={"ServerSideEncryptionConfiguration": kms},
        OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
        Tags=[{"Key": "team", "Value": "search"}],
    )

    assert stack.deploy({"Bucket": full}) == "CREATE_COMPLETE"

    rule = s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"][0]
    assert rule["Filter"] == {"Prefix": "logs/"}
    assert rule["Expiration"] == {"Days": 10}
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    encryption = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert encryption["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms"}
    assert encryption["BucketKeyEnabled"] is True
    ownership = s3.get_bucket_ownership_controls(Bucket=name)["OwnershipControls"]["Rules"]
    assert ownership == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert {"Key": "team", "Value": "search"} in s3.get_bucket_tagging(Bucket=name)["TagSet"]

    assert stack.deploy({"Bucket": bucket(name, LifecycleConfiguration=lifecycle(20))}) == "UPDATE_COMPLETE"

    assert s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"][0]["Expiration"] == {"Days": 20}
    default = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert default["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"

    assert stack.deploy({"Bucket": bucket(name)}) == "UPDATE_COMPLETE"

    with pytest.raises(ClientError, match="NoSuchLifecycleConfiguration"):
        s3.get_bucket_lifecycle_configuration(Bucket=name)


def test_lifecycle_of_several_terms_is_kept(aws: LocalAws, stack: Stack) -> None:
    """A prefix and a tag together, and a transition, survive the translation."""
    rule = {
        "Status": "Enabled",
        "Prefix": "a/",
        "TagFilters": [{"Key": "k", "Value": "v"}],
        "Transitions": [{"TransitionInDays": 40, "StorageClass": "GLACIER"}],
    }

    stack.deploy({"Bucket": bucket(f"{stack.name}-b", LifecycleConfiguration={"Rules": [rule]})})

    found = aws.client("s3").get_bucket_lifecycle_configuration(Bucket=f"{stack.name}-b")["Rules"][0]
    assert found["Filter"]["And"]["Prefix"] == "a/"
    assert found["Filter"]["And"]["Tags"] == [{"Key": "k", "Value": "v"}]
    assert found["Transitions"] == [{"Days": 40, "StorageClass": "GLACIER"}]


def test_access_logging_of_a_bucket(aws: LocalAws, stack: Stack) -> None:
    """The target bucket and prefix are described, and gone after an update without them."""
    name = f"{stack.name}-b"
    logs = bucket(f"{stack.name}-logs")
    logging = {"DestinationBucketName": ref("Logs"), "LogFilePrefix": "b/"}
    stack.deploy({"Logs": logs, "Bucket": bucket(name, LoggingConfiguration=logging)})

    enabled = aws.client("s3").get_bucket_logging(Bucket=name)["LoggingEnabled"]

    assert enabled == {"TargetBucket": f"{stack.name}-logs", "TargetPrefix": "b/"}
    stack.deploy({"Logs": logs, "Bucket": bucket(name)})
    assert "LoggingEnabled" not in aws.client("s3").get_bucket_logging(Bucket=name)


def test_a_refused_property_fails_the_bucket_and_leaves_none(aws: LocalAws, stack: Stack) -> None:
    """S3's own refusal reaches the stack event, and the half-made bucket is gone."""
    wrong = {"Rules": [{"Status": "Enabled", "ExpirationInDays": 0}]}

    status = stack.deploy({"Bucket": bucket(f"{stack.name}-b", LifecycleConfiguration=wrong)})

    assert status == "ROLLBACK_COMPLETE"
    assert "positive integer" in stack.failure()
    with pytest.raises(ClientError, match="404"):
        aws.client("s3").head_bucket(Bucket=f"{stack.name}-b")


def test_a_bucket_with_content_is_not_deleted(aws: LocalAws, stack: Stack) -> None:
    """As on AWS the deletion fails and the object is still there; empty, it works."""
    s3, name = aws.client("s3"), f"{stack.name}-b"
    stack.deploy({"Bucket": bucket(name)})
    s3.put_object(Bucket=name, Key="k", Body=b"data")

    assert stack.delete() == "DELETE_FAILED"

    assert s3.get_object(Bucket=name, Key="k")["Body"].read() == b"data"
    s3.delete_object(Bucket=name, Key="k")
    assert stack.delete() == "DELETE_COMPLETE"


def test_kms_writes_need_no_key_id(aws: LocalAws, stack: Stack) -> None:
    """S3 falls back to the account's own key; the CDK CLI publishes its templates that way."""
    stack.deploy({"Bucket": bucket(f"{stack.name}-b")})

    answer = aws.client("s3").put_object(
        Bucket=f"{stack.name}-b", Key="k", Body=b"x", ServerSideEncryption="aws:kms"
    )

    assert answer["SSEKMSKeyId"].endswith("alias/aws/s3")


def group(**properties: object) -> Json:
    return {
        "Type": "AWS::EC2::SecurityGroup",
        "Properties": {"GroupDescription": "test", "VpcId": ref("Vpc"), **properties},
    }


def rule(direction: str, group_id: str, peer: str, port: int) -> Json:
    side = "Source" if direction == "Ingress" else "Destination"
    return {
        "Type": f"AWS::EC2::SecurityGroup{direction}",
        "Properties": {
            "GroupId": attribute(group_id, "GroupId"),
            f"{side}SecurityGroupId": attribute(peer, "GroupId"),
            "IpProtocol": "tcp",
            "FromPort": port,
            "ToPort": port,
            "Description": "requests",
        },
    }


@pytest.mark.parametrize(
    ("direction", "permissions"), [("Ingress", "IpPermissions"), ("Egress", "IpPermissionsEgress")]
)
def test_security_group_rules(aws: LocalAws, stack: Stack, direction: str, permissions: str) -> None:
    """A rule between two groups appears on its group, moves with its port, and goes with its resource."""
    ec2 = aws.client("ec2")
    groups = {"Vpc": VPC, "Server": group(), "Client": group(GroupDescription="other")}

    def ports() -> list[int]:
        answer = ec2.describe_security_groups(GroupIds=[stack.physical_id("Server")])["SecurityGroups"][0]
        return [p["FromPort"] for p in answer[permissions] if p["UserIdGroupPairs"]]

    stack.deploy({**groups, "Rule": rule(direction, "Server", "Client", 80)})
    assert ports() == [80]
    first = stack.physical_id("Rule")

    assert stack.deploy({**groups, "Rule": rule(direction, "Server", "Client", 443)}) == "UPDATE_COMPLETE"
    assert ports() == [443]
    assert stack.physical_id("Rule") != first

    stack.deploy(groups)
    assert ports() == []
    assert stack.delete() == "DELETE_COMPLETE"


def test_a_rule_for_a_group_that_does_not_exist_fails(stack: Stack) -> None:
    """EC2 refuses it, so the stack rolls back."""
    lost = rule("Ingress", "Server", "Server", 80)
    lost["Properties"]["SourceSecurityGroupId"] = "sg-00000000000000000"

    status = stack.deploy({"Vpc": VPC, "Server": group(), "Rule": lost})

    assert status == "ROLLBACK_COMPLETE"
    assert "sg-00000000000000000" in stack.failure()


def test_flow_log(aws: LocalAws, stack: Stack) -> None:
    """Every property is described; a change replaces the flow log; deletion removes it."""
    ec2 = aws.client("ec2")
    role = {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": TRUST}}

    def flow_log(traffic: str) -> Json:
        properties = {
            "ResourceId": ref("Vpc"),
            "ResourceType": "VPC",
            "TrafficType": traffic,
            "LogGroupName": "/flow",
            "DeliverLogsPermissionArn": attribute("Role", "Arn"),
            "MaxAggregationInterval": 60,
            "Tags": [{"Key": "a", "Value": "b"}],
        }
        return {"Vpc": VPC, "Role": role, "Flow": {"Type": "AWS::EC2::FlowLog", "Properties": properties}}

    def described() -> list[Json]:
        filters = [{"Name": "resource-id", "Values": [stack.physical_id("Vpc")]}]
        found: list[Json] = ec2.describe_flow_logs(Filters=filters)["FlowLogs"]
        return found

    stack.deploy(flow_log("ALL"))
    found = described()[0]
    assert (found["TrafficType"], found["LogGroupName"], found["MaxAggregationInterval"]) == (
        "ALL",
        "/flow",
        60,
    )
    assert found["DeliverLogsPermissionArn"].endswith(stack.physical_id("Role"))
    assert {"Key": "a", "Value": "b"} in found["Tags"]

    stack.deploy(flow_log("REJECT"))
    assert [f["TrafficType"] for f in described()] == ["REJECT"]

    stack.deploy({"Vpc": VPC, "Role": role})
    assert described() == []


def test_cidr_block_of_a_vpc(stack: Stack) -> None:
    """VPC.CidrBlock resolves, as on AWS."""
    stack.deploy({"Vpc": VPC}, {"Cidr": {"Value": attribute("Vpc", "CidrBlock")}})

    assert stack.outputs() == {"Cidr": "10.0.0.0/16"}


def test_interface_endpoints_show_groups_and_dns(aws: LocalAws, stack: Stack) -> None:
    """DescribeVpcEndpoints returns what the template asked for."""
    properties = {
        "VpcId": ref("Vpc"),
        "ServiceName": "com.amazonaws.us-east-1.kms",
        "VpcEndpointType": "Interface",
        "PrivateDnsEnabled": True,
        "SecurityGroupIds": [attribute("Door", "GroupId")],
    }
    endpoint = {"Type": "AWS::EC2::VPCEndpoint", "Properties": properties}
    stack.deploy({"Vpc": VPC, "Door": group(), "Kms": endpoint})

    answer = aws.client("ec2").describe_vpc_endpoints(VpcEndpointIds=[stack.physical_id("Kms")])

    found = answer["VpcEndpoints"][0]
    assert [g["GroupId"] for g in found["Groups"]] == [stack.physical_id("Door")]
    assert found["PrivateDnsEnabled"] is True


def test_alarms_on_metric_math(aws: LocalAws, stack: Stack) -> None:
    """The queries are described, an update changes them, and the state can be set."""
    cloudwatch = aws.client("cloudwatch")

    def alarm(expression: str) -> Json:
        stat = {"Metric": {"Namespace": "N", "MetricName": "M"}, "Period": 60, "Stat": "Sum"}
        properties = {
            "ComparisonOperator": "GreaterThanThreshold",
            "EvaluationPeriods": 2,
            "Threshold": 1,
            "Metrics": [
                {"Id": "e", "Expression": expression, "ReturnData": True},
                {"Id": "m", "MetricStat": stat, "ReturnData": False},
            ],
        }
        return {"Alarm": {"Type": "AWS::CloudWatch::Alarm", "Properties": properties}}

    def described() -> Json:
        name = stack.physical_id("Alarm")
        found: Json = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]
        return found

    assert stack.deploy(alarm("m * 2")) == "CREATE_COMPLETE"
    assert described()["Metrics"][0]["Expression"] == "m * 2"
    assert described().get("MetricName") is None

    assert stack.deploy(alarm("m * 3")) == "UPDATE_COMPLETE"
    assert described()["Metrics"][0]["Expression"] == "m * 3"
    assert described()["Metrics"][1]["MetricStat"]["Period"] == 60

    cloudwatch.set_alarm_state(AlarmName=stack.physical_id("Alarm"), StateValue="ALARM", StateReason="test")
    assert described()["StateValue"] == "ALARM"
    name = stack.physical_id("Alarm")
    assert stack.delete() == "DELETE_COMPLETE"
    assert cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"] == []


def test_encryption_of_a_topic(aws: LocalAws, stack: Stack) -> None:
    """The topic's key is described, and gone after an update without it."""
    sns = aws.client("sns")
    stack.deploy({"Topic": {"Type": "AWS::SNS::Topic", "Properties": {"KmsMasterKeyId": "alias/x"}}})
    topic = stack.physical_id("Topic")
    assert sns.get_topic_attributes(TopicArn=topic)["Attributes"]["KmsMasterKeyId"] == "alias/x"

    stack.deploy({"Topic": {"Type": "AWS::SNS::Topic", "Properties": {}}})

    assert "KmsMasterKeyId" not in sns.get_topic_attributes(TopicArn=topic)["Attributes"]


def test_logging_and_tracing_of_a_state_machine(aws: LocalAws, stack: Stack) -> None:
    """DescribeStateMachine returns both, after a creation and after an update."""

    def machine(level: str, tracing: bool) -> Json:
        log = {
            "CloudWatchLogsLogGroup": {"LogGroupArn": "arn:aws:logs:us-east-1:000000000000:log-group:/x:*"}
        }
        properties = {
            "RoleArn": attribute("Role", "Arn"),
            "DefinitionString": '{"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}}',
            "LoggingConfiguration": {"Level": level, "IncludeExecutionData": True, "Destinations": [log]},
            "TracingConfiguration": {"Enabled": tracing},
        }
        role = {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": TRUST}}
        return {
            "Role": role,
            "Machine": {"Type": "AWS::StepFunctions::StateMachine", "Properties": properties},
        }

    def described() -> tuple[str, bool]:
        arn = stack.physical_id("Machine")
        found = aws.client("stepfunctions").describe_state_machine(stateMachineArn=arn)
        return found["loggingConfiguration"]["level"], found["tracingConfiguration"]["enabled"]

    stack.deploy(machine("ALL", True))
    assert described() == ("ALL", True)

    assert stack.deploy(machine("ERROR", False)) == "UPDATE_COMPLETE"
    assert described() == ("ERROR", False)


def test_a_change_set_of_outputs_only_is_executed(aws: LocalAws, stack: Stack) -> None:
    """An added export is a change: the next stack imports it. An unchanged template is none."""
    resources = {"Bucket": bucket(f"{stack.name}-b")}
    export = {"Name": {"Value": ref("Bucket"), "Export": {"Name": stack.name}}}
    stack.deploy(resources)
    cloudformation = aws.client("cloudformation")

    def change_set(name: str) -> Json:
        body = json.dumps({"Resources": resources, "Outputs": export})
        cloudformation.create_change_set(StackName=stack.name, ChangeSetName=name, TemplateBody=body)
        described: Json = cloudformation.describe_change_set(StackName=stack.name, ChangeSetName=name)
        return described

    first = change_set("add-output")
    assert (first["Status"], first["ExecutionStatus"]) == ("CREATE_COMPLETE", "AVAILABLE")
    cloudformation.execute_change_set(StackName=stack.name, ChangeSetName="add-output")
    assert stack.settled() == "UPDATE_COMPLETE"
    assert stack.outputs() == {"Name": f"{stack.name}-b"}

    second = change_set("nothing")
    assert second["Status"] == "FAILED"
    assert "didn't contain changes" in second["StatusReason"]


TAKEN: dict[str, Json] = {
    "AWS::IAM::Role": {"RoleName": "NAME", "AssumeRolePolicyDocument": TRUST},
    "AWS::Logs::LogGroup": {"LogGroupName": "NAME"},
    "AWS::ECR::Repository": {"RepositoryName": "NAME"},
    "AWS::SNS::Topic": {"TopicName": "NAME"},
    "AWS::EC2::LaunchTemplate": {
        "LaunchTemplateName": "NAME",
        "LaunchTemplateData": {"InstanceType": "c5.large"},
    },
    "AWS::CloudWatch::Dashboard": {"DashboardName": "NAME", "DashboardBody": '{"widgets":[]}'},
}


@pytest.mark.parametrize("type_name", TAKEN)
def test_a_taken_name_is_not_adopted(aws: LocalAws, type_name: str) -> None:
    """A second stack with the same name fails and the first one keeps its resource."""
    first, second = new_stack(aws), new_stack(aws)
    properties = {key: first.name if value == "NAME" else value for key, value in TAKEN[type_name].items()}
    assert first.deploy({"X": {"Type": type_name, "Properties": properties}}) == "CREATE_COMPLETE"

    status = second.deploy({"X": {"Type": type_name, "Properties": properties}})

    assert status == "ROLLBACK_COMPLETE"
    assert "already exists" in second.failure()
    assert first.delete() == "DELETE_COMPLETE"


DANGLING: dict[str, Json] = {
    "AWS::EC2::Subnet": {"VpcId": "vpc-missing", "CidrBlock": "10.0.0.0/24"},
    "AWS::EC2::SecurityGroup": {"VpcId": "vpc-missing", "GroupDescription": "x"},
    "AWS::EC2::SubnetRouteTableAssociation": {"SubnetId": "subnet-missing", "RouteTableId": "rtb-missing"},
    "AWS::S3::BucketPolicy": {"Bucket": "missing", "PolicyDocument": {}},
    "AWS::ElasticLoadBalancingV2::LoadBalancer": {"Subnets": ["subnet-missing"]},
}


@pytest.mark.parametrize("type_name", DANGLING)
def test_a_reference_to_nothing_fails(stack: Stack, type_name: str) -> None:
    """So that an update that must fail in a test does fail."""
    status = stack.deploy({"X": {"Type": type_name, "Properties": DANGLING[type_name]}})

    assert status == "ROLLBACK_COMPLETE"
    assert "missing" in stack.failure()


def test_an_unknown_type_is_refused_before_anything_is_made(stack: Stack) -> None:
    """No type is skipped silently."""
    with pytest.raises(ClientError, match="AWS::Nothing::Here"):
        stack.deploy({"Bucket": bucket(f"{stack.name}-b"), "X": {"Type": "AWS::Nothing::Here"}})

    assert not stack.exists()
