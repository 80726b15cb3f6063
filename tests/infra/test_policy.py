"""Policies fail the synthesis, and what is accepted is accepted in one place, with a trace."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest

from infra import policy
from infra.acknowledgements import ACKNOWLEDGEMENTS
from infra.app import build
from infra.rules import RULES, violations
from tests.infra.worlds import CPU, INF1, World, lock_of, make_app, settings_of, synthesise

PREFIXES = ("AwsSolutions::", "NIST.800.53.R5::", "CloudFormation-Validate::", "traceship::")


def _report(world: World) -> dict[str, dict[str, Any]]:
    report = json.loads((world.folder / "validation-report.json").read_text())
    return {plugin["pluginName"]: plugin for plugin in report["pluginReports"]}


def _accepted(world: World) -> set[tuple[str, str, str]]:
    """Id, place and reason of what the report shows as acknowledged."""
    return {
        (finding["acknowledgedId"], finding["acknowledgedAt"], finding["reason"])
        for plugin in _report(world).values()
        for finding in plugin.get("suppressedViolations", [])
    }


def _registry() -> set[tuple[str, str, str]]:
    return {
        (entry.rule.replace("{project}", "traceship"), f"traceship-{role}/{path}", entry.reason)
        for entry in ACKNOWLEDGEMENTS
        for role, path in entry.places
    }


@pytest.fixture(params=["cpu", "inf1", "pinned", "foundation"])
def world(request: pytest.FixtureRequest) -> World:
    """Each of the worlds."""
    found: World = request.getfixturevalue(request.param)
    return found


def test_nothing_is_left_unacknowledged(world: World) -> None:
    """Both packs ran, neither found an error nor a warning, and none of the plugins broke."""
    reports = _report(world)

    assert {"AwsSolutions", "NIST.800.53.R5"} <= set(reports)
    for name, plugin in reports.items():
        assert plugin["conclusion"] == "success", name
        assert plugin.get("violations", []) == [], name


def test_every_acknowledgement_is_used_somewhere(
    cpu: World, inf1: World, pinned: World, foundation: World
) -> None:
    """One that accepts nothing would hide the next finding."""
    used = set().union(*(_accepted(world) for world in (cpu, inf1, pinned, foundation)))

    assert used == _registry()


def test_every_accepted_finding_is_in_the_registry(world: World) -> None:
    """The report names id, construct and reason; nothing is accepted anywhere else in the code."""
    accepted = _accepted(world)

    assert accepted
    assert accepted <= _registry()


def test_ids_carry_the_name_of_their_pack() -> None:
    """A bare id would hide the finding and leave no trace; a reason says more than a word."""
    for entry in ACKNOWLEDGEMENTS:
        assert entry.rule.startswith(PREFIXES), entry.rule
        assert len(entry.reason) > 40, entry.rule


def test_an_acknowledgement_holds_on_its_construct_only(tmp_path: Path) -> None:
    """A second bucket without encryption of ours is found, although the log bucket's is accepted."""
    from aws_cdk import aws_s3 as s3

    app = make_app(tmp_path)
    build(app, settings_of(CPU), lock_of("cpu"))
    stack = app.node.find_child("traceship-artifacts")
    assert isinstance(stack, cdk.Stack)
    s3.Bucket(stack, "Another")

    with pytest.raises(policy.PolicyBroken) as broken:
        policy.synthesise(app)

    assert broken.value.exit_code == 3
    report = json.loads((tmp_path / "validation-report.json").read_text())
    found = {v["ruleName"] for plugin in report["pluginReports"] for v in plugin.get("violations", [])}
    assert "NIST.800.53.R5-S3DefaultEncryptionKMS" in found


def test_a_certificate_takes_its_acknowledgements_away(cpu: World, pinned: World) -> None:
    """Plain HTTP is accepted only where the settings give no certificate."""
    assert "HttpToHttps" in json.dumps(_report(cpu))
    assert "HttpToHttps" not in json.dumps(_report(pinned))


Mutation = Callable[[dict[str, Any]], None]


def _launch(change: Mutation) -> Mutation:
    return lambda resource: change(resource["Properties"]["LaunchTemplateData"])


def _specification(resource: dict[str, Any]) -> dict[str, Any]:
    mixed = resource["Properties"]["MixedInstancesPolicy"]["LaunchTemplate"]
    specification: dict[str, Any] = mixed["LaunchTemplateSpecification"]
    return specification


def _preferences(resource: dict[str, Any]) -> dict[str, Any]:
    preferences: dict[str, Any] = resource["UpdatePolicy"]["AutoScalingInstanceRefresh"]["Preferences"]
    return preferences


TAGGED = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/traceship/serving:latest"
BALANCER = "AWS::ElasticLoadBalancingV2::LoadBalancer"
TEMPLATE = "AWS::EC2::LaunchTemplate"
GROUP = "AWS::AutoScaling::AutoScalingGroup"
ENDPOINT = "AWS::SageMaker::Endpoint"

MUTANTS: list[tuple[str, str, str, Mutation]] = [
    ("internal-balancer", "fleet", BALANCER, lambda r: r["Properties"].update(Scheme="internet-facing")),
    ("internal-balancer", "fleet", BALANCER, lambda r: r["Properties"].pop("Scheme")),
    ("ami-by-id", "fleet", TEMPLATE, _launch(lambda d: d.update(ImageId="resolve:ssm:/a/latest"))),
    ("ami-by-id", "fleet", TEMPLATE, _launch(lambda d: d.update(ImageId={"Ref": "AmiParameter"}))),
    ("imds-v2", "fleet", TEMPLATE, _launch(lambda d: d["MetadataOptions"].update(HttpTokens="optional"))),
    ("imds-v2", "fleet", TEMPLATE, _launch(lambda d: d["MetadataOptions"].update(HttpPutResponseHopLimit=2))),
    ("imds-v2", "fleet", TEMPLATE, _launch(lambda d: d.pop("MetadataOptions"))),
    (
        "encrypted-disks",
        "fleet",
        TEMPLATE,
        _launch(lambda d: d["BlockDeviceMappings"][0]["Ebs"].pop("Encrypted")),
    ),
    ("encrypted-disks", "fleet", TEMPLATE, _launch(lambda d: d.pop("BlockDeviceMappings"))),
    ("no-ssh-key", "fleet", TEMPLATE, _launch(lambda d: d.update(KeyName="mine"))),
    ("version-by-number", "fleet", GROUP, lambda r: _specification(r).update(Version="$Latest")),
    ("version-by-number", "fleet", GROUP, lambda r: _specification(r).pop("Version")),
    ("can-roll-back", "fleet", GROUP, lambda r: r.pop("UpdatePolicy")),
    ("can-roll-back", "fleet", GROUP, lambda r: _preferences(r).pop("AlarmSpecification")),
    ("can-roll-back", "fleet", GROUP, lambda r: _preferences(r).update(CheckpointPercentages=[1, 50])),
    ("capacity-left-alone", "fleet", GROUP, lambda r: r["Properties"].update(DesiredCapacity="3")),
    ("alarm-speaks", "fleet", "AWS::CloudWatch::Alarm", lambda r: r["Properties"].pop("AlarmActions")),
    (
        "model-by-digest",
        "endpoint",
        "AWS::SageMaker::Model",
        lambda r: r["Properties"]["PrimaryContainer"].update(Image=TAGGED),
    ),
    (
        "job-by-digest",
        "compile",
        "AWS::Batch::JobDefinition",
        lambda r: r["Properties"]["ContainerProperties"].update(Image=TAGGED),
    ),
    ("keeps-variants", "endpoint", ENDPOINT, lambda r: r["Properties"].pop("RetainAllVariantProperties")),
    ("no-guardrails-on-inf1", "endpoint", ENDPOINT, lambda r: r["Properties"].update(DeploymentConfig={})),
]


@pytest.mark.parametrize(
    ("rule", "role", "kind", "mutate"), MUTANTS, ids=[f"{m[0]}-{n}" for n, m in enumerate(MUTANTS)]
)
def test_a_removed_property_is_caught_by_its_rule(
    inf1: World, rule: str, role: str, kind: str, mutate: Mutation
) -> None:
    """On the template, where overrides are visible; the rule named is the only one that speaks."""
    template = json.loads(json.dumps(inf1.templates[role]))
    logical_id = sorted(name for name, r in template["Resources"].items() if r["Type"] == kind)[0]

    mutate(template["Resources"][logical_id])

    assert [(r.id, place) for r, place in violations(template)] == [(rule, logical_id)]


def test_every_rule_has_a_mutant_and_holds_on_the_real_templates(world: World) -> None:
    """A rule that nothing can break, or that our own stacks break, is not a rule."""
    assert {mutant[0] for mutant in MUTANTS} == {rule.id for rule in RULES}
    for template in world.templates.values():
        assert list(violations(template)) == []


def test_a_deployment_configuration_is_fine_where_it_works(cpu: World) -> None:
    """The rule speaks of Inf1 only."""
    template = json.loads(json.dumps(cpu.templates["endpoint"]))
    endpoint = next(r for r in template["Resources"].values() if r["Type"] == ENDPOINT)
    endpoint["Properties"]["DeploymentConfig"] = {}

    assert list(violations(template)) == []


def test_our_rules_fail_a_synthesis_that_uses_an_override(tmp_path: Path) -> None:
    """The plugin is registered: what cdk-nag cannot see stops the CDK all the same."""
    app = make_app(tmp_path)
    build(app, settings_of(INF1), lock_of("inf1"))
    balancer = app.node.find_child("traceship-fleet").node.find_child("LoadBalancer").node.default_child
    assert isinstance(balancer, cdk.CfnResource)
    balancer.add_property_override("Scheme", "internet-facing")

    with pytest.raises(policy.PolicyBroken):
        policy.synthesise(app)

    report = json.loads((tmp_path / "validation-report.json").read_text())
    ours = next(p for p in report["pluginReports"] if p["pluginName"] == "traceship")
    assert [v["ruleName"] for v in ours["violations"]] == ["internal-balancer"]


def test_a_resource_that_a_rule_cannot_read_breaks_it(inf1: World) -> None:
    """The CDK lets a plugin that raises pass in silence, so unreadable must count as broken."""
    template = json.loads(json.dumps(inf1.templates["fleet"]))
    launch = next(r for r in template["Resources"].values() if r["Type"] == TEMPLATE)
    launch["Properties"]["LaunchTemplateData"] = "nonsense"

    assert {rule.id for rule, _ in violations(template)} == {
        "ami-by-id",
        "imds-v2",
        "encrypted-disks",
        "no-ssh-key",
    }


def test_another_project_name_is_as_clean(tmp_path: Path) -> None:
    """Accepted findings name the project; the registry follows its name."""
    name = "a-much-longer-name-of-abc"
    lock = lock_of("cpu")
    location = type(lock.location)(
        account="1" * 12, region="eu-west-1", bucket="any", prefix=f"releases/{name}/{lock.digest}"
    )

    world = synthesise(
        tmp_path, settings_of(CPU, {"project": {"name": name}}), lock_of("cpu", name=name, location=location)
    )

    assert all(plugin["conclusion"] == "success" for plugin in _report(world).values())
