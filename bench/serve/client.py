"""A closed-loop HTTP client of one thread: ``python -m bench.serve.client`` with a job on stdin.

Each connection is kept alive and sends the next body as soon as it has the answer to the last one.
It does little else, so that it takes some 50 microseconds of processor time a request. Prints one
JSON object (``Result``).
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

_ANSWER_SECONDS = 30.0


@dataclass(frozen=True)
class Job:
    """``bodies``: a file with one JSON body a line, sent in turn."""

    port: int
    path: str
    bodies: str
    clients: int
    seconds: float


@dataclass(frozen=True)
class Result:
    """``milliseconds``: of every request that was answered with 200. ``cpu_seconds``: of this client."""

    seconds: float
    milliseconds: list[float]
    errors: int
    cpu_seconds: float


class _Connection:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.started = 0.0

    def send(self, request: bytes) -> None:
        self.received = b""
        self.started = time.perf_counter()
        self.socket.sendall(request)

    def answered(self) -> int | None:
        """Read what there is; the status once the answer is whole; 0 if the server hung up."""
        chunk = self.socket.recv(1 << 18)
        if not chunk:
            return 0
        self.received += chunk
        head, gap, body = self.received.partition(b"\r\n\r\n")
        if not gap:
            return None
        return int(head[9:12]) if _whole(head.lower(), body) else None


def _whole(head: bytes, body: bytes) -> bool:
    _, found, value = head.partition(b"content-length:")
    if found:
        return len(body) >= int(value.split(b"\r\n", 1)[0])
    if b"transfer-encoding: chunked" in head:
        return body.endswith(b"0\r\n\r\n")
    raise SystemExit("an answer with neither a length nor chunks")


def run(job: Job) -> Result:
    """Load for ``job.seconds``, then wait for the answers that are still out."""
    requests = [_request(job, body) for body in Path(job.bodies).read_bytes().splitlines()]
    milliseconds: list[float] = []
    errors = at = 0
    poll = select.epoll()
    open_: dict[int, _Connection] = {}

    def begin() -> None:
        nonlocal at
        connection = _Connection(job.port)
        open_[connection.socket.fileno()] = connection
        poll.register(connection.socket.fileno(), select.EPOLLIN)
        connection.send(requests[at % len(requests)])
        at += 1

    def end(number: int) -> None:
        poll.unregister(number)
        open_.pop(number).socket.close()

    used, started = time.process_time(), time.perf_counter()
    for _ in range(job.clients):
        begin()
    while open_:
        events = poll.poll(_ANSWER_SECONDS)
        if not events:
            errors += len(open_)
            break
        for number, _ in events:
            connection = open_[number]
            try:
                status = connection.answered()
            except ConnectionError:
                status = 0
            if status is None:
                continue
            now = time.perf_counter()
            over = now - started >= job.seconds
            if status == 200:
                milliseconds.append((now - connection.started) * 1000)
            else:
                errors += 1
            if over or status == 0:
                end(number)
                if not over:
                    begin()
            else:
                connection.send(requests[at % len(requests)])
                at += 1
    seconds = time.perf_counter() - started
    return Result(seconds, milliseconds, errors, time.process_time() - used)


def _request(job: Job, body: bytes) -> bytes:
    head = f"POST {job.path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


if __name__ == "__main__":
    print(json.dumps(asdict(run(Job(**json.load(sys.stdin))))))
