"""One connection's exchanges, its deadline, and the end of a server, without processes."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
import weakref
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop

from inference_code.application import Application
from inference_code.exchange import Exchange, Response, rendered
from inference_code.http_server import HttpServer
from inference_code.protocol import Connections, Handler
from inference_code.timer import Timer
from inference_code.trail import Trail

GET = b"GET /a%20b?c HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"


def _with_server(
    handler: Handler, work: Callable[[HttpServer, int], Awaitable[None]], **limits: int
) -> Connections:
    """Run ``work`` against a server of ``handler``; return what its connections shared."""

    async def run() -> Connections:
        connections = Connections(handler, **limits)  # type: ignore[arg-type]
        with socket.create_server(("127.0.0.1", 0)) as listener:
            server = HttpServer(connections)
            await server.start(listener)
            await asyncio.wait_for(work(server, listener.getsockname()[1]), 20)
        return connections

    return uvloop.run(run())


async def _empty(exchange: Exchange) -> None:
    await exchange.answer(Response(200))


def test_what_is_never_answered_ends_with_the_drain() -> None:
    """The platform kills at its own time; until then the client is told, and the connection closed."""

    async def never(_exchange: Exchange) -> None:
        await asyncio.get_running_loop().create_future()

    async def work(server: HttpServer, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET)
        await asyncio.sleep(0)
        while not connections_of(server).tasks:
            await asyncio.sleep(0.01)

        assert not await server.close(patience=0.1)
        assert (await reader.read()).startswith(b"HTTP/1.1 500 ")
        writer.close()

    connections = _with_server(never, work)

    assert not connections.tasks


def test_idle_connections_do_not_hold_up_the_drain() -> None:
    """A balancer keeps many of them."""

    async def work(server: HttpServer, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET)
        await reader.readuntil(b"\r\n\r\n")
        began = time.monotonic()

        assert await server.close(patience=10)
        assert time.monotonic() - began < 5
        writer.close()

    _with_server(_empty, work)


def test_a_client_that_reads_nothing_gets_no_more_answers() -> None:
    """Its answers would pile up in memory: the next one waits until the last is on its way."""
    answered = 0

    async def large(exchange: Exchange) -> None:
        nonlocal answered
        await exchange.answer(Response(200, body=b"a" * 20_000_000))
        answered += 1

    async def work(server: HttpServer, port: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.setblocking(False)
            client.sendall(GET * 20)
            for _ in range(50):
                await asyncio.sleep(0.01)
            assert answered == 1
        await server.close(patience=1)

    _with_server(large, work)


OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n"


@pytest.mark.parametrize("extra", [b"", OFFER])
@pytest.mark.parametrize("leaves", [False, True])
def test_bodies_that_do_not_arrive_are_bounded_all_together(extra: bytes, leaves: bool) -> None:
    """Each may take half a minute, and a thousand of them would be the machine's memory."""

    async def reads(exchange: Exchange) -> None:
        body = await exchange.body(10_000)
        await exchange.answer(Response(200, body=b"%d" % len(body)))

    async def posted(port: int, part: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: h\r\n" + extra + b"Content-Length: 1000\r\n\r\n" + part)
        return reader, writer

    async def work(server: HttpServer, port: int) -> None:
        first, writes_first = await posted(port, b"a" * 800)
        while connections_of(server).unfinished != 800:
            await asyncio.sleep(0.01)
        second, writes_second = await posted(port, b"a" * 800)
        refused = await second.read()
        assert refused.startswith(b"HTTP/1.1 429 ")
        assert b"retry-after: 1\r\n" in refused
        assert b"too-many-bodies" in refused
        if leaves:
            writes_first.transport.abort()
        else:
            writes_first.write(b"a" * 200)
            assert (await first.readuntil(b"\r\n\r\n1000")).startswith(b"HTTP/1.1 200 ")
        while connections_of(server).unfinished:
            await asyncio.sleep(0.01)
        third, writes_third = await posted(port, b"a" * 1000)
        assert (await third.readuntil(b"\r\n\r\n1000")).startswith(b"HTTP/1.1 200 ")
        for writer in (writes_first, writes_second, writes_third):
            writer.close()
        await server.close(patience=1)

    _with_server(reads, work, most_unfinished=1000)


def test_a_body_longer_than_allowed_is_not_kept() -> None:
    """A chunked body has no length to go by; what comes after the limit is dropped."""
    kept: list[int] = []

    async def early(exchange: Exchange) -> None:
        await exchange.answer(Response(413))

    async def work(server: HttpServer, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(POST % 10_000_000 + b"a" * 1_000_000)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"a" * 9_000_000 + GET)
        answer = await reader.readuntil(b"\r\n\r\n")
        kept.append(len(answer))
        writer.close()
        await server.close(patience=1)

    _with_server(early, work)

    assert kept


@pytest.mark.parametrize("header", [(b"x", b"a\r\nb: c"), (b"x\n", b""), (b"x", b"\r")])
def test_no_header_can_end_its_line(header: tuple[bytes, bytes]) -> None:
    """Whatever is echoed by mistake, an answer stays one answer."""
    with pytest.raises(ValueError, match="end of a line"):
        rendered(Response(200, headers=(header,)))


def test_an_answer_to_head_has_the_length_and_no_body() -> None:
    """RFC 9110, 9.3.2."""
    data = rendered(Response(405, body=b"abc"), keep_alive=True, bodyless=True)

    assert b"content-length: 3\r\n" in data
    assert data.endswith(b"\r\n\r\n")
    assert b"connection" not in data


def test_a_deadline_that_moves_is_kept_without_a_new_timer() -> None:
    """Sooner, later, not at all: it passes once, and at the time that was set last."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        passed: list[float] = []
        timer, began = Timer(loop, lambda: passed.append(time.monotonic() - began)), time.monotonic()
        timer.set(began + 60)
        timer.set(began + 0.05)
        timer.set(began + 0.2)
        handle = timer._handle
        timer.set(began + 0.25)
        timer.set(began + 0.2)
        timer.set(began + 0.25)
        assert timer._handle is handle
        while not passed:
            await asyncio.sleep(0.01)
        assert passed[0] >= 0.25
        timer.set(time.monotonic() + 0.01)
        timer.unset()
        await asyncio.sleep(0.05)
        timer.stop()
        assert len(passed) == 1

    uvloop.run(run())


@pytest.mark.parametrize("past", [0.0, 0.0003, 1.0])
def test_a_deadline_that_has_passed_may_be_set_again(past: float) -> None:
    """The loop has no timer for what is due at once."""

    async def run() -> None:
        passed: list[float] = []
        timer = Timer(asyncio.get_running_loop(), lambda: passed.append(time.monotonic()))
        for _ in range(3):
            timer.set(time.monotonic() - past)
        while not passed:
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        assert len(passed) == 1

    uvloop.run(run())


class _Numbers:
    """An answer that can be watched."""

    size = 1


@pytest.mark.parametrize("seconds", [0.0, 1.0], ids=["on the loop", "in a thread"])
def test_an_idle_connection_does_not_keep_its_last_answer(seconds: float) -> None:
    """A balancer holds hundreds open, and an answer may have megabytes, wherever it was written."""

    class Job:
        def __init__(self) -> None:
            self.future: asyncio.Future[list[SimpleNamespace]] = asyncio.get_running_loop().create_future()
            self.deadline = time.monotonic() + 60
            self.began, self.ended, self.buckets, self.workers = 1.0, 1.0, {"b1_s8"}, {"0"}

    async def run() -> None:
        job, numbers = Job(), _Numbers()
        job.future.set_result([SimpleNamespace(arrays=[numbers])])
        watched, jobs = weakref.ref(numbers), [job]
        del job, numbers
        engine = SimpleNamespace(
            full=lambda _rows: False, submit=lambda _rows: jobs.pop(), give_up=lambda _job: None
        )
        served = SimpleNamespace(limits=SimpleNamespace(queue=1, deadline=60.0))
        service = SimpleNamespace(name="default", engine=engine, model=None, served=served)
        extent = SimpleNamespace(seconds=seconds)
        asked = SimpleNamespace(rows=(), rows_of=(), form="application/json", extent=extent)
        dialect = SimpleNamespace(
            readable=("application/json",),
            prepared=lambda *_: asked,
            offered=lambda *_: ("application/json",),
            written=lambda *_: b"[]",
        )
        headers = {b"content-type": [b"application/json"]}
        exchange = Exchange(_Nobody(), "POST", "/invocations", headers, keep_alive=True)
        exchange.end()
        application = Application([], _silent())
        await application._invocations(service, dialect, exchange, Trail())  # type: ignore[arg-type]
        application.close()
        # Its thread may be a moment behind.
        for _ in range(500):
            gc.collect()
            if watched() is None:
                break
            await asyncio.sleep(0.01)
        assert watched() is None
        assert not exchange.lost

    uvloop.run(run())


class _Nobody:
    """A connection that nothing is written to."""

    def wanted(self, exchange: Exchange) -> None: ...

    async def send(self, exchange: Exchange, response: Response) -> None: ...


def _silent() -> Any:
    return SimpleNamespace(request=lambda *_, **__: None)


def connections_of(server: HttpServer) -> Connections:
    return server._connections
