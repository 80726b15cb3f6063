"""Mistakes around a deploy: a clear error with its exit code, and nothing changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from artifact.canonical import encode
from tests.e2e.conftest import Demo
from tests.kit.command import traceship

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


@pytest.fixture
def lock(demo: Demo) -> Iterator[dict[str, Any]]:
    """The demo's lock as data; the file is put back after the test."""
    path = demo.folder / "release.lock.json"
    original = path.read_bytes()
    yield json.loads(original)
    path.write_bytes(original)


def _stack_changes(demo: Demo) -> list[Any]:
    cloudformation = demo.aws.client("cloudformation")
    stacks = cloudformation.describe_stacks()["Stacks"]
    return sorted((s["StackName"], s["StackStatus"], str(s.get("LastUpdatedTime"))) for s in stacks)


def test_a_lock_that_names_a_release_the_bucket_does_not_hold_stops_the_deploy(
    demo: Demo, lock: dict[str, Any]
) -> None:
    """Exit code 2 before anything is synthesised; no stack is touched."""
    before = _stack_changes(demo)
    lock["digest"] = "1" * 64
    lock["location"]["prefix"] = f"releases/demo/{'1' * 64}"
    (demo.folder / "release.lock.json").write_bytes(encode(lock))

    answer = demo.command("deploy", "--json")

    assert (answer.code, answer.error["id"]) == (2, "release-absent")
    assert "traceship ship" in answer.error["fix"]
    assert _stack_changes(demo) == before


def test_a_release_that_was_changed_in_the_bucket_stops_the_deploy(demo: Demo) -> None:
    """Exit code 3: the manifest in S3 must have the digest of the lock."""
    lock = json.loads((demo.folder / "release.lock.json").read_text())
    s3, where = demo.aws.client("s3"), lock["location"]
    key = f"{where['prefix']}/manifest.json"
    original = s3.get_object(Bucket=where["bucket"], Key=key)["Body"].read()
    s3.put_object(Bucket=where["bucket"], Key=key, Body=original.replace(b"mean", b"none"))
    try:
        answer = demo.command("deploy", "--json")
    finally:
        s3.put_object(Bucket=where["bucket"], Key=key, Body=original)

    assert (answer.code, answer.error["id"]) == (3, "release-damaged")


def test_a_lock_that_was_edited_by_hand_is_refused(demo: Demo, lock: dict[str, Any]) -> None:
    """Exit code 2, and the fix is git or a new ship."""
    (demo.folder / "release.lock.json").write_text(json.dumps({**lock, "extra": 1}))

    answer = demo.command("deploy", "--json")

    assert (answer.code, answer.error["id"]) == (2, "lock-invalid")


def test_a_stack_that_the_settings_do_not_describe_is_named(demo: Demo) -> None:
    """Exit code 2 with the names that exist."""
    answer = demo.command("deploy", "flet", "--json")

    assert (answer.code, answer.error["id"]) == (2, "unknown-stack")
    assert "demo-fleet" in answer.error["why"]


def test_without_the_local_aws_every_command_says_how_to_start_it(demo: Demo, tmp_path: Path) -> None:
    """Nothing listens on the endpoint that the environment names."""
    env = {**demo.aws.environment(), "AWS_ENDPOINT_URL": "http://localhost:1"}
    settings = ("--settings", demo.folder / "traceship.toml")

    for command in (("status",), ("ship",), ("deploy",), ("invoke", "text"), ("destroy", "--yes")):
        answer = traceship(*settings, *command, "--json", cwd=tmp_path, env=env)
        assert (answer.code, answer.error["id"]) == (1, "aws-unreachable"), command
        assert "traceship local up" in answer.error["fix"]


def test_without_credentials_the_exit_code_is_4(demo: Demo, tmp_path: Path) -> None:
    """A real account's endpoint is never reached without them."""
    settings = ("--settings", demo.folder / "traceship.toml")
    nowhere = str(tmp_path / "none")
    env = {"AWS_CONFIG_FILE": nowhere, "AWS_SHARED_CREDENTIALS_FILE": nowhere}

    answer = traceship(*settings, "status", "--json", cwd=tmp_path, env=env)

    assert (answer.code, answer.error["id"]) == (4, "aws-denied")
