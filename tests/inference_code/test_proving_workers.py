"""Workers that fail while they are being proven: when the server starts, or in the place of another."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from pathlib import Path

import pytest
import uvloop

from inference_code.engine import Engine, Limits
from inference_code.load import verified
from inference_code.log import logger
from inference_code.workers.cores import Share
from inference_code.workers.pool import Pool
from tests.inference_code.running import CHECKOUT, running
from tests.inference_code.test_workers import await_that, ended, workers
from tests.kit.handmade import World

_ILL = """\
import sys
from pathlib import Path

if "inference_code.workers.program" in sys.orig_argv:
    from inference_code.graphs import Graphs

    well = Graphs.encode

    def encode(*given):
        if Path("ill").exists():
            raise RuntimeError("the device is ill")
        return well(*given)

    Graphs.encode = encode
"""
"""A worker whose graphs raise for as long as there is a file of that name."""

_ENDS = """\
import sys
import time
from pathlib import Path

if "serve" in sys.orig_argv:
    from inference_code.workers import pool

    proven = pool.selfcheck

    def selfcheck(model, runner):
        proven(model, runner)
        told = Path(f"end-{runner._worker.name}")
        if told.exists():
            told.unlink()
            runner._worker.end()
            time.sleep(0.5)

    pool.selfcheck = selfcheck
"""
"""A worker that ends right after its proof, and a server too busy to go on before it has noticed."""


def changed(folder: Path, code: str) -> dict[str, str]:
    """An environment in which the server and its workers run ``code`` first."""
    (folder / "sitecustomize.py").write_text(code, encoding="utf-8")
    return {"PYTHONPATH": f"{folder}:{CHECKOUT}"}


def test_a_graph_that_raises_at_the_start_is_a_proof_that_failed(world: World, tmp_path: Path) -> None:
    """Exit code 3 and a line with a way out, as for a wrong answer; no traceback of a mistake of ours."""
    (tmp_path / "ill").touch()
    with running(world.root, cwd=tmp_path, env=changed(tmp_path, _ILL)) as server:
        code = server.wait()
        refused = server.await_event("refused")
        raised = server.await_event("a graph raised an error")

    assert code == 3
    assert (refused["error"], refused["why"]) == ("graph-raised", "it raised RuntimeError")
    assert "the device is ill" in raised["trace"]
    assert not any("Traceback" in line["event"] for line in server.log)


def test_a_graph_that_raises_in_a_new_worker_is_tried_again(world: World, tmp_path: Path) -> None:
    """A device that is ill for a while must not cost its worker for good."""
    with running(world.root, cwd=tmp_path, env=changed(tmp_path, _ILL)) as server:
        server.await_ready()
        (pid,) = workers(server)
        (tmp_path / "ill").touch()
        os.kill(pid, signal.SIGKILL)
        missed = server.await_event("worker not replaced")
        (tmp_path / "ill").unlink()
        server.await_event("worker replaced")

        assert server.ask("w1").status == 200
    assert "RuntimeError" in missed["why"]


def test_a_worker_that_ends_while_others_are_proven_is_replaced(world: World, tmp_path: Path) -> None:
    """The server must not serve with fewer workers than it says, for as long as it lives."""
    (tmp_path / "end-1").touch()
    env = {**changed(tmp_path, _ENDS), "TRACESHIP_WORKERS": "2"}
    with running(world.root, cwd=tmp_path, env=env) as server:
        server.await_ready()
        lost = server.await_event("worker lost")
        server.await_event("worker replaced")

        await_that(lambda: server.metric("traceship_worker_ready") == 2, "one is missing")
    assert lost["worker"] == 1


def test_a_new_worker_that_ends_after_its_proof_is_not_served_with(world: World, tmp_path: Path) -> None:
    """/ping would say 200 for ever while nobody takes a request."""
    with running(world.root, cwd=tmp_path, env=changed(tmp_path, _ENDS)) as server:
        server.await_ready()
        (pid,) = workers(server)
        (tmp_path / "end-0").touch()
        os.kill(pid, signal.SIGKILL)
        server.await_event("worker replaced")
        await_that(lambda: server.call("GET", "/ping").status == 200, "never well again")

        assert not (tmp_path / "end-0").exists()
        assert server.ask("w1").status == 200


def test_closing_while_a_failed_worker_is_being_ended(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM may come at any moment, and the end must be a clean one."""
    monkeypatch.chdir(tmp_path)
    share = Share(number=0, environ=changed(tmp_path, _ILL))

    async def closed() -> int:
        pool = Pool(verified(world.root), [share], deadline=20.0)
        pool.serve(Engine(await pool.start(), Limits()))
        (tmp_path / "ill").touch()
        pool.workers[0].end()
        await _said("worker not replaced")
        (failed,) = pool.workers
        await pool.close()
        return failed.pid

    pid = uvloop.run(asyncio.wait_for(closed(), timeout=60))

    assert ended(pid)


async def _said(event: str) -> None:
    """Wait for a line of the log, and go on in the very next turn of the loop."""
    said = asyncio.Event()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() == event:
                said.set()

    listener = Listener()
    logger.addHandler(listener)
    try:
        await said.wait()
    finally:
        logger.removeHandler(listener)
