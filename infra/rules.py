"""Our own rules, on the templates themselves.

cdk-nag reads the CDK's objects and sees neither property overrides nor what a mixed-instances
policy points to; nobody else checks what makes a rollback possible. One function, one rule.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import jsii

Properties = dict[str, Any]
Resources = dict[str, dict[str, Any]]

AMI = re.compile(r"ami-[0-9a-f]{8,17}")
BY_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")


@dataclass(frozen=True)
class Rule:
    """``holds`` is asked about every resource of ``resource_type``, with all resources of its template."""

    id: str
    resource_type: str
    description: str
    fix: str
    holds: Callable[[dict[str, Any], Resources], bool]


def violations(template: dict[str, Any]) -> Iterator[tuple[Rule, str]]:
    """Yield each rule that a resource of ``template`` breaks, with the resource's logical id."""
    resources: Resources = template.get("Resources", {})
    for logical_id, resource in resources.items():
        for rule in RULES:
            if resource["Type"] == rule.resource_type and not _holds(rule, resource, resources):
                yield rule, logical_id


def _holds(rule: Rule, resource: dict[str, Any], resources: Resources) -> bool:
    """A rule that cannot read a resource has not been kept: the CDK would let its plugin fail in silence."""
    try:
        return rule.holds(resource, resources)
    except (AttributeError, IndexError, KeyError, TypeError):
        return False


def _is_internal(resource: dict[str, Any], _: Resources) -> bool:
    return bool(resource["Properties"].get("Scheme") == "internal")


def _ami_by_id(resource: dict[str, Any], _: Resources) -> bool:
    image = _launch_data(resource).get("ImageId")
    return isinstance(image, str) and AMI.fullmatch(image) is not None


def _imds_v2(resource: dict[str, Any], _: Resources) -> bool:
    options = _launch_data(resource).get("MetadataOptions", {})
    return bool(options.get("HttpTokens") == "required" and options.get("HttpPutResponseHopLimit") == 1)


def _disks_encrypted(resource: dict[str, Any], _: Resources) -> bool:
    disks = [mapping.get("Ebs", {}) for mapping in _launch_data(resource).get("BlockDeviceMappings", [])]
    return bool(disks) and all(disk.get("Encrypted") is True for disk in disks)


def _no_ssh_key(resource: dict[str, Any], _: Resources) -> bool:
    return _launch_data(resource).get("KeyName") is None


def _version_by_number(resource: dict[str, Any], _: Resources) -> bool:
    policy = resource["Properties"].get("MixedInstancesPolicy", {}).get("LaunchTemplate", {})
    template = policy.get("LaunchTemplateSpecification") or resource["Properties"].get("LaunchTemplate", {})
    version = template.get("Version")
    return version is not None and version not in ("$Latest", "$Default")


def _can_roll_back(resource: dict[str, Any], _: Resources) -> bool:
    refresh = resource.get("UpdatePolicy", {}).get("AutoScalingInstanceRefresh", {})
    preferences = refresh.get("Preferences", {})
    alarms = preferences.get("AlarmSpecification", {}).get("Alarms", [])
    return bool(alarms) and preferences.get("CheckpointPercentages", [0])[-1] == 100


def _capacity_is_left_alone(resource: dict[str, Any], _: Resources) -> bool:
    return "DesiredCapacity" not in resource["Properties"]


def _alarm_speaks(resource: dict[str, Any], _: Resources) -> bool:
    return bool(resource["Properties"].get("AlarmActions"))


def _model_by_digest(resource: dict[str, Any], _: Resources) -> bool:
    return _is_by_digest(resource["Properties"].get("PrimaryContainer", {}).get("Image"))


def _job_by_digest(resource: dict[str, Any], _: Resources) -> bool:
    return _is_by_digest(resource["Properties"].get("ContainerProperties", {}).get("Image"))


def _keeps_variants(resource: dict[str, Any], _: Resources) -> bool:
    return resource["Properties"].get("RetainAllVariantProperties") is True


def _no_guardrails_on_inf1(resource: dict[str, Any], resources: Resources) -> bool:
    """A deployment configuration protects nothing on Inf1; the endpoint's config is in the same stack."""
    configs = [r["Properties"] for r in resources.values() if r["Type"] == "AWS::SageMaker::EndpointConfig"]
    variants = [variant for config in configs for variant in config["ProductionVariants"]]
    on_inf1 = any(str(variant.get("InstanceType", "")).startswith("ml.inf1.") for variant in variants)
    return not (on_inf1 and "DeploymentConfig" in resource["Properties"])


def _launch_data(resource: dict[str, Any]) -> Properties:
    data: Properties = resource["Properties"]["LaunchTemplateData"]
    return data


def _is_by_digest(image: Any) -> bool:
    """The last piece of a joined string holds the digest; what comes before may be pseudo parameters."""
    if isinstance(image, dict) and "Fn::Join" in image:
        image = image["Fn::Join"][1][-1]
    return isinstance(image, str) and BY_DIGEST.search(image) is not None


_BALANCER = "AWS::ElasticLoadBalancingV2::LoadBalancer"
_TEMPLATE = "AWS::EC2::LaunchTemplate"
_GROUP = "AWS::AutoScaling::AutoScalingGroup"
_ENDPOINT = "AWS::SageMaker::Endpoint"

RULES = (
    Rule("internal-balancer", _BALANCER, "Replicas are not reachable from the internet",
         "set Scheme to internal", _is_internal),
    Rule("ami-by-id", _TEMPLATE, "A refresh can be rolled back only if the AMI is a literal id",
         "take the id from the lock, no SSM parameter", _ami_by_id),
    Rule("imds-v2", _TEMPLATE, "Instance credentials need a session token and stay on the host",
         "require tokens and a hop limit of 1", _imds_v2),
    Rule("encrypted-disks", _TEMPLATE, "Every disk is encrypted",
         "set Encrypted on each mapping", _disks_encrypted),
    Rule("no-ssh-key", _TEMPLATE, "Session Manager is the only way in", "remove KeyName", _no_ssh_key),
    Rule("version-by-number", _GROUP, "A refresh can be rolled back only from a numbered template version",
         "refer to LatestVersionNumber, never $Latest or $Default", _version_by_number),
    Rule("can-roll-back", _GROUP, "A rollout ends at 100 % and is stopped by an alarm",
         "keep AutoScalingInstanceRefresh with alarms from the first deploy on", _can_roll_back),
    Rule("capacity-left-alone", _GROUP, "A deploy does not reset a scaled fleet",
         "remove DesiredCapacity", _capacity_is_left_alone),
    Rule("alarm-speaks", "AWS::CloudWatch::Alarm", "An alarm tells somebody", "add an action", _alarm_speaks),
    Rule("model-by-digest", "AWS::SageMaker::Model", "An image is named by its digest",
         "use repository@sha256:digest", _model_by_digest),
    Rule("job-by-digest", "AWS::Batch::JobDefinition", "An image is named by its digest",
         "use repository@sha256:digest", _job_by_digest),
    Rule("keeps-variants", _ENDPOINT, "A deploy does not reset a scaled endpoint",
         "set RetainAllVariantProperties", _keeps_variants),
    Rule("no-guardrails-on-inf1", _ENDPOINT, "SageMaker ignores a deployment configuration on Inf1",
         "remove DeploymentConfig and shift traffic by variant weights", _no_guardrails_on_inf1),
)  # fmt: skip


@jsii.implements(cdk.IPolicyValidationPlugin)
class TemplateRules:
    """The rules as a plugin of the CDK: it fails the synthesis and appears in the same report."""

    @property
    @jsii.member(jsii_name="name")
    def name(self) -> str:
        """Prefix of every id in the report."""
        return "traceship"

    @property
    @jsii.member(jsii_name="version")
    def version(self) -> str | None:
        """The rules change with the stacks; they have no version of their own."""
        return None

    @property
    @jsii.member(jsii_name="ruleIds")
    def rule_ids(self) -> list[str]:
        """Ids of all rules that are evaluated."""
        return [rule.id for rule in RULES]

    @jsii.member(jsii_name="validate")
    def validate(self, context: cdk.IPolicyValidationContext) -> cdk.PolicyValidationPluginReport:
        """Evaluate every rule on every template."""
        found = [
            _report(rule, logical_id, path)
            for path in context.template_paths
            for rule, logical_id in violations(json.loads(Path(path).read_text(encoding="utf-8")))
        ]
        return cdk.PolicyValidationPluginReport(success=not found, violations=found)


def _report(rule: Rule, logical_id: str, path: str) -> cdk.PolicyViolation:
    place = cdk.PolicyViolatingResource(
        resource_logical_id=logical_id, template_path=path, locations=["Properties"]
    )
    return cdk.PolicyViolation(
        rule_name=rule.id,
        description=rule.description,
        fix=rule.fix,
        severity="error",
        violating_resources=[place],
    )
