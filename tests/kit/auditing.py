"""What a server's processes do beyond answering, as Python's own audit hooks report it.

A ``sitecustomize`` on the path of the server puts the hook into it and into every Python process below
it, before any of our code runs; it cannot be removed. Each event is one line of a file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.inference_code.running import CHECKOUT

WATCHED = (
    *("pickle.find_class", "marshal.loads", "exec", "compile", "import", "ctypes.dlopen"),
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty"),
    *("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.bind"),
    *("open", "os.remove", "os.rename", "os.mkdir", "os.link", "os.symlink", "os.chmod", "os.truncate"),
)

_HOOK = """
import json, os, sys, threading
watched, file = set({watched!r}), os.open({log!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
inside = threading.local()
def hook(event, arguments):
    if event not in watched or getattr(inside, "now", False):
        return
    if event == "open" and not isinstance(arguments[0], int):
        mode, flags = arguments[1], arguments[2]
        if not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
    inside.now = True
    try:
        if event == "exec":
            arguments = (arguments[0].co_filename, arguments[0].co_name)
        elif event == "compile":
            arguments = (str(arguments[1]),)
        line = json.dumps([os.getpid(), event, [str(a)[:200] for a in arguments]]) + "\\n"
        os.write(file, line.encode())
    finally:
        inside.now = False
sys.addaudithook(hook)
"""


@dataclass(frozen=True)
class Event:
    """``arguments`` as strings; of ``exec`` and ``compile`` the file that the code came from."""

    process: int
    name: str
    arguments: tuple[str, ...]


class Auditor:
    """Give ``environment`` to a server. ``heard`` is everything since the last ``forget``."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._log = folder / "events"
        self._log.touch()
        self._from = 0
        hook = _HOOK.format(watched=WATCHED, log=str(self._log))
        (folder / "sitecustomize.py").write_text(hook)
        self.environment = {"PYTHONPATH": f"{folder}:{CHECKOUT}"}

    def forget(self) -> None:
        self._from = self._log.stat().st_size

    def heard(self) -> list[Event]:
        return self._read(self._from)

    def all(self) -> list[Event]:
        return self._read(0)

    def _read(self, start: int) -> list[Event]:
        with self._log.open("rb") as file:
            file.seek(start)
            found: list[Any] = [json.loads(line) for line in file]
        return [Event(process, name, tuple(arguments)) for process, name, arguments in found]
