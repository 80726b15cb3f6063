"""``python -m bench.overload`` says so where a server does what it must not do."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

import pytest

from bench.overload import measure


class _Server(ThreadingHTTPServer):
    request_queue_size = 64


@contextmanager
def _answering(every_tenth: int) -> Iterator[int]:
    """A server on loopback that gives every tenth request another status than 200; its port."""
    asked = count(1)

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._say(200)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._say(every_tenth if next(asked) % 10 == 0 else 200)

        def _say(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    with _Server(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("status", "odd"), [(200, False), (429, True), (500, True)])
def test_what_must_not_be_is_counted(status: int, odd: bool) -> None:
    """A 500, and a 429 that does not say when to come again."""
    with _answering(every_tenth=status) as port:
        found = asyncio.run(measure(port, os.getpid(), seconds=0.5, pause=0.02, times=[1.0]))

    assert (found > 0) == odd
