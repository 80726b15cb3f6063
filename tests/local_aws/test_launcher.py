"""The launcher starts one server per state folder, finds it again, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws import launcher, names, processes
from local_aws.conformance import self_check
from local_aws.errors import (
    AlreadyRunning,
    BusyState,
    LocalAwsNotInstalled,
    LocalAwsNotRunning,
    LocalAwsUnhealthy,
    PortInUse,
    SelfCheckFailed,
    StateNotWritable,
)
from local_aws.launcher import CHECKOUT, LocalAws


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state folder whose server, if any, is gone after the test."""
    yield tmp_path / "state"
    launcher.down(tmp_path / "state")
    assert processes.belonging_to(tmp_path / "state") == []


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def child_of(state: Path) -> subprocess.Popen[bytes]:
    """A process as the server starts them: it carries the state folder in its environment."""
    return subprocess.Popen(["sleep", "600"], env={**os.environ, names.ENV_STATE: str(state.resolve())})


def test_up_twice_is_one_server(aws: LocalAws) -> None:
    """A second ``up`` finds the first one's server and starts nothing."""
    again = launcher.up(aws.state)

    assert again == aws
    assert launcher.status(aws.state) == aws
    assert launcher.require(aws.state) == aws


def test_state_survives_down_and_up(state: Path) -> None:
    """Objects are there again after a restart, on the same port; ``down`` ends every process."""
    first = launcher.up(state)
    s3 = first.client("s3")
    s3.create_bucket(Bucket="kept")
    s3.put_object(Bucket="kept", Key="a/b", Body=b"content")

    assert launcher.down(state)
    assert launcher.status(state) is None
    assert processes.belonging_to(state) == []
    second = launcher.up(state)

    assert second.port == first.port
    assert second.client("s3").get_object(Bucket="kept", Key="a/b")["Body"].read() == b"content"


def test_down_without_a_server_does_nothing(state: Path) -> None:
    """``down`` is idempotent."""
    assert not launcher.down(state)
    assert not state.exists()


def test_down_ends_what_a_killed_server_left(state: Path) -> None:
    """A replica whose server was killed is found by its environment and ended."""
    server = launcher.up(state)
    orphan = child_of(state)
    os.kill(server.pid, signal.SIGKILL)

    assert launcher.down(state)

    assert orphan.wait(10) == -signal.SIGTERM
    assert processes.belonging_to(state) == []


def test_a_process_that_ignores_the_request_is_killed(state: Path) -> None:
    """After the grace period there is no asking any more."""
    state.mkdir()
    stubborn = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import signal;signal.signal(15, signal.SIG_IGN);print(flush=True);signal.pause()",
        ],
        env={**os.environ, names.ENV_STATE: str(state.resolve())},
        stdout=subprocess.PIPE,
    )
    assert stubborn.stdout is not None
    stubborn.stdout.readline()

    processes.end([stubborn.pid], grace_seconds=0.2)

    assert stubborn.wait(10) == -signal.SIGKILL
    stubborn.stdout.close()


def test_a_reused_process_id_is_never_signalled(state: Path) -> None:
    """A record that names a stranger's process means nothing without the lock."""
    stranger = subprocess.Popen(["sleep", "600"])
    state.mkdir()
    names.record(state).write_text(json.dumps({"pid": stranger.pid, "port": 1}))
    names.lock(state).touch()

    stopped = launcher.down(state)

    assert not stopped
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_only_loopback_and_only_one_port_is_opened(aws: LocalAws) -> None:
    """Nobody outside this machine reaches the server, and no second service listens."""
    sockets = {str(link.readlink()) for link in Path(f"/proc/{aws.pid}/fd").iterdir() if link.is_symlink()}
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{aws.pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                listening.append(fields[1])

    assert listening == [f"0100007F:{aws.port:04X}"]


def test_environment_keeps_real_accounts_out(aws: LocalAws) -> None:
    """Clients get this endpoint, these keys and no profile, whatever was set before."""
    environ = {"AWS_PROFILE": "production", "AWS_ENDPOINT_URL_S3": "https://elsewhere.example", "HOME": "/h"}

    aws.apply_to(environ)

    assert "AWS_PROFILE" not in environ
    assert "AWS_ENDPOINT_URL_S3" not in environ
    assert environ["HOME"] == "/h"
    assert environ["AWS_ENDPOINT_URL"] == f"http://localhost:{aws.port}"
    assert environ["CDK_DEFAULT_ACCOUNT"] == "000000000000"
    assert not Path(environ["AWS_CONFIG_FILE"]).exists()
    assert Path(environ["CDK_HOME"]).is_relative_to(aws.state)


def test_a_client_ignores_the_profile_of_the_environment(
    aws: LocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile that does not exist on this machine does not disturb the local AWS."""
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    launcher._client.cache_clear()  # a client made before would prove nothing

    identity = aws.client("sts").get_caller_identity()

    assert identity["Account"] == names.ACCOUNT


def test_require_says_how_to_start_it(state: Path) -> None:
    """No server: the error names the command that starts one."""
    with pytest.raises(LocalAwsNotRunning) as raised:
        launcher.require(state)

    assert "traceship local up" in raised.value.fix


def test_missing_environment_is_named(state: Path) -> None:
    """Without the server's own Python environment the fix is the set-up."""
    with pytest.raises(LocalAwsNotInstalled) as raised:
        launcher.up(state, interpreter=state / "no-python")

    assert "make setup" in raised.value.fix


def test_a_port_in_use_is_a_conflict(state: Path) -> None:
    """The port that was asked for is never shared; exit code 5."""
    with socket.socket() as taken:
        taken.bind((names.LOOPBACK, 0))
        taken.listen()
        with pytest.raises(PortInUse) as raised:
            launcher.up(state, port=taken.getsockname()[1])

    assert raised.value.exit_code == 5


def test_another_port_than_the_running_one_is_a_conflict(aws: LocalAws) -> None:
    """One state folder has one server; exit code 5."""
    with pytest.raises(AlreadyRunning) as raised:
        launcher.up(aws.state, port=aws.port + 1)

    assert raised.value.exit_code == 5


def test_two_launchers_do_not_work_on_one_folder(state: Path) -> None:
    """While one command starts or stops the server, another one is told to wait."""
    with launcher._exclusive(state), pytest.raises(BusyState):
        launcher.up(state)


def test_a_state_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file in the folder's place is an error before anything starts."""
    (tmp_path / "file").touch()

    with pytest.raises(StateNotWritable) as raised:
        launcher.up(tmp_path / "file" / "state")

    assert "file" in raised.value.what


def test_a_server_that_ends_at_once_shows_its_log(state: Path, tmp_path: Path) -> None:
    """The reason is in the error, not only in a file."""
    broken = script(tmp_path / "python", "echo cannot import ministack; exit 7")

    with pytest.raises(LocalAwsUnhealthy) as raised:
        launcher.up(state, interpreter=broken)

    assert "exit code 7" in raised.value.why
    assert "cannot import ministack" in raised.value.why


def test_interrupting_the_start_leaves_nothing_running(state: Path, tmp_path: Path) -> None:
    """Ctrl-C while ``up`` waits ends the half-started server too."""
    started = tmp_path / "started"
    os.mkfifo(started)
    silent = script(tmp_path / "python", f"echo > {started}; exec sleep 600")
    program = (
        "from pathlib import Path; from local_aws import launcher;"
        f"launcher.up(Path({str(state)!r}), interpreter=Path({str(silent)!r}))"
    )
    command = subprocess.Popen([sys.executable, "-c", program], cwd=CHECKOUT, stderr=subprocess.PIPE)
    started.read_text()

    command.send_signal(signal.SIGINT)
    _, errors = command.communicate(timeout=30)

    assert b"KeyboardInterrupt" in errors
    assert processes.belonging_to(state.resolve()) == []


class LenientClients:
    """S3 as some emulators have it: every upload is accepted."""

    def client(self, _service: str, /) -> Any:
        return self

    def __getattr__(self, _operation: str) -> Any:
        return lambda **_: {}


def test_an_emulator_that_accepts_wrong_digests_is_refused() -> None:
    """The self-check fails loudly; exit code 3."""
    with pytest.raises(SelfCheckFailed) as raised:
        self_check(LenientClients())

    assert raised.value.exit_code == 3


def test_the_self_check_leaves_no_bucket(aws: LocalAws) -> None:
    """It ran at the start, and nothing of it is left."""
    buckets = [bucket["Name"] for bucket in aws.client("s3").list_buckets()["Buckets"]]

    assert "traceship-self-check" not in buckets


def test_ready_names_the_process(aws: LocalAws) -> None:
    """The launcher believes a port only if the process that it started answers on it."""
    assert launcher._answers_as(aws.pid, aws.port)
    assert not launcher._answers_as(aws.pid + 1, aws.port)


def test_a_missing_bucket_is_an_error_as_on_aws(aws: LocalAws) -> None:
    """The clients really talk to the server."""
    with pytest.raises(ClientError, match="NoSuchBucket"):
        aws.client("s3").get_object(Bucket="never-made", Key="x")


def test_up_is_quick(state: Path) -> None:
    """A start from nothing, self-check included, takes seconds, not a coffee."""
    began = time.monotonic()

    launcher.up(state)

    assert time.monotonic() - began < 15
