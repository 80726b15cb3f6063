"""``python -m inference_code.workers.program CHANNEL START``, two inherited descriptors: a worker, or
the fork server of several.

Started by ``programs.py`` and ``fork_server.py`` alone. It reads the artifact from sealed descriptors. A
worker runs one batch after the other, and ends when the server's end of the channel is closed, whatever
closed it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from artifact.errors import TraceshipError
from artifact.sealed import Sealed
from inference_code import log
from inference_code.errors import InferenceFailed
from inference_code.graphs import Graphs, Loader, load_graphs
from inference_code.packing import can_pack, packed
from inference_code.rows import all_finite
from inference_code.workers.arena import Arena
from inference_code.workers.forking import fork_workers
from inference_code.workers.messages import (
    MAX_BYTES,
    Beat,
    Failed,
    FromServer,
    FromWorker,
    Own,
    Ran,
    Ready,
    Refused,
    Run,
    Start,
)
from inference_code.workers.threads import best_threads

if TYPE_CHECKING:
    from artifact.graphs import Graph

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_OOM_SCORE = "500"


def main(arguments: Sequence[str] | None = None, load: Loader = load_graphs) -> int:
    """Load, say so, run until the server is gone; return the exit code."""
    channel_fd, start_fd = map(int, sys.argv[1:] if arguments is None else arguments)
    log.configure_waiting()
    _belong_to_the_server()
    channel = socket.socket(fileno=channel_fd)
    with Sealed.inherited(start_fd) as sealed:
        start = msgspec.msgpack.decode(sealed.read(), type=Start)
    log.come_from(instance=log.instance_in(os.environ), digest=start.digest)
    with contextlib.suppress(ConnectionError):
        try:
            graphs = _loaded(start, load)
        except TraceshipError as error:
            _say(channel, Refused(error.id, error.exit_code, error.what, error.why, error.fix))
            return error.exit_code
        # What was loaded stays: the collector need not look through it again and again, nor write to
        # pages that forks share.
        gc.collect()
        gc.freeze()
        own = start.own
        if own is None:
            _be_called("fork-server")
            forked = fork_workers(channel)
            if forked is None:
                return 0
            parent, channel, own = forked
            _belong_to_the_server(parent)
        log.configure()
        _be_called(f"worker-{own.number}")
        _work(channel, graphs, own)
    return 0


def _belong_to_the_server(parent: int | None = None) -> None:
    """End with it, leave signals to it, and be the first to go where memory runs out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Also in the middle of an inference, where the closed channel would be noticed late.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        # It was gone before that could be asked for.
        os._exit(0)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")


def _be_called(name: str) -> None:
    """What ps and top show."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode("ascii"))


def _loaded(start: Start, load: Loader) -> Graphs:
    import torch

    torch.set_num_threads(1)
    found = load(start.manifest, lambda path: Sealed.inherited(start.files[path]))
    return Graphs(start.manifest, _packed(found) if start.pack and can_pack() else found)


def _packed(plain: Mapping[str, Graph]) -> Mapping[str, Graph]:
    try:
        return packed(plain)
    except RuntimeError as error:
        # Of another type than oneDNN takes: they are served as they are.
        log.logger.warning("weights are not packed", extra={"why": str(error).partition("\n")[0]})
        return plain


def _work(channel: socket.socket, graphs: Graphs, own: Own) -> None:
    _say(channel, Ready(best_threads(graphs, own.threads)))
    arena = Arena(graphs.manifest, own.slots, own.arena)
    decoder = msgspec.msgpack.Decoder(FromServer)
    while packet := channel.recv(MAX_BYTES):
        asked = decoder.decode(packet)
        _say(channel, asked if isinstance(asked, Beat) else _ran(asked, graphs, arena))


def _ran(asked: Run, graphs: Graphs, arena: Arena) -> Ran | Failed:
    run = graphs.encode if asked.encode else graphs.run
    started = time.perf_counter()
    try:
        found = run(asked.shape, arena.inputs(asked.slot, asked.shape), asked.wanted)
        seconds = time.perf_counter() - started
        bad = tuple(at for at, outputs in enumerate(found) if not all_finite(outputs))
        return Ran(asked.slot, arena.write(asked.slot, found), seconds, not_finite=bad)
    except Exception as error:
        # Whatever a graph raises must reach its callers, and must not end the worker.
        known = isinstance(error, InferenceFailed)
        why = error.why if isinstance(error, InferenceFailed) else type(error).__name__
        trace = "" if known else traceback.format_exc(limit=-20)[-16_000:]
        seconds = time.perf_counter() - started
        return Failed(slot=asked.slot, error=why, trace=trace, known=known, seconds=seconds)


def _say(channel: socket.socket, message: FromWorker) -> None:
    channel.sendall(msgspec.msgpack.encode(message))


def run_to_the_end(load: Loader = load_graphs) -> None:
    """``main`` as a program. The interpreter's own shutdown is left out: torch may be in a thread."""
    code = main(load=load)
    logging.shutdown()
    os._exit(code)


if __name__ == "__main__":
    run_to_the_end()
