"""Stands in for ``python -m inference_code fetch|serve`` where a test is not about the model.

Keeps the contract that the local AWS relies on: the variables of ``artifact.serving``, exit code
3 for an artifact that is not the pinned one, /ping and /invocations. Standard library only.
"""

from __future__ import annotations

import http.server
import json
import os
import sys
import urllib.request
from pathlib import Path
from typing import Any

MODEL = Path(os.environ["TRACESHIP_MODEL_DIR"])
PINNED = os.environ.get("TRACESHIP_DIGEST")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    artifact: dict[str, Any]

    def do_GET(self) -> None:
        gate = self.artifact.get("gate")
        self.reply(503 if gate and not Path(gate).exists() else self.artifact.get("ping", 200), b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = json.loads(body) if body[:1] == b"{" else {}
        answer = {
            "digest": self.artifact["digest"],
            "pid": os.getpid(),
            "bytes": len(body),
            "content_type": self.headers["Content-Type"],
            "accept": self.headers["Accept"],
        }
        if "die" in request:
            os._exit(9)
        self.reply(request.get("status", 200), request.get("say", json.dumps(answer)).encode())

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def fetch() -> None:
    location = os.environ["TRACESHIP_RELEASE"].removeprefix("s3://")
    with urllib.request.urlopen(f"{os.environ['AWS_ENDPOINT_URL']}/{location}/manifest.json") as answer:
        (MODEL / "manifest.json").write_bytes(answer.read())


def serve() -> None:
    Handler.artifact = json.loads((MODEL / "manifest.json").read_text())
    if PINNED not in (None, Handler.artifact["digest"]):
        print(f"pinned {PINNED}, found {Handler.artifact['digest']}")
        sys.exit(3)
    address = (os.environ["TRACESHIP_HOST"], int(os.environ["SAGEMAKER_BIND_TO_PORT"]))
    http.server.ThreadingHTTPServer(address, Handler).serve_forever()


if __name__ == "__main__":
    {"fetch": fetch, "serve": serve}[sys.argv[-1]]()
