"""Requests to our archive inside AWS's own serving stack: answers, refusals, and what it must never say."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.inference_code.compared import close
from tests.inference_code.running import Reply, RunningServer
from tests.kit.handmade import Recipe, World, build
from tests.stock.stack import Stack, archived, installed, stack

pytestmark = [pytest.mark.stock, pytest.mark.timeout(600)]

JSON = "application/json"
ALIKE = [
    (b"{", {"Content-Type": JSON}, 400, "not-json"),
    (b"", {"Content-Type": JSON}, 400, "not-json"),
    (b"\xff\xfe", {"Content-Type": JSON}, 400, "not-json"),
    (b"\xff\xfe", {"Content-Type": "application/json; charset=utf-8"}, 400, "not-json"),
    (b"5", {"Content-Type": JSON}, 400, "bad-request"),
    (b'{"inputs":"w1","parameters":{"x":1}}', {"Content-Type": JSON}, 400, "bad-request"),
    (b'{"inputs":"w1","more":1}', {"Content-Type": JSON}, 400, "bad-request"),
    (b'{"inputs":"' + b"w1 " * 50 + b'"}', {"Content-Type": JSON}, 400, "input-too-long"),
    (b" " * 6_300_000, {"Content-Type": JSON}, 413, "body-too-large"),
    (b"x", {"Content-Type": "image/png"}, 415, "unsupported-media-type"),
    (b'{"inputs":"w1"}', {}, 415, "unsupported-media-type"),
    (b'{"inputs":"w1"}', {"Content-Type": JSON, "Content-Encoding": "gzip"}, 415, "unsupported-media-type"),
    (b'{"inputs":"w1"}', {"Content-Type": JSON, "Accept": "image/png"}, 406, "not-acceptable"),
]
SHARED = Path("/tmp")
"""Where TorchServe keeps sockets and its pid file unless it is told another place."""
TOO_LARGE_AN_ANSWER = {"inputs": ["w1 w2 w3 w4 w5 w6 w7 w8 w9 w10 w11 w12 w13"] * 4000}


@dataclass(frozen=True)
class Ended:
    """What was seen of a stack before it ended. ``shared``: its files where every stack's would be."""

    aws: Stack
    reply: Reply
    before: dict[int, str]
    after: dict[int, str]
    processes: int
    shared: set[Path]


class Bomb:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (str(self.path), "w")


def _npy(data: bytes) -> bytes:
    """An .npy file of dtype object: a header, then a pickle (numpy/numpy:numpy/lib/format.py)."""
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def test_embeddings_are_the_models(aws: Stack, world: World) -> None:
    """Not only the same as another server's: the untraced model's own."""
    texts = ["w1 w2 w3", "", "w9 other", "w1 w2 w3 w4 w5 w6 w7"]

    answer = aws.ask(texts)

    assert (answer.status, answer.headers["content-type"]) == (200, JSON)
    assert close([world.answer(text) for text in texts], answer.json)


def test_requests_at_once_get_their_own_answers_and_statuses(aws: Stack, world: World) -> None:
    """Two hundred, every third of which is refused."""
    texts = [f"w{n} w{n + 1} w{n % 7}" for n in range(200)]

    def ask(at: int) -> Any:
        return aws.ask(texts[at], **({"unknown": at} if at % 3 == 0 else {}))

    with ThreadPoolExecutor(max_workers=8) as pool:
        found = list(pool.map(ask, range(len(texts))))

    for at, reply in enumerate(found):
        if at % 3 == 0:
            assert (reply.status, reply.json["error"]) == (400, "bad-request"), at
        else:
            assert reply.status == 200, at
            assert close(world.answer(texts[at]), reply.json), at


def test_what_the_archive_carries_is_what_runs(aws: Stack) -> None:
    """The environment has none of the four packages, as AWS's container has none."""
    absent = {"msgspec", "tokenizers", "safetensors", "sentencepiece"}

    assert aws.ask("w1").status == 200
    assert set(installed()) & absent == set()


@pytest.mark.parametrize(("body", "headers", "status", "error"), ALIKE)
def test_errors_are_those_of_our_server(
    aws: Stack, ours: RunningServer, body: bytes, headers: dict[str, str], status: int, error: str
) -> None:
    """The same status and the same JSON, to the byte."""
    found = aws.call("POST", "/invocations", body, headers)

    assert (found.status, found.json["error"]) == (status, error)
    assert found.headers["content-type"] == "application/json"
    assert found.body == ours.call("POST", "/invocations", body, headers).body


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        *((body, headers) for body, headers, _, _ in ALIKE),
        (b"\xff,\xfe", {"Content-Type": "text/csv"}),
        (_npy(b"not a pickle"), {"Content-Type": "application/x-npy"}),
        (b"PK\x03\x04", {"Content-Type": "application/x-npz"}),
        (b"--x\r\nnothing", {"Content-Type": "multipart/form-data; boundary=x"}),
        (b"a=%ff", {"Content-Type": "application/x-www-form-urlencoded"}),
        (b'{"inputs":"w1"}', {"Content-Type": "application/json; charset=utf-16"}),
        (b'{"inputs":"\\ud800"}', {"Content-Type": JSON}),
        (b"[" * 5000, {"Content-Type": JSON}),
    ],
)
def test_no_answer_shows_a_trace_or_a_path(aws: Stack, body: bytes, headers: dict[str, str]) -> None:
    """In neither the body nor the reason phrase; the toolkit would put the traceback into both."""
    connection = http.client.HTTPConnection("127.0.0.1", aws.ports["inference"], timeout=60)
    connection.request("POST", "/invocations", body, headers)
    answer = connection.getresponse()
    said = answer.read() + answer.reason.encode()
    connection.close()

    assert 400 <= answer.status < 500
    for leak in (b"Traceback", b".py", b"site-packages", b"codec", str(aws.folder).encode()):
        assert leak not in said, said


@pytest.mark.parametrize(
    "content_type", ["application/x-npy", "application/x-npz", "application/pickle", JSON]
)
def test_a_pickled_body_runs_nothing(aws: Stack, tmp_path: Path, content_type: str) -> None:
    """numpy's own reader would, and so does the toolkit's default input_fn."""
    made = tmp_path / "made"
    bomb = pickle.dumps(Bomb(made))
    assert pickle.load(io.BytesIO(bomb)).close() is None  # it is live
    made.unlink()

    replies = [aws.post(body, content_type) for body in (bomb, _npy(bomb))]

    assert [reply.status for reply in replies] == [400 if content_type == JSON else 415] * 2
    assert not made.exists()


def test_a_body_above_torchserves_own_limit_is_refused_by_it(aws: Stack) -> None:
    """413 as well, but with nothing in it."""
    found = aws.post(b" " * 6_600_000)

    assert (found.status, found.body) == (413, b"")
    assert aws.ask("w1").status == 200


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """A stack of large answers that was asked for too much, and has ended."""
    folder = tmp_path_factory.mktemp("ended")
    root = build(folder / "artifact", Recipe(pooling="none")).root
    shared = {*SHARED.glob(".ts.sock.*"), *SHARED.glob(".model_server.pid")}
    with stack(archived(root, folder / "unpacked"), folder / "stack") as aws:
        before = aws.await_loaded().workers()
        reply = aws.post(json.dumps(TOO_LARGE_AN_ANSWER).encode())
        told = Ended(aws, reply, before, aws.workers(), len(aws.left()), shared)
        assert aws.ask("w1").status == 200
    return told


def test_an_answer_above_torchserves_limit_ends_no_worker(ended: Ended) -> None:
    """It would drop the worker's connection, and nobody had answers until there is another."""
    assert (ended.reply.status, ended.reply.json["error"]) == (413, "answer-too-large")
    assert ended.after == ended.before


def test_nothing_is_left_when_it_ends(ended: Ended) -> None:
    """No process, no port, no file outside of its folder."""
    assert ended.processes >= 3, "launcher, Java and worker carry the mark that is looked for"
    assert ended.aws.orphans == []
    assert ended.aws.left() == []
    for port in ended.aws.ports:
        with pytest.raises(ConnectionRefusedError):
            ended.aws.call("GET", "/ping", port=port)
    assert {*SHARED.glob(".ts.sock.*"), *SHARED.glob(".model_server.pid")} <= ended.shared


def test_another_digest_means_no_worker_and_a_ping_that_says_so(world: World, tmp_path: Path) -> None:
    """TorchServe alone would call the crash loop healthy for five minutes."""
    model = archived(world.root, tmp_path / "unpacked")
    with stack(model, tmp_path / "stack", {"TRACESHIP_DIGEST": "1" * 64}) as aws:
        aws.await_ping(500)

        with contextlib.suppress(TimeoutError):  # TorchServe keeps the request for a worker to come
            found = aws.call("POST", "/invocations", b'{"inputs":"w1"}', {"Content-Type": JSON}, seconds=3)
            assert found.status >= 500
            assert b"Traceback" not in found.body
        assert "READY" not in aws.states()
        assert aws.call("GET", "/ping").json == {"status": "Unhealthy"}
        assert "this is another artifact than the one that was asked for" in aws.log()


def test_a_torchserve_that_batches_gets_no_worker(world: World, tmp_path: Path) -> None:
    """The toolkit would report one request's status to another."""
    model = archived(world.root, tmp_path / "unpacked")
    with stack(model, tmp_path / "stack", {"SAGEMAKER_TS_BATCH_SIZE": "4"}) as aws:
        aws.await_ping(500)

        assert "READY" not in aws.states()
        assert "SAGEMAKER_TS_BATCH_SIZE cannot be used" in aws.log()
