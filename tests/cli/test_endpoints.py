"""An update of an endpoint that SageMaker would refuse, or that nobody could call, is refused before it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cli.endpoints import (
    Deployed,
    DeployIncomplete,
    NoTrafficLeft,
    ScaledTypeChanges,
    Variant,
    check_update,
    compare,
    wanted_variants,
)
from cli.project import NoCanary, Project
from infra.canary import CanaryLockMissing

CANARY = "canary-cdcdcdcdcdcd"


class Account(Project):
    """A project whose account holds one endpoint, or none. ``scaled``: variants with a scalable target."""

    variants: tuple[Variant, ...] = ()
    scaled: tuple[str, ...] = ()

    def client(self, service: str) -> Any:
        del service
        return self

    def describe_endpoint(self, EndpointName: str) -> dict[str, Any]:  # noqa: N803 - boto3's spelling
        if not self.variants:
            why = {"Code": "ValidationException", "Message": f'Could not find endpoint "{EndpointName}".'}
            raise ClientError({"Error": why}, "DescribeEndpoint")
        rows = [{"VariantName": v.name, "CurrentWeight": v.weight} for v in self.variants]
        return {"EndpointConfigName": "running", "ProductionVariants": rows}

    def describe_endpoint_config(self, EndpointConfigName: str) -> dict[str, Any]:  # noqa: N803
        assert EndpointConfigName == "running"
        rows = [{"VariantName": v.name, "InstanceType": v.instance_type} for v in self.variants]
        return {"ProductionVariants": rows}

    def describe_scalable_targets(self, ServiceNamespace: str, ResourceIds: list[str]) -> dict[str, Any]:  # noqa: N803
        assert ServiceNamespace == "sagemaker"
        known = {f"endpoint/traceship/variant/{name}" for name in self.scaled}
        return {"ScalableTargets": [{"ResourceId": name} for name in ResourceIds if name in known]}


def _stable(kind: str = "ml.c5.large", weight: float = 1.0) -> Variant:
    return Variant(name="stable", instance_type=kind, weight=weight)


def _canary(weight: float) -> Variant:
    return Variant(name=CANARY, instance_type="ml.c5.large", weight=weight)


def _project(folder: Path, *variants: Variant, scaled: tuple[str, ...] = (), more: str = "") -> Project:
    (folder / "traceship.toml").write_text(f'[endpoint]\ninstance_type = "ml.c5.large"\n{more}')
    account = type("WithEndpoint", (Account,), {"variants": variants, "scaled": scaled})
    project: Project = account(settings_path=folder / "traceship.toml", stage=None)
    return project


def test_a_first_deploy_has_nothing_to_compare(tmp_path: Path) -> None:
    """There is no endpoint yet."""
    check_update(_project(tmp_path), (_stable(),))


def test_another_type_is_refused_while_the_variant_is_scaled(tmp_path: Path) -> None:
    """With the way in two deploys; without a scalable target it is one."""
    scaled = _project(tmp_path, _stable(), scaled=("stable",))

    with pytest.raises(ScaledTypeChanges, match=r"from ml\.c5\.large to ml\.c5\.xlarge") as refused:
        check_update(scaled, (_stable("ml.c5.xlarge"),))

    assert "enabled = false in [endpoint.scaling]" in refused.value.fix
    check_update(scaled, (_stable(),))
    check_update(_project(tmp_path, _stable()), (_stable("ml.c5.xlarge"),))


def test_a_canary_with_all_the_traffic_is_not_taken_out(tmp_path: Path) -> None:
    """The update keeps the release's weight, which is 0: nobody would be answered."""
    shifted = _project(tmp_path, _stable(weight=0), _canary(1))

    with pytest.raises(NoTrafficLeft, match="no request would reach") as refused:
        check_update(shifted, (_stable(),))

    assert "then take the canary out" in refused.value.fix
    check_update(shifted, (_stable(), _canary(0)))


def test_the_next_canary_does_not_inherit_the_traffic_of_the_last(tmp_path: Path) -> None:
    """It has a name of its own, so that taking the last one out is taking its traffic out."""
    shifted = _project(tmp_path, _stable(weight=0), _canary(1))
    another = Variant(name="canary-efefefefefef", instance_type="ml.c5.large", weight=0)

    with pytest.raises(NoTrafficLeft):
        check_update(shifted, (_stable(), another))

    check_update(_project(tmp_path, _stable(), _canary(0)), (_stable(), another))


def test_what_was_deployed_is_read_from_the_template(tmp_path: Path) -> None:
    """Names, types and first weights."""
    row = {"VariantName": "stable", "InstanceType": "ml.c5.large", "InitialVariantWeight": 1}
    config = {"Type": "AWS::SageMaker::EndpointConfig", "Properties": {"ProductionVariants": [row]}}
    (tmp_path / "s.template.json").write_text(json.dumps({"Resources": {"Config": config}}))

    assert wanted_variants(tmp_path, "s") == (_stable(),)


FOUND = Deployed(status="InService", config="new", instances={"stable": (2, 2), CANARY: (1, 1)})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"config": "old"}, "InService with old, asked for was new"),
        ({"status": "Failed"}, "Failed with new"),
        ({"instances": {"stable": (2, 2)}}, f"it has stable, asked for was stable, {CANARY}"),
        ({"instances": {**FOUND.instances, "x": (1, 1)}}, "it has canary-cdcdcdcdcdcd, stable, x"),
        ({"instances": {"stable": (1, 2), CANARY: (1, 1)}}, "stable has 1 of 2"),
    ],
)
def test_a_deploy_that_did_not_arrive_is_an_error(change: dict[str, Any], why: str) -> None:
    """CloudFormation said yes; SageMaker can go back to the old configuration by itself."""
    wanted = (_stable(), _canary(0))
    compare("e", FOUND, asked="new", wanted=wanted)

    with pytest.raises(DeployIncomplete) as refused:
        compare("e", Deployed(**{**vars(FOUND), **change}), asked="new", wanted=wanted)

    assert why in refused.value.why
    assert refused.value.exit_code == 1


def test_a_canary_has_a_lock_of_its_own(tmp_path: Path) -> None:
    """Beside the release's, where the settings say; without a canary there is none to write."""
    plain = _project(tmp_path)

    with pytest.raises(NoCanary, match="has no canary"):
        plain.for_canary()
    assert plain.canary_lock() is None

    project = _project(tmp_path, more="[endpoint.canary]\n")
    assert project.for_canary().lock_path == tmp_path / "release.canary.lock.json"
    assert project.lock_path == tmp_path / "release.lock.json"
    with pytest.raises(CanaryLockMissing):
        project.canary_lock()
