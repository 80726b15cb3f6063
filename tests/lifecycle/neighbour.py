"""A stack of somebody else in the same account, which nothing of ours may touch."""

from __future__ import annotations

import json
from typing import Any

from local_aws.launcher import LocalAws

NAME = "neighbour"
_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}
TEMPLATE: dict[str, Any] = {
    "Resources": {
        "Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "neighbours-bucket"}},
        "Role": {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": _TRUST}},
        "Vpc": {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.20.0.0/16"}},
        "Logs": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "/traceship/neighbour/x"}},
        "Topic": {"Type": "AWS::SNS::Topic", "Properties": {}},
    }
}


def settle(aws: LocalAws) -> None:
    """Create the stack."""
    cloudformation = aws.client("cloudformation")
    body = json.dumps(TEMPLATE)
    cloudformation.create_stack(StackName=NAME, TemplateBody=body, Capabilities=["CAPABILITY_IAM"])
    cloudformation.get_waiter("stack_create_complete").wait(
        StackName=NAME, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
