"""The compile stack is found by its outputs, and what is wrong with it is said before anything is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from artifact.release import PLACEHOLDER_DIGEST
from cli.cloud import CompileImageUnknown, CompileStackAbsent, find_deployment
from cli.project import Project

ACCOUNT = "123456789012"
MACHINE = f"arn:aws:states:eu-west-1:{ACCOUNT}:stateMachine:traceship-compile"
OUTPUTS = {
    "StateMachineArn": MACHINE,
    "JobQueues": "spot-first,on-demand",
    "JobLogs": "/traceship/traceship/compile",
    "CompileImage": f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/traceship/compile@sha256:{'a' * 64}",
}


class Account(Project):
    """A project whose account holds one compile stack, or none."""

    outputs: dict[str, str] | None = None

    @property
    def account(self) -> str:  # type: ignore[override]
        return ACCOUNT

    def client(self, service: str) -> Any:
        return self if service == "cloudformation" else object()

    def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803 - boto3's spelling
        if self.outputs is None:
            why = {"Code": "ValidationError", "Message": f"Stack with id {StackName} does not exist"}
            raise ClientError({"Error": why}, "DescribeStacks")
        found = [{"OutputKey": name, "OutputValue": value} for name, value in self.outputs.items()]
        return {"Stacks": [{"Outputs": found}]}


def _project(folder: Path, outputs: dict[str, str] | None) -> Project:
    (folder / "traceship.toml").write_text('[project]\nregion = "eu-west-1"\n[compile]\nrunner = "batch"\n')
    account = type("WithOutputs", (Account,), {"outputs": outputs})
    project: Project = account(settings_path=folder / "traceship.toml", stage=None)
    return project


@pytest.fixture(autouse=True)
def real_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """No local AWS."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)


def test_a_deployed_stack_is_found_by_its_outputs(tmp_path: Path) -> None:
    """With the project's bucket, and the image's digest as what shapes an artifact there."""
    found = find_deployment(_project(tmp_path, OUTPUTS))

    assert found.bucket == f"traceship-artifacts-{ACCOUNT}-eu-west-1"
    assert (found.machine, found.log_group) == (MACHINE, "/traceship/traceship/compile")
    assert found.queues == ("spot-first", "on-demand")
    assert found.environment.versions == {"image": f"sha256:{'a' * 64}"}


def test_without_a_stack_the_error_says_how_to_deploy_it(tmp_path: Path) -> None:
    """Exit code 2: the settings ask for a runner that is not there."""
    with pytest.raises(CompileStackAbsent, match="there is none in 123456789012, eu-west-1") as refused:
        find_deployment(_project(tmp_path, None))

    assert "traceship deploy --foundation" in refused.value.fix
    assert refused.value.exit_code == 2


def test_a_stack_of_an_older_version_is_to_be_deployed_again(tmp_path: Path) -> None:
    """It lacks what a client must know."""
    with pytest.raises(CompileStackAbsent, match="no output JobQueues"):
        find_deployment(_project(tmp_path, {"StateMachineArn": MACHINE}))


def test_a_placeholder_is_no_image_to_run(tmp_path: Path) -> None:
    """Jobs would wait for an image that nobody pushed."""
    placeholder = f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/traceship/compile@sha256:{PLACEHOLDER_DIGEST}"
    with pytest.raises(CompileImageUnknown):
        find_deployment(_project(tmp_path, {**OUTPUTS, "CompileImage": placeholder}))
