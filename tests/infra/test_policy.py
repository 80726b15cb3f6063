"""Policies fail the synthesis, and what is accepted is accepted in one place, with a trace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest

from infra import acknowledgements, policy
from infra.acknowledgements import ACKNOWLEDGEMENTS, Acknowledgement
from infra.app import Service, build
from infra.rules.__main__ import page
from tests.infra.worlds import CHECKOUT, CPU, IMAGE, World, lock_of, make_app, settings_of, synthesise

PREFIXES = ("AwsSolutions::", "NIST.800.53.R5::", "CloudFormation-Validate::", "traceship::")
BUCKET = "arn:<AWS::Partition>:s3:::traceship-artifacts-<AWS::AccountId>-<AWS::Region>"
OF_ENDPOINTS = {
    f"AwsSolutions::AwsSolutions-IAM5[Resource::{BUCKET}/captured/traceship/*]": "canary",
    f"AwsSolutions::AwsSolutions-IAM5[Resource::{BUCKET}/async/traceship/input/*]": "later",
    f"AwsSolutions::AwsSolutions-IAM5[Resource::{BUCKET}/async/traceship/output/*]": "later",
    f"AwsSolutions::AwsSolutions-IAM5[Resource::{BUCKET}/async/traceship/failed/*]": "later",
}
"""What is accepted of endpoints that leave something in S3, and the world in which it is found."""
EXECUTIONS = "arn:<AWS::Partition>:states:<AWS::Region>:<AWS::AccountId>:execution:traceship-compile"
NEEDED = {
    "AwsSolutions::AwsSolutions-IAM5[Resource::*]": ("compile", "fleet", "endpoint"),
    **{
        f"AwsSolutions::AwsSolutions-IAM5[Resource::{BUCKET}/{prefix}/*]": ("compile",)
        for prefix in ("models", "compiled", "requests", "releases", "blobs")
    },
    f"AwsSolutions::AwsSolutions-IAM5[Resource::{EXECUTIONS}:*]": ("compile",),
    "NIST.800.53.R5::NIST.800.53.R5-S3BucketReplicationEnabled": ("artifacts",),
    "NIST.800.53.R5::NIST.800.53.R5-S3DefaultEncryptionKMS": ("artifacts",),
    "NIST.800.53.R5::NIST.800.53.R5-VPCDefaultSecurityGroupClosed": ("network",),
    "NIST.800.53.R5::NIST.800.53.R5-ALBWAFEnabled": ("fleet",),
    "NIST.800.53.R5::NIST.800.53.R5-ALBHttpToHttpsRedirection": ("fleet",),
    "NIST.800.53.R5::NIST.800.53.R5-ELBv2ACMCertificateRequired": ("fleet",),
    "NIST.800.53.R5::NIST.800.53.R5-ELBDeletionProtectionEnabled": ("fleet",),
}
"""What is accepted, and in which stacks it is found. A new line here is a decision."""


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
        (rule, f"traceship-{role}/{path}", entry.reason)
        for entry in ACKNOWLEDGEMENTS
        for rule, role, path in entry.findings(settings_of(CPU), whenever=True)
    }


def _always_found() -> set[tuple[str, str]]:
    """Rules and places that the demo's settings need."""
    return {
        (rule, f"traceship-{role}/{path}")
        for entry in ACKNOWLEDGEMENTS
        for rule, role, path in entry.findings(settings_of(CPU))
    }


@pytest.fixture(params=["cpu", "inf1", "pinned", "canary", "later", "existing", "foundation"])
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


def test_at_most_ten_findings_are_accepted_and_each_is_named_here() -> None:
    """An eleventh needs a mended stack first."""
    assert len(ACKNOWLEDGEMENTS) <= 10
    assert len({entry.rule for entry in ACKNOWLEDGEMENTS}) == len(ACKNOWLEDGEMENTS)
    assert {rule for rule, _, _ in _registry()} == {*NEEDED, *OF_ENDPOINTS}


@pytest.mark.parametrize("accepted", NEEDED)
def test_an_accepted_finding_is_still_found(accepted: str, cpu: World) -> None:
    """The demo's settings need every one of them: with none that is not, none hides the next finding."""
    stacks = {
        place.partition("/")[0].removeprefix("traceship-") for i, place, _ in _accepted(cpu) if i == accepted
    }

    assert stacks == set(NEEDED[accepted])


@pytest.mark.parametrize("accepted", OF_ENDPOINTS)
def test_what_is_accepted_of_an_endpoint_is_found_there_only(
    accepted: str, request: pytest.FixtureRequest
) -> None:
    """Where nothing is captured or answered later, nothing of it is accepted in advance."""
    worlds = ("cpu", "inf1", "canary", "later")

    found = [
        name for name in worlds if accepted in {i for i, _, _ in _accepted(request.getfixturevalue(name))}
    ]

    assert found == [OF_ENDPOINTS[accepted]]


def test_every_acknowledgement_is_used_somewhere(
    cpu: World,
    inf1: World,
    pinned: World,
    canary: World,
    later: World,
    existing: World,
    foundation: World,
) -> None:
    """On every construct that it names; a canary and a queue exclude each other."""
    worlds = (cpu, inf1, pinned, canary, later, existing, foundation)
    used = set().union(*(_accepted(world) for world in worlds))

    missing = {(rule, place) for rule, place, _ in _registry() - used}
    assert missing == {
        (rule, "traceship-endpoint/Canary/RolePolicy/Resource")
        for rule, world in OF_ENDPOINTS.items()
        if world == "later"
    }
    assert used <= _registry()


def test_an_acknowledgement_that_nothing_needs_fails_the_synthesis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 3, with the finding and the construct that it is not found on."""
    idle = Acknowledgement(
        rule="AwsSolutions::AwsSolutions-SNS3",
        places=(("fleet", "AlarmTopic/Resource"),),
        reason="The topic admits TLS only, so that nothing finds this and it accepts nothing.",
    )
    monkeypatch.setattr(acknowledgements, "ACKNOWLEDGEMENTS", (*ACKNOWLEDGEMENTS, idle))

    with pytest.raises(policy.AcknowledgementUnused) as refused:
        synthesise(tmp_path, settings_of(CPU), lock_of("cpu"))

    assert refused.value.exit_code == 3
    assert "AwsSolutions::AwsSolutions-SNS3 on traceship-fleet/AlarmTopic/Resource" in refused.value.why
    assert "infra/acknowledgements.py" in refused.value.fix


def test_without_the_registry_its_findings_and_no_others_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the registry is the only thing that accepts, and accepts nothing in advance."""
    whole = settings_of(CPU, {"image": IMAGE})
    accepting = synthesise(tmp_path / "accepting", whole, lock_of("cpu"))
    monkeypatch.setattr(acknowledgements, "ACKNOWLEDGEMENTS", ())

    with pytest.raises(policy.PolicyBroken):
        synthesise(tmp_path / "refusing", whole, lock_of("cpu"))

    report = json.loads((tmp_path / "refusing" / "validation-report.json").read_text())
    found = {
        (f"{plugin['pluginName']}::{v['ruleName']}", place["constructPath"])
        for plugin in report["pluginReports"]
        for v in plugin.get("violations", [])
        for place in v["violatingConstructs"]
    }
    assert found == {(rule, place) for rule, place, _ in _accepted(accepting)}


def test_a_disk_behind_the_mixed_instances_policy_is_seen_by_cdk_nag(tmp_path: Path) -> None:
    """Its two rules on launch templates check ours, and the group's template says nothing twice."""
    from aws_cdk import aws_ec2 as ec2

    app, settings = make_app(tmp_path), settings_of(CPU)
    build(app, [Service(settings, lock_of("cpu"))])
    launch = app.node.find_child("traceship-fleet").node.find_child("LaunchTemplate").node.default_child
    assert isinstance(launch, ec2.CfnLaunchTemplate)
    data = ec2.CfnLaunchTemplate
    launch.launch_template_data = data.LaunchTemplateDataProperty(
        image_id="ami-00000000000000000",
        metadata_options=data.MetadataOptionsProperty(http_tokens="optional"),
        block_device_mappings=[
            data.BlockDeviceMappingProperty(device_name="/dev/xvda", ebs=data.EbsProperty(encrypted=False))
        ],
    )

    with pytest.raises(policy.PolicyBroken):
        policy.synthesise(app, [settings])

    report = json.loads((tmp_path / "validation-report.json").read_text())
    found = {v["ruleName"] for plugin in report["pluginReports"] for v in plugin.get("violations", [])}
    assert {"AwsSolutions-EC26", "NIST.800.53.R5-EC2IMDSv2Enabled"} <= found
    group = json.loads((tmp_path / "traceship-fleet.template.json").read_text())["Resources"]
    (body,) = [r for r in group.values() if r["Type"] == "AWS::AutoScaling::AutoScalingGroup"]
    assert "LaunchTemplate" not in body["Properties"]
    assert "MixedInstancesPolicy" in body["Properties"]


def test_the_page_of_the_rules_is_current() -> None:
    """Run `python -m infra.rules docs/policy.md` after a change."""
    assert (CHECKOUT / "docs/policy.md").read_text(encoding="utf-8") == page()


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

    app, settings = make_app(tmp_path), settings_of(CPU)
    build(app, [Service(settings, lock_of("cpu"))])
    stack = app.node.find_child("traceship-artifacts")
    assert isinstance(stack, cdk.Stack)
    s3.Bucket(stack, "Another")

    with pytest.raises(policy.PolicyBroken) as broken:
        policy.synthesise(app, [settings])

    assert broken.value.exit_code == 3
    report = json.loads((tmp_path / "validation-report.json").read_text())
    found = {v["ruleName"] for plugin in report["pluginReports"] for v in plugin.get("violations", [])}
    assert "NIST.800.53.R5-S3DefaultEncryptionKMS" in found


def test_a_certificate_takes_its_acknowledgements_away(cpu: World, pinned: World) -> None:
    """Plain HTTP is accepted only where the settings give no certificate."""
    assert "HttpToHttps" in json.dumps(_report(cpu))
    assert "HttpToHttps" not in json.dumps(_report(pinned))


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
