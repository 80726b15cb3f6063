"""The endpoint stack's types: a green deploy means an answering server, a red one says why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.local_aws import fleet_stack
from tests.local_aws.emulator import Emulator, deployed, running, start, until


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with running(tmp_path_factory.mktemp("aws")) as emulator:
        yield emulator


def create(emulator: Emulator, name: str, digest: str, *, published: str | None = None) -> tuple[str, str]:
    release = emulator.publish(published or digest)
    stacks = emulator.client("cloudformation")
    stacks.create_stack(StackName=name, TemplateBody=template(release, digest, name))
    return deployed(stacks, name)


def update(emulator: Emulator, name: str, digest: str, *, published: str | None = None) -> tuple[str, str]:
    release = emulator.publish(published or digest)
    stacks = emulator.client("cloudformation")
    stacks.update_stack(StackName=name, TemplateBody=template(release, digest, name))
    return deployed(stacks, name)


def template(release: str, digest: str, name: str) -> str:
    return json.dumps(fleet_stack.endpoint(release, digest, name=name))


def answer(emulator: Emulator, name: str) -> Any:
    runtime = emulator.client("sagemaker-runtime")
    return json.loads(runtime.invoke_endpoint(EndpointName=name, Body=b"{}")["Body"].read())["digest"]


def test_a_stack_is_complete_when_its_endpoint_answers(emulator: Emulator) -> None:
    """References, tags and the scalable target are there; deletion leaves no process and no record."""
    status, reasons = create(emulator, "whole", "aaaa")

    stacks, control = emulator.client("cloudformation"), emulator.client("sagemaker")
    outputs = stacks.describe_stacks(StackName="whole")["Stacks"][0]["Outputs"]
    values = {one["OutputKey"]: one["OutputValue"] for one in outputs}
    endpoint = control.describe_endpoint(EndpointName="whole")
    scaling = emulator.client("application-autoscaling")
    (target,) = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    (policy,) = scaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
    assert (status, reasons) == ("CREATE_COMPLETE", "")
    assert answer(emulator, "whole") == "aaaa"
    assert values == {
        "Model": "arn:aws:sagemaker:us-east-1:000000000000:model/whole-aaaa",
        "Endpoint": "whole",
    }
    tags = {
        one["Key"]: one["Value"] for one in control.list_tags(ResourceArn=endpoint["EndpointArn"])["Tags"]
    }
    assert tags["team"] == "search"
    assert (target["ResourceId"], policy["ResourceId"]) == ("endpoint/whole/variant/stable",) * 2

    stacks.delete_stack(StackName="whole")
    until(lambda: not emulator.rows(), "the server ends")
    until(lambda: not control.list_endpoints()["Endpoints"], "the endpoint is forgotten")
    until(lambda: not control.list_models()["Models"], "the model is forgotten")
    assert scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"] == []


def test_a_bad_artifact_rolls_the_stack_back_with_the_reason(emulator: Emulator) -> None:
    """CREATE_FAILED carries the server's own words; nothing stays."""
    status, reasons = create(emulator, "bad", "beef", published="aaaa")

    assert status == "ROLLBACK_COMPLETE"
    assert "refused the artifact (exit 3): pinned beef, found aaaa" in reasons
    assert emulator.rows() == []
    assert emulator.client("sagemaker").list_endpoints()["Endpoints"] == []


def test_an_update_replaces_model_and_configuration_and_a_failed_one_changes_nothing(
    emulator: Emulator,
) -> None:
    """New digest, new names, old ones deleted; a refused digest leaves the old answer in place."""
    create(emulator, "moving", "aaaa")
    control = emulator.client("sagemaker")

    updated, _ = update(emulator, "moving", "bbbb")
    after_update = answer(emulator, "moving"), [one["ModelName"] for one in control.list_models()["Models"]]
    refused, reasons = update(emulator, "moving", "beef", published="bbbb")

    assert (updated, after_update) == ("UPDATE_COMPLETE", ("bbbb", ["moving-bbbb"]))
    assert refused == "UPDATE_ROLLBACK_COMPLETE"
    assert "kept its old configuration" in reasons
    assert answer(emulator, "moving") == "bbbb"
    assert control.describe_endpoint(EndpointName="moving")["EndpointConfigName"] == "moving-bbbb"
    assert [one["ModelName"] for one in control.list_models()["Models"]] == ["moving-bbbb"]


def test_endpoints_come_back_after_a_restart(tmp_path_factory: pytest.TempPathFactory) -> None:
    """State outlives the process, processes do not: new servers answer under the old name."""
    state = tmp_path_factory.mktemp("restart")
    with running(state) as first:
        create(first, "kept", "aaaa")
        old = {row["pid"] for row in first.rows()}
        first.stop()

        second = start(state, state / "python")
        try:
            assert answer(second, "kept") == "aaaa"
            assert not {row["pid"] for row in second.rows()} & old
        finally:
            second.stop()
