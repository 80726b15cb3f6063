"""A world as if it were deployed: names and ARNs in place of references, policies where they are attached."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tests.iam.documents import Policy
from tests.iam.evaluate import Identity, Target
from tests.infra.worlds import PSEUDO, World, substituted

ACCOUNT, REGION = PSEUDO["AWS::AccountId"], PSEUDO["AWS::Region"]
ARNS = {
    "AWS::ImageBuilder::Component": "imagebuilder:{region}:{account}:component/{name}/1.0.0/1",
    "AWS::KMS::Key": "kms:{region}:{account}:key/{name}",
    "AWS::S3::Bucket": "s3:::{name}",
    "AWS::Logs::LogGroup": "logs:{region}:{account}:log-group:{name}:*",
    "AWS::IAM::Role": "iam::{account}:role/{name}",
    "AWS::Batch::JobQueue": "batch:{region}:{account}:job-queue/{name}",
    "AWS::Batch::JobDefinition": "batch:{region}:{account}:job-definition/{name}:1",
    "AWS::SNS::Topic": "sns:{region}:{account}:{name}",
    "AWS::CloudWatch::Alarm": "cloudwatch:{region}:{account}:alarm:{name}",
    "AWS::EC2::LaunchTemplate": "ec2:{region}:{account}:launch-template/{name}",
    "AWS::ECR::Repository": "ecr:{region}:{account}:repository/{name}",
    "AWS::AutoScaling::AutoScalingGroup": "autoscaling:{region}:{account}:autoScalingGroup:1:{name}",
    "AWS::SageMaker::Endpoint": "sagemaker:{region}:{account}:endpoint/{name}",
    "AWS::Events::Rule": "events:{region}:{account}:rule/{name}",
    "AWS::Scheduler::Schedule": "scheduler:{region}:{account}:schedule/default/{name}",
    "AWS::StepFunctions::StateMachine": "states:{region}:{account}:stateMachine:{name}",
}
NAMES = ("BucketName", "LogGroupName", "RepositoryName", "EndpointName", "StateMachineName")
REF_IS_ARN = (
    "AWS::SNS::Topic",
    "AWS::Batch::JobDefinition",
    "AWS::Batch::JobQueue",
    "AWS::StepFunctions::StateMachine",
)


@dataclass(frozen=True)
class Deployed:
    """Every stack of ``world`` in one account and region."""

    world: World

    def identity(self, stack: str, construct: str) -> Identity:
        """The role whose logical id begins with ``construct``, with the policies that it names."""
        ((name, role),) = [
            (name, body)
            for name, body in self.world.all(stack, "AWS::IAM::Role").items()
            if name[:-8] == construct
            or (construct not in self._short_names(stack) and name.startswith(construct))
        ]
        assert "Policies" not in role["Properties"]
        attached = [arn["Ref"] for arn in role["Properties"]["ManagedPolicyArns"]]
        resources = self.world.templates[stack]["Resources"]
        documents = [resources[ref]["Properties"]["PolicyDocument"] for ref in attached]
        return Identity(self.arn(stack, name), tuple(self._policy(stack, found) for found in documents))

    def policy_of(self, stack: str, document: Any) -> Policy:
        """A policy document of a stack, its references replaced."""
        return self._policy(stack, document)

    def identities(self) -> Iterator[Identity]:
        """Every role of every stack."""
        for stack in self.world.templates:
            for name in self.world.all(stack, "AWS::IAM::Role"):
                yield self.identity(stack, name)

    def in_bucket(self, construct: str, key: str = "") -> Target:
        """An object of the bucket ``construct``, or the bucket, with the bucket's policy."""
        ((name, _),) = self._of("AWS::S3::Bucket", construct)
        ((_, body),) = self._of("AWS::S3::BucketPolicy", f"{construct}Policy")
        arn = self.arn("artifacts", name) + (f"/{key}" if key else "")
        return Target(arn, ACCOUNT, self._policy("artifacts", body["Properties"]["PolicyDocument"]))

    def key(self, construct: str) -> Target:
        """A KMS key with its policy."""
        ((name, body),) = self._of("AWS::KMS::Key", construct)
        policy = self._policy("artifacts", body["Properties"]["KeyPolicy"])
        return Target(self.arn("artifacts", name), ACCOUNT, policy, is_key=True)

    def everything(self) -> Iterator[Target]:
        """Every resource that has an ARN here; keys with their policies, buckets with theirs."""
        for stack, template in self.world.templates.items():
            for name, body in template["Resources"].items():
                if body["Type"] == "AWS::KMS::Key":
                    yield self.key(name)
                elif body["Type"] == "AWS::S3::Bucket":
                    yield self.in_bucket("Artifacts" if name.startswith("Artifacts") else "AccessLogs")
                elif body["Type"] in ARNS:
                    yield Target(self.arn(stack, name), ACCOUNT)

    def arn(self, stack: str, name: str) -> str:
        kind = self.world.templates[stack]["Resources"][name]["Type"]
        text = ARNS[kind].format(region=REGION, account=ACCOUNT, name=self._name(stack, name))
        return f"arn:aws:{text}"

    def _short_names(self, stack: str) -> set[str]:
        """Logical ids of roles without the CDK's eight digits."""
        return {name[:-8] for name in self.world.all(stack, "AWS::IAM::Role")}

    def _of(self, kind: str, construct: str) -> list[tuple[str, dict[str, Any]]]:
        found = self.world.all("artifacts", kind).items()
        return [(name, body) for name, body in found if name.startswith(construct)]

    def _name(self, stack: str, name: str) -> str:
        properties = self.world.templates[stack]["Resources"][name].get("Properties", {})
        given = [properties[key] for key in NAMES if key in properties]
        return str(self._text(stack, given[0])) if given else name

    def _policy(self, stack: str, document: Any) -> Policy:
        return Policy.of(self._text(stack, document))

    def _text(self, stack: str, value: Any) -> Any:
        """``value`` with every reference replaced by what it will be."""
        if isinstance(value, list):
            return [self._text(stack, item) for item in value]
        if not isinstance(value, dict):
            return value
        if len(value) != 1 or not (key := next(iter(value))).startswith(("Fn::", "Ref")):
            return {name: self._text(stack, item) for name, item in value.items()}
        inner = value[key]
        if key == "Fn::Join":
            return str(inner[0]).join(self._text(stack, part) for part in inner[1])
        if key == "Fn::ImportValue":
            return self._exports[inner]
        if key == "Fn::GetAtt":
            assert inner[1].endswith("Arn"), inner
            return self.arn(stack, inner[0])
        if key == "Fn::Sub":
            return substituted(inner)
        assert key == "Ref", value
        return PSEUDO.get(inner) or self._ref(stack, inner)

    def _ref(self, stack: str, name: str) -> str:
        kind = self.world.templates[stack]["Resources"][name]["Type"]
        return self.arn(stack, name) if kind in REF_IS_ARN else self._name(stack, name)

    @cached_property
    def _exports(self) -> dict[str, str]:
        return {
            output["Export"]["Name"]: self._text(stack, output["Value"])
            for stack, template in self.world.templates.items()
            for output in template.get("Outputs", {}).values()
            if "Export" in output and not _is_network(output)
        }


def _is_network(output: dict[str, Any]) -> bool:
    """Ids of the VPC and its subnets, which no policy names."""
    return "Vpc" in output["Export"]["Name"]
