"""HTTP as attackers and broken clients speak it: refused, and the connection closed."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import select
import socket
import threading
import time
from collections.abc import Iterator
from typing import ClassVar

import pytest
import uvloop

from artifact.serving import KEEP_ALIVE_SECONDS, MAX_BODY_BYTES
from inference_code.errors import ClientGone
from inference_code.exchange import Exchange, Response
from inference_code.http_server import HttpServer
from inference_code.protocol import Connections, GuardedProtocol
from tests.inference_code.running import RunningServer, send
from tests.kit.http_load import Client, request
from tests.kit.trickling import CutOff, siege

POST = b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
BODY = b'{"inputs":"w1"}'
CHUNKS = b"f\r\n" + BODY + b"\r\n0\r\n\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
PATIENCE = 30.0
"""Seconds without a byte after which a connection counts as left open; idle ones are kept for longer."""


def _until_closed(connection: socket.socket) -> bytes:
    """Everything until the server closes it; ``TimeoutError`` where it does not."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def test_the_platforms_times_are_kept() -> None:
    """10 s for a head, 30 s for a request, longer than the balancer's 60 s for idling."""
    assert GuardedProtocol.head_seconds == 10
    assert GuardedProtocol.request_seconds == 30
    assert KEEP_ALIVE_SECONDS > 60


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(
            POST + b"Content-Length: 15\r\nTransfer-Encoding: chunked\r\n\r\n" + BODY, id="CL and TE"
        ),
        pytest.param(POST + b"Content-Length: 15\r\nContent-Length: 16\r\n\r\n" + BODY, id="two lengths"),
        pytest.param(POST + b"Content-Length: +15\r\n\r\n" + BODY, id="signed length"),
        pytest.param(POST + b"Content-Length: -1\r\n\r\n" + BODY, id="negative length"),
        pytest.param(POST + b"Transfer-Encoding: xchunked\r\n\r\n" + BODY, id="odd coding"),
        pytest.param(b"GET /ping HTTP/1.1\nHost: a\n\n", id="bare line feeds"),
        pytest.param(b"GET /ping HTTP/1.1\r\nHost: a\r\nX: a\r\n folded\r\n\r\n", id="folded header"),
        pytest.param(b"GET /ping HTTP/1.1\r\nHost : a\r\n\r\n", id="space before colon"),
        pytest.param(b"GET /ping HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", id="NUL"),
        pytest.param(b"GET /ping HTTP/1.1\r\n\r\n", id="no Host"),
        pytest.param(b"GET /ping HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", id="two Hosts"),
        pytest.param(CHUNKED + b"z\r\n", id="bad chunk size"),
        pytest.param(CHUNKED + b"f\n" + BODY + b"\n0\n\n", id="chunk with line feeds"),
        pytest.param(CHUNKED + b"f\r\n" + BODY + b"xx0\r\n\r\n", id="bad chunk end"),
        pytest.param(CHUNKED + b"f;a=\nb\r\n" + BODY + b"\r\n0\r\n\r\n", id="line feed in an extension"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="TLS"),
        pytest.param(b"CONNECT example.com:443 HTTP/1.1\r\nHost: a\r\n\r\n", id="CONNECT"),
        pytest.param(b"GET http://[ HTTP/1.1\r\nHost: a\r\n\r\n", id="broken target"),
        pytest.param(b"GET /" + b"a" * 5_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", id="long target"),
        pytest.param(b"GET /ping HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", id="long header"),
        pytest.param(b"GET /ping HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 20_000, id="endless header"),
        pytest.param(b"GET /ping HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * 101 + b"\r\n", id="101 headers"),
        pytest.param(
            b"GET /ping HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * 5_000 + b"\r\n", id="5,000 headers"
        ),
        pytest.param(
            b"GET /ping HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n", id="1 MB header"
        ),
        pytest.param(b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", id="70 kB target"),
        pytest.param(
            POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNKS, id="a coding under chunked"
        ),
        pytest.param(POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n" + CHUNKS, id="a coding over chunked"),
        pytest.param(POST + b"Transfer-Encoding:\r\n\r\n" + CHUNKS, id="empty coding"),
        pytest.param(CHUNKED.replace(b"1.1", b"1.0") + CHUNKS, id="chunks in HTTP/1.0"),
        pytest.param(CHUNKED + b"f;" + b"a" * 600_000 + b"\r\n", id="endless extension"),
        pytest.param(CHUNKED + b"1;" + b"a" * 600_000 + b"\r\n", id="long extension of a short chunk"),
        pytest.param(b"GET /ping HTTP/1.1\rHost: a\r\r", id="bare carriage returns"),
        pytest.param(POST + b"Content-Length: 0x0f\r\n\r\n" + BODY, id="length in hex"),
        pytest.param(POST + b"Content-Length: 15, 15\r\n\r\n" + BODY, id="list of lengths"),
        pytest.param(POST + b"Content-Length: 1" + b"0" * 30 + b"\r\n\r\n", id="length beyond 64 bits"),
        pytest.param(POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n", id="two codings"),
        pytest.param(CHUNKED + b"f" * 17 + b"\r\n", id="chunk size beyond 64 bits"),
        pytest.param(CHUNKED + b"-1\r\n", id="negative chunk size"),
        pytest.param(b"GET /ping HTTP/9.9\r\nHost: a\r\n\r\n", id="unknown version"),
        pytest.param(b"GET /ping HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", id="header without a name"),
        pytest.param(b"GET /ping HTTP/1.1\r\nHost: a\r\nX(: b\r\n\r\n", id="odd character in a name"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2 by prior knowledge"),
    ],
)
def test_doubtful_framing_is_refused_and_closed(server: RunningServer, data: bytes) -> None:
    """A balancer in front may have read it another way, so nothing may follow on that connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
        connection.sendall(data)
        answer = _until_closed(connection)

    status = int(answer.split(b" ", 2)[1])
    assert 400 <= status < 500
    assert status != 408, "it waited for more"
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"Traceback" not in answer
    assert server.call("GET", "/ping").status == 200


OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"


@pytest.mark.parametrize("split", [10, 160, 200, 10_000])
def test_an_offer_to_upgrade_is_ignored(server: RunningServer, split: int) -> None:
    """Java's client offers HTTP/2 by default; it gets its answer, on a connection used once."""
    data = POST + OFFER + b"Content-Length: 15\r\n\r\n" + BODY + b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\n"

    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
        connection.sendall(data[:split])
        select.select([connection], [], [], 0.1)
        connection.sendall(data[split:])
        answer = _until_closed(connection)

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_an_offer_to_upgrade_cannot_hide_a_chunked_body(server: RunningServer) -> None:
    """Where it ends could not be told."""
    answer = server.raw(POST + OFFER + b"Transfer-Encoding: chunked\r\n\r\nf\r\n" + BODY + b"\r\n0\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"bad-http" in answer
    assert answer.count(b"HTTP/1.1 ") == 1


def test_chunked_bodies_are_read(server: RunningServer) -> None:
    """Clients that stream get the same answer."""
    whole = server.ask("w1")
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request(
        "POST", "/invocations", iter([BODY[:4], BODY[4:]]), {"Content-Type": "application/json"},
        encode_chunked=True,
    )  # fmt: skip

    assert connection.getresponse().read() == whole.body
    connection.close()


def test_the_smallest_chunks_are_read(server: RunningServer) -> None:
    """Their framing is five times what they carry."""
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY.replace(b"w1", b"w1" + b" " * 20_000))
    answer = server.raw(CHUNKED.replace(b"Host: a", b"Host: a\r\nConnection: close") + chunks + b"0\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200 ")


def test_a_chunked_body_over_the_limit_is_refused(server: RunningServer) -> None:
    """Without a length the limit counts what arrives."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    chunks = (b"a" * 1_048_576 for _ in range(7))
    connection.request(
        "POST", "/invocations", chunks, {"Content-Type": "application/json"}, encode_chunked=True
    )

    assert connection.getresponse().status == 413
    connection.close()


def test_pipelined_requests_are_answered_in_order(server: RunningServer) -> None:
    """Two requests in one packet."""
    one = POST + b"Content-Length: 15\r\n\r\n" + BODY
    last = b"GET /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

    answer = server.raw(one + last)

    assert answer.index(b"HTTP/1.1 200 ") < answer.index(b"HTTP/1.1 404 ")


def test_a_refusal_never_lands_inside_anothers_answer(server: RunningServer) -> None:
    """A good request followed by garbage: at most the good answer, never the garbage's first."""
    answer = server.raw(POST + b"Content-Length: 15\r\n\r\n" + BODY + b"\x00garbage\r\n\r\n")

    assert not answer.startswith(b"HTTP/1.1 400")


def test_hangups_leave_the_server_well(server: RunningServer) -> None:
    """Clients that leave in the middle of a head, of a body, before the answer."""
    beginnings = [b"GET /pi", POST + b"Content-Length: 15\r\n\r\n" + BODY[:3], CHUNKED + b"f\r\n" + BODY[:2]]
    for data in [*beginnings, POST + b"Content-Length: 15\r\n\r\n" + BODY] * 10:
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            connection.sendall(data)

    assert server.ask("w1").status == 200


class Impatient(GuardedProtocol):
    """The same protocol with times that a test can wait for."""

    head_seconds: ClassVar[float] = 0.5
    request_seconds: ClassVar[float] = 2.0
    linger_seconds: ClassVar[float] = 0.5


async def _reads_it_all(exchange: Exchange) -> None:
    """An application that reads whole bodies, but for two paths that it answers at once."""
    if exchange.path in {"/early", "/close"}:
        exchange.keep_alive = exchange.path == "/early"
        await exchange.answer(Response(status=413))
        return
    try:
        await exchange.body(MAX_BODY_BYTES)
    except ClientGone:
        return
    await exchange.answer(Response(status=200))


class ImpatientWithHeads(Impatient):
    """One that waits so long for bodies that nobody takes that for the time of a head."""

    request_seconds: ClassVar[float] = 6.0


class Lingering(Impatient):
    """One that a slow client can rely on to be heard to the end."""

    linger_seconds: ClassVar[float] = PATIENCE


@pytest.fixture
def impatient(request: pytest.FixtureRequest) -> Iterator[int]:
    """The port of a server in a thread of this process, with short times or those of a protocol asked for."""
    protocol = getattr(request, "param", Impatient)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        loop = uvloop.new_event_loop()
        over = asyncio.Event()

        async def serve() -> None:
            server = HttpServer(Connections(_reads_it_all, keep_alive=3), protocol)
            await server.start(listener)
            await over.wait()
            await server.close(patience=5)

        thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
        thread.start()
        yield port
        loop.call_soon_threadsafe(over.set)
        thread.join(timeout=PATIENCE)
        loop.close()
        assert not thread.is_alive()


def _trickle(port: int, first: bytes, drop: bytes) -> tuple[float, bytes]:
    """Send ``first`` and then ``drop`` again and again until the server closes; seconds and answer."""
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=0.05) as connection:
        connection.sendall(first)
        answer = b""
        while time.monotonic() - started < PATIENCE:
            with contextlib.suppress(TimeoutError):
                part = connection.recv(4096)
                if not part:
                    break
                answer += part
                continue
            try:
                connection.sendall(drop)
            except OSError:
                break
    return time.monotonic() - started, answer


@pytest.mark.parametrize("impatient", [ImpatientWithHeads], indirect=True)
def test_a_head_that_trickles_in_is_cut_off(impatient: int) -> None:
    """However busily it trickles: the time runs from the first byte."""
    seconds, answer = _trickle(impatient, b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"a")

    assert 0.4 < seconds < ImpatientWithHeads.request_seconds
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_body_that_trickles_in_is_cut_off(impatient: int) -> None:
    """The whole request has one limit."""
    seconds, answer = _trickle(impatient, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n", b"a")

    assert 1.8 < seconds < PATIENCE
    assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("impatient", [ImpatientWithHeads], indirect=True)
def test_five_hundred_slow_clients_are_cut_off_and_nobody_else_notices(impatient: int) -> None:
    """Each at its own limit; ``python -m bench.tricklers`` does it with the real times."""

    async def besieged() -> tuple[list[CutOff], list[CutOff], list[int]]:
        besieging = asyncio.ensure_future(
            siege(impatient, heads=250, bodies=250, every=0.2, patience=PATIENCE)
        )
        client, statuses = Client(impatient), []
        while not besieging.done():
            statuses.append((await client.ask(request(b"x", path="/"))).status)
            await asyncio.sleep(0.01)
        client.close()
        return (*await besieging, statuses)

    heads, bodies, others = asyncio.run(besieged())

    limit = ImpatientWithHeads.request_seconds
    assert all(0.4 < end.seconds < limit for end in heads), max(heads, key=lambda end: end.seconds)
    assert all(limit - 0.2 < end.seconds < PATIENCE for end in bodies), max(end.seconds for end in bodies)
    assert {end.answer[:13] for end in (*heads, *bodies)} == {b"HTTP/1.1 408 "}
    assert len(others) > 20
    assert set(others) == {200}


@pytest.mark.parametrize("impatient", [Lingering], indirect=True)
@pytest.mark.parametrize(
    ("first", "status"),
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", b"400", id="refused head"),
        pytest.param(b"GET /" + b"a" * 5_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"414", id="long target"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * 101 + b"\r\n", b"431", id="headers"),
        pytest.param(CHUNKED + b"z\r\n", b"400", id="refused body"),
        pytest.param(
            b"POST /close HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n", b"413", id="early answer"
        ),
    ],
)
def test_a_client_that_is_still_sending_can_read_its_refusal(
    impatient: int, first: bytes, status: bytes
) -> None:
    """A socket closed with unread bytes is reset, and the reset would take the answer with it."""
    with socket.create_connection(("127.0.0.1", impatient), timeout=PATIENCE) as connection:
        connection.sendall(first)
        select.select([connection], [], [], PATIENCE)
        for _ in range(20):
            connection.sendall(b"a" * 4096)
        with connection.makefile("rb") as reader:
            answer = reader.read()

    assert answer.startswith(b"HTTP/1.1 " + status)
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_refused_client_that_never_stops_sending_is_cut_off(impatient: int) -> None:
    """It may read its answer, not keep the connection."""
    started = time.monotonic()
    cut_off = False
    with socket.create_connection(("127.0.0.1", impatient), timeout=PATIENCE) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        while not cut_off and time.monotonic() - started < PATIENCE:
            try:
                connection.sendall(b"a" * 4096)
            except ConnectionError:
                cut_off = True

    assert cut_off


def test_an_answer_given_before_the_body_is_the_only_one(impatient: int) -> None:
    """The rest of the body is too slow, but its answer has been sent already."""
    _, answer = _trickle(impatient, b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n", b"a")

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_silent_connection_is_closed_like_an_idle_one(impatient: int) -> None:
    """One that never speaks does not hold a descriptor for ever."""
    with socket.create_connection(("127.0.0.1", impatient), timeout=PATIENCE) as connection:
        answer = _until_closed(connection)

    assert answer == b""


def test_prompt_clients_are_not_cut_off(impatient: int) -> None:
    """Many requests on one connection, for longer than one request may take."""
    connection = http.client.HTTPConnection("127.0.0.1", impatient, timeout=PATIENCE)
    started = time.monotonic()
    statuses = set()
    while time.monotonic() - started < 2.5:
        statuses.add(send(connection, "POST", "/", b"x").status)
    connection.close()

    assert statuses == {200}
