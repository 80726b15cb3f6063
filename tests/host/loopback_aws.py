"""What an instance asks AWS for, on loopback: S3 with conditions, Auto Scaling, Logs, instance metadata.

S3's conditions are decided under one lock, as S3 promises; refusals are chosen by the test.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

GROUP = "the-group"


@dataclass
class Aws:
    """``objects``: content and time of change by path, ``/bucket/key``. ``waiting``: a launch waits.

    ``denied``: "read", "write", "health" and "logs" are refused. ``lost``: so many questions to the instance
    metadata fail first.
    """

    objects: dict[str, tuple[bytes, float]] = field(default_factory=dict)
    denied: set[str] = field(default_factory=set)
    waiting: bool = False
    lost: int = 0
    calls: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def put(self, path: str, content: bytes, *, age: float = 0.0) -> None:
        self.objects[path] = (content, time.time() - age)

    def called(self, action: str) -> list[dict[str, str]]:
        return [parameters for name, parameters in self.calls if name == action]


@contextmanager
def loopback_aws() -> Iterator[Aws]:
    """AWS on a free port until the end of the block."""
    aws = Aws()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"aws": aws}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    aws.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield aws
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    aws: Aws
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/latest/"):
            self._answer(200, GROUP.encode())
            return
        found = self.aws.objects.get(path)
        if "read" in self.aws.denied or found is None:  # S3 says so to who may not list
            self._refuse(403, "AccessDenied")
            return
        self._answer(200, found[0], ETag=_etag(found[0]), **{"Last-Modified": _http_date(found[1])})

    def do_PUT(self) -> None:
        path, body = unquote(urlsplit(self.path).path), self._body()
        if path.startswith("/latest/"):
            self.aws.lost -= 1
            self._answer(503 if self.aws.lost >= 0 else 200, b"token")
            return
        if "write" in self.aws.denied:
            self._refuse(403, "AccessDenied")
            return
        with self.aws.lock:
            there = self.aws.objects.get(path)
            wanted = self.headers.get("If-Match")
            fits = there is None if self.headers.get("If-None-Match") == "*" else True
            if wanted is not None:
                fits = there is not None and wanted.strip('"') == _etag(there[0]).strip('"')
            if fits:
                self.aws.put(path, body)
        if fits:
            self._answer(200, b"", ETag=_etag(body))
        else:
            self._refuse(412, "PreconditionFailed")

    def do_POST(self) -> None:
        body, target = self._body(), self.headers.get("X-Amz-Target", "")
        if target:
            self._logs(json.loads(body))
        else:
            self._auto_scaling(dict(parse_qsl(body.decode())))

    def _logs(self, request: dict[str, Any]) -> None:
        if "logs" in self.aws.denied:
            body = json.dumps({"__type": "AccessDeniedException", "message": "no"}).encode()
            self._answer(400, body, **{"Content-Type": "application/x-amz-json-1.1"})
            return
        self.aws.log += [event["message"] for event in request.get("logEvents", [])]
        self._answer(200, b"{}", **{"Content-Type": "application/x-amz-json-1.1"})

    def _auto_scaling(self, request: dict[str, str]) -> None:
        action = request.pop("Action")
        if action == "CompleteLifecycleAction" and not self.aws.waiting:
            self._refuse(400, "ValidationError", "No active Lifecycle Action found with instance ID i-1")
            return
        if "health" in self.aws.denied and action == "SetInstanceHealth":
            self._refuse(403, "AccessDenied")
            return
        self.aws.calls.append((action, request))
        self._answer(200, f"<{action}Response><{action}Result/></{action}Response>".encode())

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _refuse(self, status: int, code: str, message: str = "no") -> None:
        error = f"<Code>{code}</Code><Message>{message}</Message>"
        auto_scaling = self.command == "POST"
        text = (
            f"<ErrorResponse><Error>{error}</Error></ErrorResponse>"
            if auto_scaling
            else f"<Error>{error}</Error>"
        )
        self._answer(status, text.encode(), **{"Content-Type": "application/xml"})

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def _etag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def _http_date(seconds: float) -> str:
    return formatdate(seconds, usegmt=True)
