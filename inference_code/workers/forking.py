"""The fork server's side: it has loaded the graphs, and forks a worker whenever it is asked to.

A worker is forked twice, so that it loses its parent and becomes a child of the server, which takes
its exit code, and with which the kernel ends it.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import msgspec

from inference_code.workers.messages import MAX_BYTES, Fork, Forked, Loaded, Own

_PID_BYTES = 16


def threads() -> int:
    """Of this process."""
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def fork_workers(control: socket.socket) -> tuple[int, socket.socket, Own] | None:
    """Fork until the server is gone, which returns None.

    In each worker, return the process id that its parent must have, its channel and what else it gets.
    """
    control.sendall(msgspec.msgpack.encode(Loaded(threads())))
    decoder = msgspec.msgpack.Decoder(Fork)
    while True:
        packet, given, _flags, _address = socket.recv_fds(control, MAX_BYTES, 2)
        if not packet:
            return None
        asked, (channel, arena) = decoder.decode(packet), given
        pid = _forked()
        if pid is None:
            control.close()
            own = Own(asked.number, arena, asked.slots, asked.threads)
            return asked.server, socket.socket(fileno=channel), own
        os.close(channel)
        os.close(arena)
        control.sendall(msgspec.msgpack.encode(Forked(pid)))


def _forked() -> int | None:
    """The worker's process id, 0 if there was no room for one.

    None in the worker, once it has lost its parent.
    """
    (told, tell), (go, let_go) = os.pipe(), os.pipe()
    try:
        between = os.fork()
    except OSError:
        for end in (told, tell, go, let_go):
            os.close(end)
        return 0
    if between == 0:
        _go_between(told, tell, go, let_go)
        return None
    os.close(tell)
    os.close(go)
    os.waitpid(between, 0)
    pid = int(os.read(told, _PID_BYTES) or b"0")
    os.close(told)
    os.close(let_go)
    return pid


def _go_between(told: int, tell: int, go: int, let_go: int) -> None:
    """In the process between: fork the worker and end; return in the worker alone."""
    try:
        worker = os.fork()
        if worker:
            os.write(tell, b"%d" % worker)
    except OSError:
        worker = -1
    if worker:
        os._exit(0)
    for end in (told, tell, let_go):
        os.close(end)
    # Its end closes when the process between has ended and was waited for: the parent is another one now.
    os.read(go, 1)
    os.close(go)
