"""The machine image's stack: what is in it, what its machines may do, and how it changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from artifact.release import blob_key, manifest_key
from infra.compatibility import check
from infra.fleet_stack import DISK_GIB
from infra.incompatible import MachineDriverWithoutInf1
from infra.names import machine_packages, stack_names
from tests.iam.evaluate import Decision, Request, decide
from tests.infra.deployed import Deployed
from tests.infra.worlds import BLOBS, DIGEST, IMAGE, INF1, World, lock_of, settings_of, synthesise

BUILDER = "AWS::ImageBuilder::"
SECURE = {"aws:SecureTransport": True, "s3:TlsVersion": "1.3"}


def _one(world: World, kind: str) -> dict[str, object]:
    return world.properties("image", f"{BUILDER}{kind}")


def test_an_image_is_baked_weekly_and_tried_on_inf1(inf1: World) -> None:
    """By a pipeline that is on, on machines of one type."""
    pipeline = _one(inf1, "ImagePipeline")

    assert pipeline["Status"] == "ENABLED"
    assert pipeline["Schedule"] == {
        "ScheduleExpression": "cron(0 3 ? * SUN *)",
        "PipelineExecutionStartCondition": "EXPRESSION_MATCH_ONLY",
    }
    assert pipeline["ImageTestsConfiguration"] == {"ImageTestsEnabled": True, "TimeoutMinutes": 90}
    assert _one(inf1, "InfrastructureConfiguration")["InstanceTypes"] == ["inf1.xlarge"]


def test_the_stack_is_there_exactly_when_its_section_is(inf1: World, cpu: World) -> None:
    """And never before a release, whose golden set it tries."""
    assert "image" in inf1.templates
    assert "image" not in cpu.templates
    assert "traceship-image" in stack_names([inf1.settings])
    assert "traceship-image" not in stack_names([inf1.settings], foundation=True)


def test_another_driver_makes_components_and_recipe_anew(inf1: World, tmp_path: Path) -> None:
    """Image Builder refuses another content under the same name and version."""
    other = synthesise(
        tmp_path, settings_of(INF1, {"image": {**IMAGE, "driver_version": "2.24.12.0"}}), lock_of("inf1")
    )

    def names(world: World, kind: str) -> set[object]:
        return {each["Properties"]["Name"] for each in world.all("image", f"{BUILDER}{kind}").values()}

    for kind in ("Component", "ImageRecipe"):
        assert not names(inf1, kind) & names(other, kind), kind
    for kind in ("ImagePipeline", "InfrastructureConfiguration", "DistributionConfiguration"):
        assert names(inf1, kind) == names(other, kind), kind


def test_the_builds_log_to_an_encrypted_group_of_the_recipe(inf1: World) -> None:
    """The name that the service prescribes; the key's policy admits it."""
    group = inf1.properties("image", "AWS::Logs::LogGroup")

    assert group["LogGroupName"] == f"/aws/imagebuilder/{_one(inf1, 'ImageRecipe')['Name']}"
    assert "KmsKeyId" in group
    key = str(inf1.all("artifacts", "AWS::KMS::Key"))
    assert "/aws/imagebuilder/traceship-*" in key


def test_the_machines_read_the_two_packages_and_the_release_and_nothing_else(inf1: World) -> None:
    """And write nothing anywhere in the bucket."""
    deployed = Deployed(inf1)
    role = deployed.identity("image", "Role")
    packages = machine_packages("2.24.13.0", "2.19.0.0")
    own = {*packages, manifest_key("traceship", DIGEST), *(blob_key(blob) for blob in BLOBS)}
    others = {*machine_packages("2.24.12.0", "2.18.0.0"), "packages/", "models/a", blob_key("cd" * 32)}

    def may(action: str, key: str) -> bool:
        return decide(role, Request(action, deployed.in_bucket("Artifacts", key), SECURE)) is Decision.ALLOW

    assert {key for key in own | others if may("s3:GetObject", key)} == own
    assert not any(may(action, key) for key in own | others for action in ("s3:PutObject", "s3:DeleteObject"))


@pytest.mark.parametrize("version", ["2.25.1.0", "2.23.9.0", "2.240.1.0", "3.24.1.0"])
def test_a_driver_without_inf1_is_refused_at_synth(version: str) -> None:
    """Newer or older, before anything is made."""
    settings = settings_of(INF1, {"image": {**IMAGE, "driver_version": version}})

    with pytest.raises(MachineDriverWithoutInf1, match=version):
        check(settings, lock_of("inf1"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("disk_gib", DISK_GIB + 1),
        ("parent_ami", "resolve:ssm:/aws/service/ami/latest"),
        ("kernel", "latest"),
        ("kernel_package", "linux"),
        ("driver_version", "2.24.*"),
        ("driver_sha256", "ab"),
        ("instance_type", "c5.xlarge"),
        ("schedule", "weekly"),
    ],
)
def test_nothing_that_can_move_is_a_setting(key: str, value: object) -> None:
    """Parent, kernel, driver and its digest are exact, the machine is Inf1, the fleet's disk is enough."""
    with pytest.raises(ValueError, match=key):
        settings_of(INF1, {"image": {**IMAGE, key: value}})
