"""A Hugging Face Hub on loopback: the few endpoints that fetching a model uses, over real HTTP.

Paths and headers are those of huggingface.co: ``/api/models/ID[/revision/REV]`` and
``/ID/resolve/REV/FILE`` with ``ETag``, ``X-Repo-Commit`` and, for errors, ``X-Error-Code``.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass
class Repository:
    """One model: commits with their files, and branches or tags that point at them."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    gated: bool = False

    def commit(self, files: dict[str, bytes], *refs: str) -> str:
        """Add a commit, point ``refs`` (``main`` unless given) at it, and return its 40 digits."""
        content = [(name, hashlib.sha1(data).hexdigest()) for name, data in sorted(files.items())]
        digest = hashlib.sha1(json.dumps(content).encode()).hexdigest()
        self.commits[digest] = files
        self.refs.update(dict.fromkeys(refs or ("main",), digest))
        return digest

    def find(self, revision: str) -> str | None:
        """The commit of a branch, tag or commit."""
        return self.refs.get(revision, revision if revision in self.commits else None)


@dataclass
class FakeHub:
    """A running Hub. ``asked`` lists what was requested, such as ``GET /api/models/org/tiny``."""

    endpoint: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    broken: int | None = None
    """A status that every request gets, such as 503."""

    def add(self, name: str) -> Repository:
        """Make an empty repository."""
        return self.repositories.setdefault(name, Repository())

    def downloads(self) -> set[str]:
        """Names of the files whose bytes were asked for."""
        return {
            line.rsplit("/", 1)[1] for line in self.asked if line.startswith("GET") and "/resolve/" in line
        }


def folder_files(folder: Path) -> dict[str, bytes]:
    """A checkpoint's files by name, ready to commit."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def environment(endpoint: str, home: Path) -> dict[str, str]:
    """That of a user who has this Hub, and nothing cached but what is below ``home``."""
    foreign = ("HF_", "TRANSFORMERS_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {
        **kept,
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home / "hf"),
        "XDG_CACHE_HOME": str(home / "cache"),
    }


@contextmanager
def running_hub() -> Iterator[FakeHub]:
    """A Hub on a free port of this machine, stopped afterwards."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    hub = FakeHub(endpoint=f"http://127.0.0.1:{server.server_address[1]}")
    server.hub = hub  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """A test's output is not an access log."""

    @property
    def _hub(self) -> FakeHub:
        hub: FakeHub = self.server.hub  # type: ignore[attr-defined]
        return hub

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self._hub.asked.append(f"{self.command} {path}")
        if self._hub.broken is not None:
            self._send(self._hub.broken, b"the hub is out of order")
        elif path.startswith("/api/models/"):
            name, _, revision = path.removeprefix("/api/models/").partition("/revision/")
            self._model(name, revision or "main")
        else:
            name, _, rest = path.removeprefix("/").partition("/resolve/")
            revision, _, file = rest.partition("/")
            self._file(name, revision, file)

    def _model(self, name: str, revision: str) -> None:
        repository = self._hub.repositories.get(name)
        if repository is None:
            self._refuse(401, "RepoNotFound")
            return
        commit = repository.find(revision)
        if commit is None:
            self._refuse(404, "RevisionNotFound")
            return
        siblings = [{"rfilename": file} for file in sorted(repository.commits[commit])]
        told = {"id": name, "modelId": name, "sha": commit, "private": False, "siblings": siblings}
        self._send(200, json.dumps(told).encode(), {"Content-Type": "application/json"})

    def _file(self, name: str, revision: str, file: str) -> None:
        repository = self._hub.repositories.get(name)
        if repository is None:
            self._refuse(401, "RepoNotFound")
            return
        commit = repository.find(revision)
        if repository.gated:
            self._refuse(403, "GatedRepo")
        elif commit is None:
            self._refuse(404, "RevisionNotFound")
        elif file not in repository.commits[commit]:
            self._refuse(404, "EntryNotFound", {"X-Repo-Commit": commit})
        else:
            data = repository.commits[commit][file]
            etag = f'"{hashlib.sha256(data).hexdigest()}"'
            self._send(200, data, {"ETag": etag, "X-Repo-Commit": commit, "Accept-Ranges": "bytes"})

    def _refuse(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        self._send(status, b"", {"X-Error-Code": code, "X-Error-Message": code, **(headers or {})})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
