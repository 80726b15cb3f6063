"""The rules as a plugin of the CDK: it fails the synthesis and appears in the same report."""

from __future__ import annotations

import json
from pathlib import Path

import aws_cdk as cdk
import jsii

from infra.rules import RULES, violations
from infra.rules.template import Rule


@jsii.implements(cdk.IPolicyValidationPlugin)
class TemplateRules:
    """Evaluates every rule on every template. ``retain_data`` as the settings have it."""

    def __init__(self, *, retain_data: bool) -> None:
        self._retain_data = retain_data

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
            for rule, logical_id in violations(
                json.loads(Path(path).read_text(encoding="utf-8")), retain_data=self._retain_data
            )
        ]
        return cdk.PolicyValidationPluginReport(success=not found, violations=found)


def _report(rule: Rule, logical_id: str, path: str) -> cdk.PolicyViolation:
    place = cdk.PolicyViolatingResource(
        resource_logical_id=logical_id, template_path=path, locations=["Properties"]
    )
    return cdk.PolicyViolation(
        rule_name=rule.id,
        description=f"{rule.what}: {rule.why}",
        fix=rule.fix,
        severity="error",
        violating_resources=[place],
    )
