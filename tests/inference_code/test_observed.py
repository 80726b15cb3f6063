"""What an operator sees of a server that runs: page, log, trace, and a log that nobody reads."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import SIGINT
from typing import Any

import pytest

from inference_code.trail import STAGES
from tests.inference_code.running import Reply, RunningServer, environment, running, send
from tests.inference_code.test_workers import await_that
from tests.kit.handmade import Recipe, World

JSON = {"Content-Type": "application/json"}
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ROOT = "1-67891233-abcdef012345678912345678"


def _line(server: RunningServer, request_id: str) -> dict[str, Any]:
    """The log's one line of that request."""
    server.await_line(lambda line: line.get("id") == request_id)
    (found,) = [line for line in server.log if line.get("id") == request_id]
    return found


def _post(server: RunningServer, body: bytes, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.call("POST", "/invocations", body, {**JSON, **named})


def test_a_requests_line_tells_where_its_time_went(server: RunningServer) -> None:
    """Stages, inputs, tokens, buckets and worker; the stages are the whole."""
    _post(server, b'{"inputs":["w1 w2","w3 w4 w5 w6 w7 w8 w9 w10 w11"]}', x_request_id="told-1")
    line = _line(server, "told-1")

    assert {name: line[name] for name in ("event", "method", "route", "status", "model")} == {
        "event": "request",
        "method": "POST",
        "route": "/invocations",
        "status": 200,
        "model": "default",
    }
    assert (line["inputs"], line["tokens"], line["workers"]) == (2, 4 + 11, ["0"])
    assert all(re.fullmatch(r"b\d+_s\d+", shape) for shape in line["buckets"])
    assert line["buckets"]
    assert list(line["stages_ms"]) == list(STAGES)
    assert sum(line["stages_ms"].values()) == pytest.approx(line["ms"], abs=0.05)
    assert "w1" not in json.dumps(line)


def test_a_refusals_line_names_the_error(server: RunningServer) -> None:
    """And how far the request came."""
    _post(server, b'{"inputs":5}', x_request_id="refused-1")
    server.call("GET", "/secret/path?token=1", None, {"X-Request-Id": "lost-1"})
    refused, lost = _line(server, "refused-1"), _line(server, "lost-1")

    assert (refused["status"], refused["error"]) == (400, "bad-request")
    assert list(refused["stages_ms"]) == ["read"]
    assert (lost["status"], lost["error"], lost["route"]) == (404, "not-found", "other")
    assert "secret" not in json.dumps(lost)


def test_the_page_counts_refusals_by_reason(server: RunningServer) -> None:
    """Each by the id that its client was told."""
    before = server.metric("traceship_rejected_requests_total", reason="not-json")
    error = _post(server, b"{").json["error"]

    assert server.metric("traceship_rejected_requests_total", reason=error) == before + 1


def test_the_page_counts_what_never_was_a_request(server: RunningServer) -> None:
    """Broken clients and slow ones show, and no request is counted for them."""
    refused = server.metric("traceship_refused_connections_total", reason="bad-http")
    requests = server.metric("traceship_requests_total")
    server.raw(b"GET /ping HTTP/9.9\r\n\r\n")

    assert server.metric("traceship_refused_connections_total", reason="bad-http") == refused + 1
    assert server.metric("traceship_requests_total") == requests


def test_the_page_says_what_runs(server: RunningServer, world: World) -> None:
    """The digest that was deployed, a worker that is up and proven, and no request in flight."""
    assert server.metric("traceship_build_info", digest=world.digest, target="cpu") == 1
    assert server.metric("traceship_worker_up", worker="0") == 1
    assert server.metric("traceship_worker_ready", worker="0") == 1
    assert server.metric("traceship_worker_selfcheck_seconds", worker="0") > 0
    assert server.metric("traceship_worker_resident_memory_bytes", worker="0") > 10_000_000
    assert server.metric("traceship_ready") == 1
    assert server.metric("traceship_requests_in_flight") == 0
    assert server.metric("process_open_fds") > 3


def test_the_page_equals_what_many_clients_did(worlds: Callable[..., World], tmp_path: Path) -> None:
    """Requests, rows, tokens and busy time of a server's whole life."""
    clients, each = 8, 25
    with running(worlds().root, cwd=tmp_path) as server:
        server.await_ready()

        def ask(_: int) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            with contextlib.closing(connection):
                for at in range(each):
                    body = b'{"inputs":["w1","w2 w3"]}' if at % 5 else b"{}"
                    send(connection, "POST", "/invocations", body, JSON)

        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(ask, range(clients)))

        assert server.metric("traceship_requests_total", status="200") == clients * 20
        assert server.metric("traceship_requests_total", status="400") == clients * 5
        assert server.metric("traceship_request_seconds_count", outcome="answered") == clients * 20
        for stage in STAGES[1:4]:
            assert server.metric("traceship_request_stage_seconds_count", stage=stage) == clients * 20
        assert server.metric("traceship_batch_rows_total") == clients * 20 * 2
        assert server.metric("traceship_tokens_total", kind="real") == clients * 20 * (3 + 4)
        busy = server.metric("traceship_worker_busy_seconds_total")
        assert busy == pytest.approx(server.metric("traceship_batch_seconds_sum"))
        assert server.metric("traceship_log_lines_dropped_total") == 0


def test_a_trace_goes_through(server: RunningServer) -> None:
    """The answer and the log carry the caller's trace and our own span."""
    reply = _post(
        server,
        b'{"inputs":"w1"}',
        x_request_id="traced-1",
        traceparent=f"00-{TRACE}-{SPAN}-01",
        tracestate="a=1, b=2",
        X_Amzn_Trace_Id=f"Root={ROOT};Parent={SPAN};Sampled=1",
        X_Amzn_SageMaker_Inference_Id="inference-1",
        X_Amzn_SageMaker_Custom_Attributes="tenant=7",
    )
    line = _line(server, "traced-1")

    span = line["span_id"]
    assert re.fullmatch("[0-9a-f]{16}", span)
    assert reply.headers["traceparent"] == f"00-{TRACE}-{span}-01"
    assert reply.headers["tracestate"] == "a=1,b=2"
    assert reply.headers["x-amzn-trace-id"] == f"Root={ROOT};Parent={span};Sampled=1"
    assert (line["trace_id"], line["parent_id"], line["sampled"]) == (TRACE, SPAN, True)
    assert (line["xray_root"], line["inference_id"]) == (ROOT, "inference-1")
    assert line["custom_attributes"] == "tenant=7"


def test_a_malformed_trace_is_nobodys(server: RunningServer) -> None:
    """It is neither echoed nor logged, and harms nothing."""
    reply = _post(
        server,
        b'{"inputs":"w1"}',
        x_request_id="traced-2",
        traceparent=f"00-{TRACE}-{SPAN}-01-",
        tracestate="a=1",
        X_Amzn_Trace_Id="Root=nonsense",
        X_Amzn_SageMaker_Custom_Attributes="caf\xe9",
    )
    line = _line(server, "traced-2")

    assert reply.status == 200
    assert not {"traceparent", "tracestate", "x-amzn-trace-id"} & set(reply.headers)
    assert not {"trace_id", "span_id", "xray_root", "custom_attributes"} & set(line)


def test_openmetrics_over_http(server: RunningServer) -> None:
    """The scraper's Accept header decides; whatever else it says, it gets a page."""
    asked = server.call("GET", "/metrics", None, {"Accept": "application/openmetrics-text; version=1.0.0"})
    odd = server.call("GET", "/metrics", None, {"Accept": "text/plain;version=x, */*"})

    assert asked.headers["content-type"].startswith("application/openmetrics-text")
    assert asked.body.endswith(b"# EOF\n")
    assert odd.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_a_wrong_word_for_the_log_ends_with_2(world: World, tmp_path: Path) -> None:
    """Before anything listens."""
    with running(world.root, cwd=tmp_path, env={"TRACESHIP_LOG": "loud"}) as server:
        assert server.wait() == 2

    assert server.await_event("refused")["error"] == "log-option-invalid"


@pytest.mark.parametrize("pinned", [True, False])
def test_every_line_says_on_which_instance_and_for_which_release(
    world: World, tmp_path: Path, pinned: bool
) -> None:
    """Of requests, events and metrics; the release as soon as it is known: pinned, or verified."""
    env = {"TRACESHIP_INSTANCE": "i-0123456789abcdef0", "TRACESHIP_EMF": "1"}
    env |= {"TRACESHIP_DIGEST": world.digest} if pinned else {}
    with running(world.root, cwd=tmp_path, env=env) as server:
        server.await_ready()
        _post(server, b'{"inputs":"w1"}', x_request_id="right")
        _post(server, b"{", x_request_id="wrong")
        server.call("GET", "/nothing", None, {"X-Request-Id": "lost"})
        for request_id in ("right", "wrong", "lost"):
            _line(server, request_id)
        server.signal(SIGINT)
        assert server.wait() == 0

    events = [line["event"] for line in server.log]
    assert {"listening", "proven", "ready", "request", "metrics", "stopped"} <= set(events)
    assert {line.get("instance") for line in server.log} == {"i-0123456789abcdef0"}
    known = server.log[0 if pinned else events.index("proven") :]
    assert {line.get("release") for line in known} == {world.digest[:12]}


def test_a_refusal_to_start_says_it_too(world: World, tmp_path: Path) -> None:
    """It is the line that somebody looks for; without a name for the machine there is just none."""
    wrong = "ab" * 32
    for env in ({"TRACESHIP_INSTANCE": "i-0123456789abcdef0"}, {}):
        env |= {"TRACESHIP_DIGEST": wrong}
        with running(world.root, cwd=tmp_path, env=env) as server:
            assert server.wait() == 3
        refused = server.await_event("refused")
        assert (refused.get("instance"), refused["release"]) == (env.get("TRACESHIP_INSTANCE"), wrong[:12])


def test_a_wrong_name_for_the_instance_ends_with_2(world: World, tmp_path: Path) -> None:
    """Before anything else is read."""
    with running(world.root, cwd=tmp_path, env={"TRACESHIP_INSTANCE": "i-0 1"}) as server:
        assert server.wait() == 2

    refused = server.await_event("refused")
    assert refused["error"] == "option-invalid"
    assert "TRACESHIP_INSTANCE" in refused["what"]


def test_a_quiet_log_has_errors_and_lines_for_cloudwatch(world: World, tmp_path: Path) -> None:
    """What went well is counted, every second here, and once more when the server stops."""
    env = {"TRACESHIP_EMF": "1", "TRACESHIP_SERVICE": "demo-fleet", "TRACESHIP_LOG": "errors"}
    with running(world.root, cwd=tmp_path, env=env) as server:
        server.await_ready()
        for _ in range(5):
            server.ask("w1")
        server.await_event("metrics")
        _post(server, b"{", x_request_id="wrong")
        _line(server, "wrong")
        server.signal(SIGINT)
        assert server.wait() == 0

    lines = [line for line in server.log if line["event"] == "metrics"]
    assert [line["id"] for line in server.log if line["event"] == "request" and line["status"] != 503] == [
        "wrong"
    ]
    assert sum(line["Requests"] for line in lines) == 6
    assert sum(line["RefusedRequests"] for line in lines) == 1
    assert sum(line["RequestLatency"]["Count"] for line in lines if "RequestLatency" in line) == 5
    assert {line["Service"] for line in lines} == {"demo-fleet"}
    assert lines[-1]["Digest"] == world.digest


@pytest.fixture
def stalled(world: World, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A ready server whose log nobody reads any more, in a pipe of the smallest size; and its port."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    command = [sys.executable, "-m", "inference_code", "serve", str(world.root), "--port", "0"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment({}), stderr=writing)
    os.close(writing)
    port = 0
    with os.fdopen(reading, "rb", buffering=0) as log:
        while b'"ready"' not in (line := log.readline()):
            with contextlib.suppress(ValueError):
                port = json.loads(line).get("port", port)
        yield process, port
        if process.poll() is None:
            process.kill()
        process.wait()


def test_a_log_that_nobody_reads_keeps_no_request_waiting(
    stalled: tuple[subprocess.Popen[bytes], int],
) -> None:
    """Far more than the pipe and the queue hold is answered; what was lost is counted; the end is clean."""
    process, port = stalled
    attributes = "x" * 1000
    refused = f"GET /x HTTP/1.1\r\nHost: a\r\nX-Amzn-SageMaker-Custom-Attributes: {attributes}\r\n\r\n"
    requests, at_once = 5000, 50
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        answers = 0
        for _ in range(requests // at_once):
            connection.sendall(refused.encode() * at_once)
            wanted, received = answers + at_once, b""
            while answers < wanted:
                received += connection.recv(65536)
                answers = wanted - at_once + received.count(b"HTTP/1.1 404")

    server = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(server):
        answered = send(server, "POST", "/invocations", b'{"inputs":"w1"}', JSON)
        page = send(server, "GET", "/metrics").body.decode()
    dropped = re.search(r"^traceship_log_lines_dropped_total (\S+)$", page, flags=re.MULTILINE)
    process.send_signal(SIGINT)

    assert answered.status == 200
    assert dropped is not None
    assert 0 < float(dropped[1]) < requests
    assert process.wait(timeout=30) == 0


def test_a_busy_model_shows_in_the_queue(worlds: Callable[..., World], tmp_path: Path) -> None:
    """While clients outrun it, rows wait and requests are in flight; afterwards none, but their time."""
    recipe, seen = Recipe(buckets=((1, 8),), busy=60), threading.Event()
    with running(worlds(recipe).root, cwd=tmp_path) as server, ThreadPoolExecutor(6) as clients:
        server.await_ready()

        def ask(at: int) -> set[int]:
            statuses = {server.ask(f"w{at}").status}
            while not seen.is_set():
                statuses.add(server.ask(f"w{at}").status)
            return statuses

        asked = [clients.submit(ask, at) for at in range(6)]
        try:
            await_that(lambda: server.metric("traceship_queue_rows") > 0, "no row ever waited")
            await_that(lambda: server.metric("traceship_requests_in_flight") > 1, "nothing was in flight")
        finally:
            seen.set()
        assert [future.result() for future in asked] == [{200}] * 6
        assert server.metric("traceship_queue_rows") == 0
        assert server.metric("traceship_requests_in_flight") == 0
        assert server.metric("traceship_request_stage_seconds_sum", stage="queue") > 0
