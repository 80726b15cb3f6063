"""Each hardening property, taken out of our own templates, is missed by the rule that names it."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.rules import GROUPS, RULES, violations
from infra.rules.secrets import holds_secret
from infra.rules.template import text
from tests.infra.mutants import MUTANTS
from tests.infra.mutating import Mutant
from tests.infra.worlds import CHECKOUT, World

BIN = Path(sys.prefix) / "bin"


def _broken(template: dict[str, Any], *, retain_data: bool) -> set[str]:
    return {rule.id for rule, _ in violations(template, retain_data=retain_data)}


def _mutated(world: World, mutant: Mutant) -> dict[str, Any]:
    """The template as it would be deployed, without the mutant's property."""
    role, kind = mutant.place
    template = copy.deepcopy(world.templates[role])
    resources = template["Resources"]
    mutant.mutate(next(body for body in resources.values() if body["Type"] == kind), resources)
    return template


@pytest.fixture(params=["cpu", "inf1", "pinned", "spot", "warm", "canary", "later", "foundation"])
def world(request: pytest.FixtureRequest) -> World:
    """Each of the worlds."""
    found: World = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("mutant", MUTANTS, ids=[f"{m.rule}: {m.property}" for m in MUTANTS])
def test_a_removed_property_is_missed_by_its_rule(request: pytest.FixtureRequest, mutant: Mutant) -> None:
    """On the template as it would be deployed, where nothing broke a rule before."""
    template = _mutated(request.getfixturevalue(mutant.settings), mutant)

    assert mutant.rule in _broken(template, retain_data=True)


def test_the_clean_templates_break_no_rule(world: World) -> None:
    """None of the rules speaks where nothing was removed."""
    for template in world.templates.values():
        assert _broken(template, retain_data=world.settings.project.retain_data) == set()


def test_every_rule_has_a_mutant_and_says_what_why_and_how() -> None:
    """A rule that nothing can break is not a rule; there are far more than 25 properties."""
    assert {mutant.rule for mutant in MUTANTS} == {rule.id for rule in RULES}
    assert len({(mutant.rule, mutant.property) for mutant in MUTANTS}) == len(MUTANTS) >= 25
    assert len({rule.id for rule in RULES}) == len(RULES) == sum(_defined(group) for group in GROUPS)
    for rule in RULES:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", rule.id)
        assert rule.what
        assert rule.why
        assert rule.fix


def test_a_rule_can_miss_something_on_every_type_that_it_speaks_of(request: pytest.FixtureRequest) -> None:
    """One that reads a type wrongly would never speak of it."""
    missed = set()
    for mutant in MUTANTS:
        template = _mutated(request.getfixturevalue(mutant.settings), mutant)
        for rule, name in violations(template, retain_data=True):
            if rule.id == mutant.rule:
                missed.add((rule.id, template["Resources"][name]["Type"]))

    assert missed == {(rule.id, kind) for rule in RULES for kind in rule.types}


def _defined(group: Any) -> int:
    return Path(group.__file__).read_text(encoding="utf-8").count("\n@rule(")


def test_data_may_go_where_the_settings_say_so(cpu: World) -> None:
    """The same templates break the rules on retention as soon as the data is to be retained."""
    found = set().union(*(_broken(template, retain_data=True) for template in cpu.templates.values()))

    assert found == {"data-outlives-its-stack", "balancer-stays"}


def test_no_policy_on_deletion_is_needed_where_data_may_go(cpu: World) -> None:
    """CloudFormation deletes unasked, which is what such settings want."""
    template = copy.deepcopy(cpu.templates["artifacts"])
    for body in template["Resources"].values():
        body.pop("DeletionPolicy", None)
        body.pop("UpdateReplacePolicy", None)

    assert _broken(template, retain_data=False) == set()
    assert _broken(template, retain_data=True) == {"data-outlives-its-stack"}


def test_a_deployment_configuration_is_fine_where_it_works(later: World) -> None:
    """The rule speaks of Inf1 only."""
    assert "DeploymentConfig" in later.properties("endpoint", "AWS::SageMaker::Endpoint")

    assert _broken(later.templates["endpoint"], retain_data=False) == set()


def test_a_resource_that_a_rule_cannot_read_breaks_it(inf1: World) -> None:
    """The CDK lets a plugin that raises pass in silence, so unreadable must count as broken."""
    template = copy.deepcopy(inf1.templates["fleet"])
    launch = next(r for r in template["Resources"].values() if r["Type"] == "AWS::EC2::LaunchTemplate")
    launch["Properties"]["LaunchTemplateData"] = "nonsense"

    about_machines = {rule.id for rule in RULES if "AWS::EC2::LaunchTemplate" in rule.types}
    silent = {"no-secrets-at-boot"}
    assert about_machines - silent <= _broken(template, retain_data=True)


@pytest.mark.parametrize(
    "line",
    [
        "DB_PASSWORD=hunter2",
        "export AWS_SECRET_ACCESS_KEY=abc",
        "HUB_API_KEY: abc",
        "aws configure set x AKIAABCDEFGHIJKLMNOP",
        "-----BEGIN EC PRIVATE KEY-----",
        "TOKEN=hf_" + "a" * 34,
        "X={{resolve:secretsmanager:db}}",
    ],
)
def test_a_secret_is_recognised(line: str) -> None:
    """By its own shape or by the name that it is given to."""
    assert holds_secret(line)


@pytest.mark.parametrize(
    "line",
    [
        "TRACESHIP_SIGNATURE=eyJwYXlsb2FkIjoi",
        "TRACESHIP_PUBLIC_KEYS=ecdsa-p256:MFkw",
        "TRACESHIP_DIGEST=" + "ab" * 32,
        '{"credHelpers": {"111122223333.dkr.ecr.eu-west-1.amazonaws.com": "ecr-login"}}',
        "permissions: '0600'",
    ],
)
def test_what_is_public_is_no_secret(line: str) -> None:
    """Else the rule would be switched off."""
    assert not holds_secret(line)


def test_text_keeps_what_is_known_only_at_deploy_time_apart() -> None:
    """A reference never looks like a literal."""
    value = {"Fn::Join": ["", ["a/", {"Ref": "AWS::Region"}, {"Fn::GetAtt": ["Key", "Arn"]}]]}

    assert text(value) == "a/<AWS::Region><Key.Arn>"
    assert text({"Fn::Sub": "x-${AWS::Region}"}) == "x-${AWS::Region}"


OVERRIDES = """
import sys
from pathlib import Path
import aws_cdk as cdk
from infra.app import Service, build
from infra.policy import synthesise
from tests.infra.worlds import INF1, lock_of, settings_of

app = cdk.App()
settings = settings_of(INF1)
build(app, [Service(settings, lock_of("inf1"))])
for place, name, value in OVERRIDES:
    stack, *path = place.split("/")
    found = app.node.find_child(stack)
    for part in path:
        found = found.node.find_child(part)
    found.add_property_override(name, value)
sys.exit(0 if synthesise(app, [settings]) else 1)
"""
LAUNCH = "traceship-fleet/LaunchTemplate/Resource"
RELEASES = "traceship-artifacts/Artifacts/Resource"
HIDDEN = [
    ("traceship-fleet/LoadBalancer/Resource", "Scheme", "internet-facing", "internal-balancer"),
    (LAUNCH, "LaunchTemplateData.KeyName", "mine", "no-ssh-key"),
    (LAUNCH, "LaunchTemplateData.MetadataOptions.HttpTokens", "optional", "imds-v2"),
    ("traceship-fleet/Group/ASG", "DesiredCapacity", "3", "capacity-left-alone"),
    (RELEASES, "VersioningConfiguration.Status", "Suspended", "bucket-keeps-versions"),
    ("traceship-artifacts/Key/Resource", "EnableKeyRotation", False, "key-rotates"),
    ("traceship-endpoint/Model", "EnableNetworkIsolation", False, "model-is-isolated"),
    ("traceship-network/Vpc/IsolatedSubnet1/Subnet", "MapPublicIpOnLaunch", True, "private-subnets"),
]


def test_the_cdk_cli_stops_at_overrides_that_cdk_nag_cannot_see(tmp_path: Path) -> None:
    """`cdk synth` of an app with property overrides ends with a code other than 0 and names each rule."""
    script = tmp_path / "app.py"
    script.write_text(f"OVERRIDES = {[row[:3] for row in HIDDEN]!r}\n{OVERRIDES}")
    out = tmp_path / "out"
    environment = {
        "HOME": os.environ.get("HOME", "/"),
        "PATH": f"{BIN}:/usr/bin:/bin",
        "PYTHONPATH": str(CHECKOUT),
        "JSII_NODE": str(BIN / "node"),
        "CDK_DISABLE_CLI_TELEMETRY": "true",
        "AWS_EC2_METADATA_DISABLED": "true",
        "CI": "true",
    }
    command = [str(CHECKOUT / "node_modules/.bin/cdk"), "synth", "--quiet", "--no-notices"]

    result = subprocess.run(
        [*command, "--app", f"{os.path.relpath(sys.executable, CHECKOUT)} {script}", "--output", str(out)],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode != 0
    reports = json.loads((out / "validation-report.json").read_text())["pluginReports"]
    found = {plugin["pluginName"]: plugin.get("violations", []) for plugin in reports}
    assert {v["ruleName"] for v in found["traceship"]} == {row[3] for row in HIDDEN}
    assert [v for name in ("AwsSolutions", "NIST.800.53.R5") for v in found[name]] == []
    for _, _, _, rule in HIDDEN:
        assert f"traceship::{rule}" in result.stdout + result.stderr
