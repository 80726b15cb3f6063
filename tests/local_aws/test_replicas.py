"""Replicas are real processes: probed over HTTP, stopped in time, never orphaned."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.local_aws.emulator import CHECKOUT, INTERPRETER, running, until

SCRIPT = textwrap.dedent(
    """
    import http.server, os, signal, sys
    mode = sys.argv[1]
    if mode == "refuse":
        print("graphs/b1_s8.pt is not the file that was published"); sys.exit(3)
    if mode == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if mode == "silent":
        signal.pause()
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(500 if self.path == "/broken" else 200); self.end_headers()
        def log_message(self, *_): pass
    address = os.environ["TRACESHIP_HOST"], int(os.environ["SAGEMAKER_BIND_TO_PORT"])
    http.server.HTTPServer(address, Handler).serve_forever()
    """
)

DRIVER = """
import json, sys, threading
from pathlib import Path
from local_aws.extension import replicas as module
from local_aws.extension.registry import Server

state, python = Path(sys.argv[1]), sys.argv[2]
endpoint = "http://localhost:1"
server = Server(endpoint=endpoint, port=1, python=Path(python), state=state, checkout=Path.cwd())
replicas = module.Replicas(server)
foreign = {"TRACESHIP_MODEL_DIR": "/elsewhere", "TRACESHIP_HOST": "0.0.0.0", "SAGEMAKER_BIND_TO_PORT": "8080"}

def launch(mode, prepare=lambda replica: None, seconds=20.0, id="one"):
    serve = [python, str(state / "server.py"), mode]
    return replicas.start(module.Launch(
        kind="instance", id=id, owner="group", environment=foreign, serve=serve, prepare=prepare,
        startup_seconds=seconds,
    ))

def failure_of(replica):
    try:
        replica.wait_ready()
    except module.ReplicaFailed as failure:
        return str(failure)

def say(value):
    print(json.dumps(value), flush=True)
"""


@pytest.fixture
def world(tmp_path: Path) -> Path:
    (tmp_path / "server.py").write_text(SCRIPT)
    return tmp_path


def drive(world: Path, body: str) -> subprocess.Popen[str]:
    """Run lines against a ``Replicas`` in the interpreter of the local AWS, where it lives."""
    program = DRIVER + textwrap.dedent(body)
    return subprocess.Popen(
        [INTERPRETER, "-c", program, str(world), sys.executable],
        cwd=CHECKOUT, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def said(world: Path, body: str) -> list[str]:
    process = drive(world, body)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return output.splitlines()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_a_replica_serves_on_loopback_whatever_its_environment_says(world: Path) -> None:
    """Host, port and model folder are this machine's; a probe tells 200 from 500."""
    lines = said(
        world,
        """
        replica = launch("serve"); replica.wait_ready()
        say([replica.probe().state, replica.probe("/broken").code, replica.port != 8080])
        say(replica.environment["TRACESHIP_MODEL_DIR"] == str(replica.model_dir))
        replicas.close(); say([replica.state, replica.folder.joinpath("opt").exists(), replica.log.exists()])
        """,
    )

    assert lines == ['["healthy", "Target.ResponseCodeMismatch", true]', "true", '["stopped", false, true]']


def test_an_artifact_that_the_server_refuses_is_the_reason(world: Path) -> None:
    """Exit 3 is told apart, with the last line that the server printed."""
    lines = said(
        world,
        """
        replica = launch("refuse")
        say(failure_of(replica))
        say(replica.probe().state); replicas.close()
        """,
    )

    assert "the server refused the artifact (exit 3): graphs/b1_s8.pt is not the file" in lines[0]
    assert lines[1] == '"unhealthy"'


def test_a_server_that_never_answers_fails_in_time_and_is_ended(world: Path) -> None:
    """A start-up limit is kept, and the process does not stay."""
    lines = said(
        world,
        """
        replica = launch("silent", seconds=1.0)
        say(failure_of(replica))
        say(replica.pid); replicas.close()
        """,
    )

    assert "no 200 from /ping within 1 s" in lines[0]
    assert not is_alive(int(lines[1]))


def test_a_failed_preparation_starts_no_server(world: Path) -> None:
    """What fetch printed is the reason; serve never runs."""
    lines = said(
        world,
        """
        fetch = [python, "-c", "print('no such release'); raise SystemExit(1)"]
        replica = launch("serve", prepare=lambda one: one.run(fetch))
        say(failure_of(replica))
        say(replica.probe().state); replicas.close()
        """,
    )

    assert "(exit 1): no such release" in lines[0]
    assert lines[1] == '"unhealthy"'


def test_a_process_that_dies_is_unhealthy_at_once(world: Path) -> None:
    """Killed from outside, the replica is failed and says so."""
    lines = said(
        world,
        """
        import os, signal, time
        replica = launch("serve"); replica.wait_ready()
        os.kill(replica.pid, signal.SIGKILL)
        while replica.state == "serving": time.sleep(0.01)
        say([replica.state, replica.probe().state]); say(replica.reason); replicas.close()
        """,
    )

    assert lines[0] == '["failed", "unhealthy"]'
    assert "exit -9" in lines[1]


def test_a_server_that_ignores_the_stop_signal_is_killed(world: Path) -> None:
    """SIGTERM first, SIGKILL when the platform's patience is over."""
    lines = said(
        world,
        """
        module.serving.STOP_TIMEOUT_SECONDS = 0.3
        replica = launch("deaf"); replica.wait_ready(); say(replica.pid); replicas.close()
        say(replica.state)
        """,
    )

    assert not is_alive(int(lines[0]))
    assert lines[1] == '"stopped"'


def test_nothing_outlives_a_local_aws_that_is_killed(world: Path) -> None:
    """Even SIGKILL of the parent leaves no server behind, whichever thread started it."""
    process = drive(
        world,
        """
        def work():
            replica = launch("serve"); replica.wait_ready(); say(replica.pid)
        thread = threading.Thread(target=work); thread.start(); thread.join()
        threading.Event().wait()
        """,
    )
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    assert is_alive(pid)

    process.kill()
    process.communicate()

    until(lambda: not is_alive(pid), "the server ends with its parent")


def test_a_server_lives_on_when_the_thread_that_asked_for_it_ends(world: Path) -> None:
    """The kernel's death signal is tied to a thread; ours outlives every request."""
    lines = said(
        world,
        """
        import time
        thread = threading.Thread(target=lambda: launch("serve").wait_ready()); thread.start(); thread.join()
        time.sleep(0.2)
        say(replicas.get("one").probe().state); replicas.close()
        """,
    )

    assert lines == ['"healthy"']


def test_replicas_do_not_share_a_port(world: Path) -> None:
    """A port promised to a server that does not listen yet is not promised twice."""
    lines = said(
        world,
        """
        say(module.free_port({5, 6}, iter([5, 6, 5, 7]).__next__))
        started = [launch("serve", id=str(number)) for number in range(4)]
        for one in started: one.wait_ready()
        say(len({one.port for one in started})); replicas.close()
        say(replicas.rows())
        """,
    )

    assert lines == ["7", "4", "[]"]


def test_the_internal_route_lists_no_replica_of_an_empty_server(tmp_path: Path) -> None:
    """``/_traceship/replicas`` answers JSON from the start, and stopping leaves nothing."""
    with running(tmp_path / "state") as emulator:
        assert emulator.rows() == []
        assert emulator.process.poll() is None
    assert emulator.process.returncode == 0
