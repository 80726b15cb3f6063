"""Deploys small templates through the CloudFormation API, as the CDK CLI does underneath."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from botocore.exceptions import ClientError

from local_aws.launcher import LocalAws

Json = dict[str, Any]
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}
VPC = {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.0.0.0/16"}}


@dataclass
class Stack:
    """A stack of the test, by name. ``deploy`` creates it or updates it."""

    aws: LocalAws
    name: str

    def deploy(self, resources: Json, outputs: Json | None = None) -> str:
        """Final status of the stack."""
        cloudformation = self.aws.client("cloudformation")
        body = json.dumps(template(resources, outputs))
        arguments = {"StackName": self.name, "TemplateBody": body, "Capabilities": ["CAPABILITY_NAMED_IAM"]}
        if self.exists():
            cloudformation.update_stack(**arguments)
        else:
            cloudformation.create_stack(**arguments)
        return self.settled()

    def delete(self) -> str:
        """Final status of the stack's deletion."""
        stack_id = self._describe()["StackId"]
        self.aws.client("cloudformation").delete_stack(StackName=self.name)
        return self.settled(stack_id)

    def settled(self, name: str | None = None) -> str:
        """Status once no operation is under way."""
        deadline = time.monotonic() + 60
        while (status := self._describe(name)["StackStatus"]).endswith("_IN_PROGRESS"):
            assert time.monotonic() < deadline, status
            time.sleep(0.02)  # the API has no event to wait for
        return str(status)

    def exists(self) -> bool:
        try:
            self._describe()
        except ClientError:
            return False
        return True

    def outputs(self) -> dict[str, str]:
        return {o["OutputKey"]: o["OutputValue"] for o in self._describe().get("Outputs", [])}

    def physical_id(self, logical_id: str) -> str:
        cloudformation = self.aws.client("cloudformation")
        answer = cloudformation.describe_stack_resource(StackName=self.name, LogicalResourceId=logical_id)
        return str(answer["StackResourceDetail"]["PhysicalResourceId"])

    def failure(self) -> str:
        """Why the last resource failed."""
        events = self.aws.client("cloudformation").describe_stack_events(StackName=self.name)["StackEvents"]
        failed = (e for e in events if e["ResourceStatus"].endswith("_FAILED"))
        return str(next(failed)["ResourceStatusReason"])

    def _describe(self, name: str | None = None) -> Json:
        answer = self.aws.client("cloudformation").describe_stacks(StackName=name or self.name)
        described: Json = answer["Stacks"][0]
        return described


def new_stack(aws: LocalAws) -> Stack:
    """A stack with a name nobody has."""
    return Stack(aws=aws, name=f"test-{uuid4().hex[:8]}")


def template(resources: Json, outputs: Json | None = None) -> Json:
    """A template with the resources and outputs."""
    return {"Resources": resources, **({"Outputs": outputs} if outputs else {})}


def ref(logical_id: str) -> Json:
    return {"Ref": logical_id}


def attribute(logical_id: str, name: str) -> Json:
    return {"Fn::GetAtt": [logical_id, name]}
