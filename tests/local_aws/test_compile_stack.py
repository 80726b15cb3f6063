"""The compile stack with all that the settings can ask of it, deployed by the real CDK CLI, at work."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local_aws import launcher, names, processes
from local_aws.launcher import LocalAws
from tests.kit.command import Answer, traceship
from tests.kit.models import tiny_model
from tests.local_aws.test_cdk import PROJECT, STACKS, Cdk

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

BUCKET = f"{PROJECT}-artifacts-{names.ACCOUNT}-{names.REGION}"
SETTINGS = f"""\
[project]
name = {PROJECT!r}
retain_data = false
[compile.aws]
build_image = true
requests = true
reverify_hour = 3
"""
ENGINE = """\
#!/bin/sh
"exec" '{python}' "$0" "$@"
import json, sys
with open({calls!r}, "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
    if "--password-stdin" in sys.argv:
        sys.stdin.read()
sys.exit(1 if sys.argv[1] == "inspect" else 0)
"""
"""Stands in for docker: records what the CDK asks for; there is no image yet, and all else works."""


@dataclass(frozen=True)
class World:
    aws: LocalAws
    calls: list[list[str]]
    templates: dict[str, dict[str, Any]]
    settings: Path

    def outputs(self) -> dict[str, str]:
        described = self.aws.client("cloudformation").describe_stacks(StackName=f"{PROJECT}-compile")
        return {o["OutputKey"]: o["OutputValue"] for o in described["Stacks"][0]["Outputs"]}

    def put(self, key: str, body: bytes) -> None:
        self.aws.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body)

    def get(self, key: str) -> Any:
        """The object as JSON, once it is there."""

        def look() -> Any:
            keys = {row["Key"] for row in self.listed(key)}
            return self.aws.client("s3").get_object(Bucket=BUCKET, Key=key) if key in keys else None

        return json.loads(_until(look)["Body"].read())

    def listed(self, prefix: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (
            self.aws.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        )
        return found

    def ended(self, execution: str) -> str:
        """How an execution ended."""
        states = self.aws.client("stepfunctions")

        def look() -> Any:
            status = states.describe_execution(executionArn=execution)["status"]
            return None if status == "RUNNING" else status

        return str(_until(look))


def _until(look: Callable[[], Any]) -> Any:
    """What ``look`` finds, once it does."""
    pause = threading.Event()
    for _ in range(1500):
        if (found := look()) is not None:
            return found
        pause.wait(0.2)  # neither S3 nor Step Functions tells when something happened
    raise AssertionError("it never happened")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("compile-stack")
    calls, engine = folder / "calls.jsonl", folder / "docker"
    engine.write_text(ENGINE.format(python=sys.executable, calls=str(calls)))
    engine.chmod(0o755)
    aws = launcher.up(folder / "state")
    try:
        cdk = Cdk(aws, folder)
        cdk.environment["CDK_DOCKER"] = str(engine)
        cdk.synth(SETTINGS)
        assert not calls.exists(), "synth needs no engine"
        cdk.run("bootstrap", f"aws://{names.ACCOUNT}/{names.REGION}", "--app", str(cdk.assembly))
        cdk.deploy()
        seen = [json.loads(line) for line in calls.read_text().splitlines()]
        yield World(aws, seen, cdk.templates(), cdk.settings)
    finally:
        launcher.down(folder / "state")


def test_the_image_is_built_from_the_dockerfile_and_pushed_under_its_hash(world: World) -> None:
    """The job definition names the very tag that was pushed; the engine saw two folders and no more."""
    (build,) = (call for call in world.calls if call[0] == "build")
    (push,) = (call for call in world.calls if call[0] == "push")

    assert build[build.index("--file") + 1] == "compile/Dockerfile"
    assert build[build.index("--platform") + 1] == "linux/amd64"
    assert push[-1] == world.outputs()["CompileImage"]
    assert "/cdk-" in push[-1]
    definitions = world.aws.client("batch").describe_job_definitions()["jobDefinitions"]
    images = {d["containerProperties"]["image"] for d in definitions if d["status"] == "ACTIVE"}
    assert images == {push[-1]}
    assert [call[0] for call in world.calls if call[0] in ("login", "build", "tag", "push")][-1] == "push"


def test_a_malformed_request_is_refused_beside_it(world: World) -> None:
    """S3, EventBridge, state machine and job; the reason lies there and no row's machine ran."""
    world.put(
        "requests/bad.json", b'{"schema": "traceship.compile-request/1", "rows": {"a": {"debug": true}}}'
    )

    answer = world.get("requests/bad.json.answer")

    assert (answer["status"], answer["id"]) == ("refused", "asked-invalid")
    assert "debug" in answer["why"]
    machine = world.outputs()["StateMachineArn"]
    assert world.aws.client("stepfunctions").list_executions(stateMachineArn=machine)["executions"] == []


def test_a_request_is_compiled_and_its_answer_starts_nothing(world: World, tmp_path: Path) -> None:
    """The artifact lies where the answer says; the attempt and the memory that sufficed are noted."""
    model = tiny_model(tmp_path / "tiny")
    for path in model.iterdir():
        world.put(f"models/tiny/{path.name}", path.read_bytes())
    row = {"model": f"s3://{BUCKET}/models/tiny", "task": "feature-extraction", "target": "cpu"}
    request = {"schema": "traceship.compile-request/1", "rows": {"tiny": {**row, "bucket": ["1x16"]}}}

    world.put("requests/good.json", json.dumps(request).encode())
    answer = world.get("requests/good.json.answer")

    assert answer["status"] == "taken", answer
    assert world.ended(answer["execution"]) == "SUCCEEDED"
    place = answer["rows"]["tiny"]["place"].removeprefix(f"s3://{BUCKET}/")
    assert f"{place}/manifest.json" in {row["Key"] for row in world.listed(f"{place}/")}
    (attempt,) = world.listed(f"compiled/attempts/{place.removeprefix('compiled/')}/")
    noted = world.get(attempt["Key"])
    assert (noted["status"], noted["memory_gib"]) == ("done", 32)
    (memory,) = world.listed("compiled/memory/")
    assert world.get(memory["Key"])["gib"] == 32
    states = world.aws.client("stepfunctions")
    machines = {m["name"]: m["stateMachineArn"] for m in states.list_state_machines()["stateMachines"]}
    taken = states.list_executions(stateMachineArn=machines[f"{PROJECT}-requests"])["executions"]
    assert len(taken) == len([row for row in world.listed("requests/") if row["Key"].endswith(".json")])


def test_a_row_whose_child_is_killed_for_memory_is_done_with_the_next_size(
    world: World, tmp_path: Path
) -> None:
    """The job's own process lives and asks for more; that is no failure of the row, and 64 GiB are noted."""
    for path in tiny_model(tmp_path / "large").iterdir():
        world.put(f"models/large/{path.name}", path.read_bytes())
    words = ["--model", f"s3://{BUCKET}/models/large", "--task", "feature-extraction", "--target", "cpu"]
    words += ["--bucket", "1x16", "--out", f"s3://{BUCKET}/compiled/large", "--json"]
    words += ["--remember", f"s3://{BUCKET}/compiled/memory-of-large.json"]
    rows = json.dumps({"items": [{"name": "large", "arguments": words, "parts": []}]})
    states = world.aws.client("stepfunctions")

    run = states.start_execution(stateMachineArn=world.outputs()["StateMachineArn"], input=rows)
    os.kill(_until(lambda: _tracing_with_32_gib(world.aws)), signal.SIGKILL)

    assert world.ended(run["executionArn"]) == "SUCCEEDED"
    assert "compiled/large/manifest.json" in {row["Key"] for row in world.listed("compiled/large/")}
    notes = [world.get(row["Key"]) for row in world.listed("compiled/attempts/large/")]
    told = [(n["memory_gib"], n["status"], n["exit_code"], n["lasting"]) for n in notes]
    assert sorted(told) == [(32, "failed", 137, False), (64, "done", None, False)]
    assert world.get("compiled/memory-of-large.json")["gib"] == 64


def _tracing_with_32_gib(aws: LocalAws) -> int | None:
    """The child that traces in this server's job with the smallest size, once there is one."""
    own = processes.belonging_to(aws.state)
    for pid in set(own).intersection(processes.with_variable("TRACESHIP_MEMORY_GIB", "32")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if b"compile.trace" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                return pid
    return None


def test_the_daily_look_succeeds_on_what_was_published_and_fails_on_what_changed(world: World) -> None:
    """Started as the schedule would start it: its target, its input."""
    (schedule,) = world.aws.client("scheduler").list_schedules()["Schedules"]
    target = world.aws.client("scheduler").get_schedule(Name=schedule["Name"])["Target"]
    states = world.aws.client("stepfunctions")

    def run() -> str:
        started = states.start_execution(stateMachineArn=target["Arn"], input=target["Input"])
        return world.ended(started["executionArn"])

    assert run() == "SUCCEEDED"
    world.put(f"releases/x/{'a' * 64}/manifest.json", b"not what the digest says")
    _no_wait_between_attempts(states, target["Arn"])
    assert run() == "FAILED"


def _no_wait_between_attempts(states: Any, machine: str) -> None:
    """The minute between two attempts is for Spot, and nothing that this test is about."""
    definition = json.loads(states.describe_state_machine(stateMachineArn=machine)["definition"])
    retries = definition["States"]["Reverify"]["Retry"]
    (retry,) = (retry for retry in retries if retry["ErrorEquals"] == ["States.TaskFailed"])
    assert (retry["MaxAttempts"], retry["IntervalSeconds"]) == (1, 60)
    retry["IntervalSeconds"] = 1
    states.update_state_machine(stateMachineArn=machine, definition=json.dumps(definition))


def test_what_is_given_up_is_listed_and_cleared_by_the_command(world: World) -> None:
    """With the reason; cleared it is gone, and clearing it again says so."""
    failed = {"schema": "traceship.attempt/1", "status": "failed", "memory_gib": 32, "last_memory": False}
    for job in "abc":
        note = {**failed, "job": job, "lasting": True, "what": "a bucket is too long", "why": "64 positions"}
        world.put(f"compiled/attempts/feed/{job}.json", json.dumps(note).encode())

    def poison(*words: str) -> Answer:
        settings = ["--settings", str(world.settings)]
        return traceship(
            *settings, "poison", *words, "--json", cwd=world.settings.parent, env=world.aws.environment()
        )

    (listed,) = poison().json
    assert (listed["key"], listed["failures"], listed["last"]["why"]) == ("feed", 3, "64 positions")
    assert poison("--clear", "feed").json == []
    assert poison("--clear", "feed").error["id"] == "nothing-given-up"


def test_every_stack_was_deployed(world: World) -> None:
    """A deploy that skipped one would leave the rest of this file with nothing to look at."""
    assert set(world.templates) == set(STACKS)
