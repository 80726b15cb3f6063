"""The real CDK CLI bootstraps, deploys and destroys the stacks that need no release."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.names import FOUNDATION
from local_aws import launcher, names
from local_aws.conformance import inventory, tracebacks
from local_aws.launcher import CHECKOUT, LocalAws

PROJECT = "foundation"
STACKS = [f"{PROJECT}-{role}" for role in FOUNDATION]
SETTINGS = f"[project]\nname = {PROJECT!r}\nretain_data = false\n"
SETTINGS += "[compile.aws]\nrequests = true\nreverify_hour = 3\n"

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def own_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """A server that nobody else's resources are in."""
    state = tmp_path_factory.mktemp("cdk") / "state"
    yield launcher.up(state)
    launcher.down(state)


class Cdk:
    """The CLI of the checkout, pointed at one local AWS."""

    def __init__(self, aws: LocalAws, folder: Path) -> None:
        self.environment = dict(os.environ)
        aws.apply_to(self.environment)
        self.environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{self.environment['PATH']}"
        self.settings = folder / "traceship.toml"
        self.assembly = folder / "assembly"

    def run(self, *arguments: str) -> str:
        command = [str(CHECKOUT / "node_modules" / ".bin" / "cdk"), *arguments, "--no-notices"]
        done = subprocess.run(
            command, cwd=CHECKOUT, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def synth(self, settings: str = SETTINGS) -> None:
        self.settings.write_text(settings)
        where = ("-c", f"settings={self.settings}", "-c", "foundation=true")
        self.run("synth", "-q", "-o", str(self.assembly), *where)

    def deploy(self) -> str:
        return self.run("deploy", "--all", "--require-approval", "never", "--app", str(self.assembly))

    def destroy(self) -> str:
        return self.run("destroy", "--all", "--force", "--app", str(self.assembly))

    def templates(self) -> dict[str, dict[str, object]]:
        files = {name: self.assembly / f"{name}.template.json" for name in STACKS}
        return {name: json.loads(file.read_text()) for name, file in files.items()}


def test_foundation_from_bootstrap_to_destroy(own_aws: LocalAws, tmp_path: Path) -> None:
    """Every resource is verified by its own API, a second deploy changes nothing, destroy leaves nothing."""
    cdk = Cdk(own_aws, tmp_path)
    cdk.synth()

    cdk.run("bootstrap", f"aws://{names.ACCOUNT}/{names.REGION}", "--app", str(cdk.assembly))
    cdk.deploy()

    assert inventory(own_aws, STACKS, cdk.templates()).problems == ()
    assert cdk.deploy().count("(no changes)") == len(STACKS)

    cdk.destroy()

    statuses = {
        stack["StackName"]: stack["StackStatus"]
        for stack in own_aws.client("cloudformation").list_stacks()["StackSummaries"]
    }
    assert [statuses[name] for name in STACKS] == ["DELETE_COMPLETE"] * len(STACKS)
    assert [vpc["IsDefault"] for vpc in own_aws.client("ec2").describe_vpcs()["Vpcs"]] == [True]
    assert own_aws.client("batch").describe_job_queues()["jobQueues"] == []
    buckets = [bucket["Name"] for bucket in own_aws.client("s3").list_buckets()["Buckets"]]
    assert [name for name in buckets if not name.startswith("cdk-")] == []
    assert tracebacks(own_aws.log) == []
