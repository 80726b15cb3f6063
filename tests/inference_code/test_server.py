"""The server as its platform and its clients see it: a process, a port, an exit code."""

from __future__ import annotations

import http.client
import itertools
import json
import random
import socket
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, as_completed, wait
from pathlib import Path
from signal import SIGINT, SIGTERM
from typing import Any

import pytest

from artifact.golden import largest_difference
from artifact.manifest import MANIFEST, MANIFEST_DIGEST
from inference_code.server import listen
from tests.inference_code.held import go_on, held, held_start
from tests.inference_code.running import CHECKOUT, Reply, RunningServer, running, send
from tests.kit.handmade import Recipe, World

JSON = {"Content-Type": "application/json"}
SLOW = Recipe(buckets=((1, 8),), busy=600)
"""About half a second for each inference."""
ONE_BY_ONE = Recipe(buckets=((1, 8),))
"""One row in a batch: while it runs, the next one waits."""


def test_answers_equal_the_untraced_models(server: RunningServer, world: World) -> None:
    """One text gives one vector, equal to what the model itself computes."""
    reply = server.ask("w5 w6 w7")

    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert largest_difference(world.answer("w5 w6 w7"), reply.json) <= 1e-5


def test_a_list_gets_a_list_in_its_own_order(server: RunningServer, world: World) -> None:
    """More inputs than any batch holds, of mixed lengths, pairs among them."""
    inputs: list[Any] = [" ".join(f"w{i + k}" for k in range(1 + i % 12)) for i in range(11)]
    inputs.append({"text": "w1 w2", "text_pair": "w3"})

    reply = server.ask(inputs)

    expected = [world.answer(text) for text in inputs[:-1]] + [world.answer("w1 w2", "w3")]
    assert largest_difference(expected, reply.json) <= 1e-5


def test_a_pair_differs_from_the_same_words_as_one_text(server: RunningServer) -> None:
    """Token types reach the graph."""
    pair = server.ask({"text": "w1 w2", "text_pair": "w3"})
    text = server.ask("w1 w2 w3")

    assert largest_difference(pair.json, text.json) > 0.01


def test_too_long_is_refused_with_the_limit(server: RunningServer) -> None:
    """The manifest does not cut, so the client learns what it sent and what is allowed."""
    reply = server.ask(["w1", " ".join(["w1"] * 15)])

    assert reply.status == 400
    assert reply.json["error"] == "input-too-long"
    assert "inputs[1]" in reply.json["message"]
    assert "17 tokens" in reply.json["message"]
    assert "limit is 16" in reply.json["message"]


def test_no_answer_reaches_another_request(server: RunningServer, world: World) -> None:
    """1600 requests from 16 clients at once, each answered with its own vectors."""
    answers = {n: world.answer(f"w{n} w{n}") for n in range(200)}

    def client(seed: int) -> float:
        chosen = random.Random(seed)
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        worst = 0.0
        for _ in range(100):
            words = [chosen.randrange(200) for _ in range(chosen.choice([1, 1, 1, 2, 5]))]
            body = json.dumps({"inputs": [f"w{n} w{n}" for n in words]}).encode()
            reply = send(connection, "POST", "/invocations", body, JSON)
            worst = max(worst, largest_difference([answers[n] for n in words], reply.json))
        connection.close()
        return worst

    with ThreadPoolExecutor(16) as clients:
        worst = max(clients.map(client, range(16)))

    assert worst <= 1e-5


def test_ping_is_empty_and_200_when_ready(server: RunningServer) -> None:
    """What the platform asks for."""
    reply = server.call("GET", "/ping")

    assert (reply.status, reply.body) == (200, b"")


def test_metrics_count_what_happened(server: RunningServer) -> None:
    """A request more in /metrics for a request more to /invocations."""

    before = server.metric("traceship_requests_total", status="200")
    server.ask("w1")

    assert server.metric("traceship_requests_total", status="200") == before + 1


def test_request_ids_come_back_and_no_payload_is_logged(server: RunningServer) -> None:
    """Lines can be tied to a request; what was in it stays out of them."""
    body = json.dumps({"inputs": "w77 w78 w79"}).encode()
    reply = server.call("POST", "/invocations", body, {**JSON, "X-Request-Id": "abc-123"})

    assert reply.headers["x-request-id"] == "abc-123"
    server.await_event("request")
    assert "w77" not in json.dumps(server.log)


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", "/", 405, "method-not-allowed"),
        ("GET", "/health", 404, "not-found"),
        ("POST", "/models", 405, "method-not-allowed"),
        ("GET", "/models/default/nothing", 404, "not-found"),
        ("GET", "/models/other/ping", 404, "model-unknown"),
        ("POST", "/ping", 405, "method-not-allowed"),
        ("GET", "/invocations", 405, "method-not-allowed"),
        ("DELETE", "/invocations", 405, "method-not-allowed"),
        ("PUT", "/metrics", 405, "method-not-allowed"),
    ],
)
def test_other_routes_and_methods_are_refused(
    server: RunningServer, method: str, path: str, status: int, error: str
) -> None:
    """There is no fourth route and no management interface."""
    reply = server.call(method, path)

    assert (reply.status, reply.json["error"]) == (status, error)
    assert status != 405 or reply.headers["allow"] in {"GET", "POST"}


@pytest.mark.parametrize(
    ("content_type", "accept", "status"),
    [
        ("application/json; charset=utf-8", None, 200),
        ("APPLICATION/JSON", "*/*", 200),
        ('application/json;charset="UTF-8"', "text/html;q=0.9, application/json;q=0.8", 200),
        ("application/json", "application/*", 200),
        ("application/json; charset=latin-1", None, 415),
        ("application/x-npy", None, 415),
        ("application/python-pickle", None, 415),
        ("text/plain", None, 415),
        (None, None, 415),
        ("application/json", "image/png", 406),
        ("application/json", "application/json;q=0", 406),
    ],
)
def test_media_types(
    server: RunningServer, content_type: str | None, accept: str | None, status: int
) -> None:
    """JSON however it is spelt; everything else is refused by name."""
    headers = {
        name: value
        for name, value in [("Content-Type", content_type), ("Accept", accept)]
        if value is not None
    }

    assert server.call("POST", "/invocations", b'{"inputs":"w1"}', headers).status == status


def test_compressed_bodies_are_refused(server: RunningServer) -> None:
    """Nothing is inflated here, so nothing can explode."""
    reply = server.call("POST", "/invocations", b"\x1f\x8b", {**JSON, "Content-Encoding": "gzip"})

    assert reply.status == 415


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"5", "the body"),
        (b"null", "the body"),
        (b"[]", "the body"),
        (b"{}", "inputs"),
        (b'{"inputs":5}', "inputs"),
        (b'{"inputs":null}', "inputs"),
        (b'{"inputs":["a",5]}', "inputs[1]"),
        (b'{"inputs":[["a","b"]]}', "inputs[0]"),
        (b'{"inputs":{"text_pair":"a"}}', "inputs.text"),
        (b'{"inputs":{"text":"a","text_pair":5}}', "inputs.text_pair"),
        (b'{"inputs":{"text":"a","pair":"b"}}', "pair"),
        (b'{"inputs":"a","input":"b"}', "input"),
        (b'{"inputs":"a","parameters":[]}', "parameters"),
        (b'{"inputs":"a","parameters":{"top_k":1}}', "top_k"),
        (b'{"inputs":"a","inputs":"b"}', "twice"),
        (b'{"inputs":[{"text":"a","text":"b"}]}', "twice"),
        (b'{"inputs":NaN}', "JSON"),
        (b'{"inputs":"a"} {}', "JSON"),
        (b'\xef\xbb\xbf{"inputs":"a"}', "JSON"),
        ('{"inputs":"a"}'.encode("utf-16"), "JSON"),
        (b'{"inputs":"\xff"}', "JSON"),
        (b'{"inputs":"\\ud800"}', "JSON"),
        (b'{"inputs":' + b"9" * 5000 + b"}", "range"),
        (b'{"inputs":' + b"[" * 40 + b"]" * 40 + b"}", "nested"),
        (b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested"),
    ],
)
def test_malformed_requests_get_400_that_names_the_fault(
    server: RunningServer, body: bytes, names: str
) -> None:
    """No 5xx, no trace, no path: an id and a sentence."""
    reply = server.call("POST", "/invocations", body, JSON)

    assert reply.status == 400
    assert set(reply.json) == {"error", "message"}
    assert names in reply.json["message"]
    assert "Traceback" not in reply.json["message"]
    assert "/" not in reply.json["message"]


def test_bodies_up_to_the_limit_are_read_and_larger_ones_refused(server: RunningServer) -> None:
    """6 MiB is the platform's figure; one byte more is 413, and the connection stays usable."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    largest = b'{"inputs":"' + b"a " * 3_145_721 + b' "}'
    assert len(largest) == 6_291_456

    fits = send(connection, "POST", "/invocations", largest, JSON)
    over = send(connection, "POST", "/invocations", largest + b" ", JSON)
    after = send(connection, "POST", "/invocations", b'{"inputs":"w1"}', JSON)
    connection.close()

    assert fits.json["error"] == "input-too-long"
    assert (over.status, over.json["error"]) == (413, "body-too-large")
    assert after.status == 200


def test_a_body_that_announces_too_much_is_never_asked_for(server: RunningServer) -> None:
    """413 comes in place of 100 Continue."""
    head = b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    head += b"Content-Length: 6291457\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"

    assert server.raw(head).startswith(b"HTTP/1.1 413 ")


def test_more_inputs_than_the_queue_holds_are_refused(server: RunningServer) -> None:
    """Such a request could never be served, so waiting would be a lie."""
    reply = server.ask(["w1"] * 257)

    assert (reply.status, reply.json["error"]) == (413, "too-many-inputs")


def test_an_empty_list_is_answered_by_an_empty_list(server: RunningServer) -> None:
    """Batch clients send what they have."""
    reply = server.ask([])

    assert (reply.status, reply.json) == (200, [])


FILES = [
    "config.json",
    "golden.json",
    "graphs/b1_s8.pt",
    "graphs/b1_s16.pt",
    "graphs/b4_s16.pt",
    "parity.json",
    "tokenizer/tokenizer.json",
    "weights.safetensors",
    MANIFEST,
    MANIFEST_DIGEST,
]


@pytest.mark.parametrize("path", FILES)
def test_one_flipped_byte_in_any_file_ends_with_3(copied: World, tmp_path: Path, path: str) -> None:
    """The server does not come up, and its log names the file."""
    data = bytearray((copied.root / path).read_bytes())
    data[len(data) // 2] ^= 1
    (copied.root / path).write_bytes(data)

    with running(copied.root, cwd=tmp_path) as server:
        code = server.wait()

    assert code == 3
    refused = server.await_event("refused")
    assert refused["error"] in {"artifact-changed", "unknown-schema"}
    assert (path if path != MANIFEST_DIGEST else MANIFEST) in refused["what"]


def test_a_file_more_or_less_ends_with_3(copied: World, tmp_path: Path) -> None:
    """An added file could be code; a missing one could be a check."""
    (copied.root / "graphs/extra.pt").write_bytes(b"x")

    with running(copied.root, cwd=tmp_path) as server:
        assert server.wait() == 3


def test_another_artifact_than_the_pinned_one_ends_with_3(world: World, tmp_path: Path) -> None:
    """Whoever can write the bucket still cannot change what a running stack accepts."""
    with running(world.root, cwd=tmp_path, env={"TRACESHIP_DIGEST": "0" * 64}) as server:
        code = server.wait()

    assert code == 3
    assert server.await_event("refused")["error"] == "another-artifact"


def test_a_wrong_golden_answer_ends_with_3_and_no_healthy_ping(
    worlds: Callable[..., World], tmp_path: Path
) -> None:
    """A machine that computes wrong answers never serves one."""
    with running(worlds(Recipe(wrong_by=0.01)).root, cwd=tmp_path) as server:
        server.await_listening()
        seen = set()
        while server.process.poll() is None:
            try:
                seen.add(server.call("GET", "/ping").status)
            except OSError:
                break
        code = server.wait()

    assert code == 3
    assert seen <= {503}
    refused = server.await_event("refused")
    assert refused["error"] == "selfcheck-failed"
    assert "golden case 0 in b1_s8" in refused["what"]


def test_no_artifact_at_all_ends_with_2(tmp_path: Path) -> None:
    """A wrong path is a usage error."""
    with running(tmp_path / "nothing", cwd=tmp_path) as server:
        assert server.wait() == 2

    assert server.await_event("refused")["error"] == "not-an-artifact"


def test_a_port_in_use_ends_with_5(world: World, tmp_path: Path) -> None:
    """The error names the port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = RunningServer(world.root, "--port", str(port), cwd=tmp_path)
        try:
            code = server.wait()
        finally:
            server.stop()

    assert code == 5
    assert str(port) in server.await_event("refused")["what"]


def test_an_answer_does_not_wait_for_the_acknowledgement_of_its_head() -> None:
    """Head and body are two writes: with Nagle's algorithm the second would be 40 ms late."""
    with (
        listen("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname(), timeout=5),
    ):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_an_address_of_another_machine_ends_with_2(world: World, tmp_path: Path) -> None:
    """192.0.2.1 is reserved for documentation: nobody has it."""
    with running(world.root, "--host", "192.0.2.1", cwd=tmp_path) as server:
        assert server.wait() == 2

    assert server.await_event("refused")["error"] == "cannot-listen"


def test_the_platforms_variables_are_enough(world: World, tmp_path: Path) -> None:
    """``serve`` without arguments, as the image starts; 503 before it is ready, 200 after."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = {
        "TRACESHIP_MODEL_DIR": str(world.root),
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "TRACESHIP_DIGEST": world.digest,
        **held_start(tmp_path),
    }
    server = RunningServer(None, cwd=tmp_path, env=env)
    try:
        first = server.await_listening().call("GET", "/ping")
        early = server.ask("w1")
        go_on(tmp_path)
        server.await_ready()
        ready = server.ask("w1")
    finally:
        server.stop()

    assert (first.status, first.json["error"]) == (503, "not-ready")
    assert early.status == 503
    assert ready.status == 200
    assert server.port == port


def test_sigterm_while_loading_ends_with_0(world: World, tmp_path: Path) -> None:
    """A platform may change its mind before the model is up; there is nobody to be patient for."""
    with running(world.root, "--lame-duck", "20", cwd=tmp_path, env=held_start(tmp_path)) as server:
        server.await_listening()
        server.call("GET", "/ping")
        server.signal(SIGTERM)
        started = time.monotonic()

        assert server.wait() == 0
    assert time.monotonic() - started < 15


def test_a_lame_duck_fails_ping_and_answers_everybody(worlds: Callable[..., World], tmp_path: Path) -> None:
    """After SIGTERM balancers are told to look away while old and new requests are answered."""
    world = worlds(ONE_BY_ONE)
    with running(world.root, "--lame-duck", "20", cwd=tmp_path) as server, ThreadPoolExecutor(2) as clients:
        server.await_ready()
        with held(server):
            in_flight = [clients.submit(server.ask, text) for text in ("w1 w2", "w3")]
            _await_queue(server)
            server.signal(SIGTERM)
            ping = _await_draining(server)
        replies = [future.result() for future in in_flight]
        late = server.ask("w4")

    assert ping.headers["connection"] == "close"
    assert [reply.status for reply in (*replies, late)] == [200, 200, 200]
    assert {type(reply.json) for reply in replies} == {list}
    assert largest_difference(world.answer("w1 w2"), replies[0].json) <= 1e-5


@pytest.mark.parametrize(
    ("lame_duck", "deadline", "warned"), [("2", "20", False), ("20", "20", True), ("2", "60", True)]
)
def test_a_deadline_that_a_drain_cannot_wait_for_is_told_at_the_start(
    world: World, tmp_path: Path, lame_duck: str, deadline: str, warned: bool
) -> None:
    """After SIGTERM there are 25 s for everything, and whoever chose a minute should know."""
    env = {**held_start(tmp_path), "TRACESHIP_DEADLINE_SECONDS": deadline}
    with running(world.root, "--lame-duck", lame_duck, cwd=tmp_path, env=env) as server:
        event = server.await_line(lambda line: line["event"] in ("requests may outlast a drain", "listening"))

    assert (event["event"] == "requests may outlast a drain") == warned
    assert not warned or event["drain"] < event["deadline"]


def test_closing_answers_what_is_in_flight_and_exits_with_0(
    worlds: Callable[..., World], tmp_path: Path
) -> None:
    """Then the port closes, and the platform sees a clean stop; a second SIGTERM ends the patience."""
    with running(worlds(ONE_BY_ONE).root, "--lame-duck", "20", cwd=tmp_path) as server:
        server.await_ready()
        with ThreadPoolExecutor(2) as clients:
            with held(server):
                in_flight = [clients.submit(server.ask, text) for text in ("w1 w2", "w3")]
                _await_queue(server)
                server.signal(SIGTERM)
                _await_draining(server)
                server.signal(SIGTERM)
                _await_closed(server)
                given_up = wait(in_flight, timeout=0.5, return_when=FIRST_COMPLETED).done
            statuses = [future.result().status for future in in_flight]
        started = time.monotonic()
        code = server.wait()

    assert given_up == set()
    assert statuses == [200, 200]
    assert code == 0
    assert time.monotonic() - started < 15
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", server.port), timeout=5)


def test_a_full_queue_answers_429_with_retry_after(worlds: Callable[..., World], tmp_path: Path) -> None:
    """Beyond the limit nothing waits; what was accepted is still answered."""
    with running(worlds(ONE_BY_ONE).root, cwd=tmp_path, env={"TRACESHIP_QUEUE_LIMIT": "1"}) as server:
        server.await_ready()
        with ThreadPoolExecutor(8) as clients:
            with held(server):
                asked = [clients.submit(server.ask, f"w{n}") for n in range(8)]
                # One runs and at most one waits: the other six, at least, are told at once.
                refused = [future.result() for future in itertools.islice(as_completed(asked), 6)]
                healthy = server.call("GET", "/ping").status
            replies = [future.result() for future in asked]

    assert {reply.status for reply in refused} == {429}
    assert all(reply.headers["retry-after"] == "1" for reply in refused)
    assert {reply.status for reply in replies} == {200, 429}
    assert healthy == 200


def test_what_a_client_gave_up_leaves_the_queue(worlds: Callable[..., World], tmp_path: Path) -> None:
    """Its place is another's at once: who gives up asks again, and the old would delay the new."""
    head = "POST /invocations HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 16"
    with (
        running(worlds(ONE_BY_ONE).root, cwd=tmp_path, env={"TRACESHIP_QUEUE_LIMIT": "1"}) as server,
        ThreadPoolExecutor(2) as clients,
    ):
        server.await_ready()
        with held(server):
            first = clients.submit(server.ask, "w1")
            with socket.create_connection(("127.0.0.1", server.port), timeout=30) as impatient:
                _await_in_flight(server, 1)
                impatient.sendall(head.encode() + b'\r\n\r\n{"inputs": "w2"}')
                _await_queue(server)
                refused = server.ask("w3")
            given_up = server.await_line(lambda line: line.get("error") == "client-gone")
            accepted = clients.submit(server.ask, "w4")
            _await_in_flight(server, 2)
        statuses = [first.result().status, refused.status, accepted.result().status]
        counted = server.metric("traceship_requests_total", status="499")

    assert statuses == [200, 429, 200]
    assert given_up["status"] == 499
    assert counted == 1


def test_a_deadline_ends_the_wait(worlds: Callable[..., World], tmp_path: Path) -> None:
    """504 for what was being run, 503 for what never began; /ping fails while the model is stuck."""
    with (
        running(worlds(SLOW).root, cwd=tmp_path, env={"TRACESHIP_DEADLINE_SECONDS": "1"}) as server,
        ThreadPoolExecutor(2) as clients,
    ):
        server.await_ready()
        with held(server):
            replies = list(clients.map(server.ask, ["w1", "w2"]))

    assert sorted(reply.status for reply in replies) == [503, 504]
    assert {reply.json["error"] for reply in replies} == {"deadline-passed", "deadline-in-queue"}


def test_ctrl_c_ends_with_0(world: World, tmp_path: Path) -> None:
    """On a laptop nobody waits for a lame duck."""
    with running(world.root, cwd=tmp_path) as server:
        server.await_ready()
        server.signal(SIGINT)

        assert server.wait() == 0


@pytest.mark.parametrize("ends", ["well", "refused"])
def test_the_exit_code_is_the_servers_whatever_the_interpreters_shutdown_meets(
    copied: World, tmp_path: Path, ends: str
) -> None:
    """A thread that is still loading something can crash it: here, whatever shuts down ends with 99."""
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, os, sys\nif 'serve' in sys.orig_argv:\n    atexit.register(os._exit, 99)\n",
        encoding="utf-8",
    )
    if ends == "refused":
        (copied.root / "config.json").write_bytes(b"{}")
    env = {"PYTHONPATH": f"{tmp_path}:{CHECKOUT}"}
    with running(copied.root, "--lame-duck", "0", cwd=tmp_path, env=env) as server:
        if ends == "well":
            server.await_ready()
            server.signal(SIGTERM)

        assert server.wait() == (0 if ends == "well" else 3)
        server.await_event("stopped" if ends == "well" else "refused")


def _await_queue(server: RunningServer) -> None:
    """Until one request runs and the other waits."""
    while server.metric("traceship_queue_rows") != 1:
        assert server.process.poll() is None


def _await_in_flight(server: RunningServer, requests: int) -> None:
    while server.metric("traceship_requests_in_flight") != requests:
        assert server.process.poll() is None


def _await_closed(server: RunningServer) -> None:
    """Until nobody can connect any more."""
    while True:
        try:
            socket.create_connection(("127.0.0.1", server.port), timeout=30).close()
        except ConnectionRefusedError:
            return
        except ConnectionResetError:
            # It closed while this connection was on its way to be accepted.
            continue


def _await_draining(server: RunningServer) -> Reply:
    while (ping := server.call("GET", "/ping")).status != 503:
        assert server.process.poll() is None
    return ping
