"""A worker of our server whose graphs sleep as long as a device would take (``stand_in.Device``).

Until the server has answered once (``measure.ANSWERED``) the graphs answer themselves, which proves the
worker; after that the last answer is repeated, and costs the host nothing. The seconds that the
device would have worked go to a file of eight bytes, a double, so that the bench can read them
while it runs. What the host takes to notice the end of a sleep is not in them.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artifact.manifest import Manifest
from bench.serve.measure import ANSWERED
from bench.serve.stand_in import CALL_MS, TOKENS_MS, Device
from inference_code.graphs import Take, load_graphs
from inference_code.workers.program import run_to_the_end

_FILES = "busy-*"


class Asleep:
    """In the place of a graph: tensors in, an answer out, after a sleep."""

    def __init__(self, graph: Any, device: Device, busy: Busy) -> None:
        self._graph = graph
        self._device = device
        self._busy = busy
        self._answer: Any = None
        self._proven = False

    def __call__(self, *inputs: Any) -> Any:
        if not self._proven:
            self._answer = self._graph(*inputs)
            self._proven = Path(tempfile.gettempdir(), ANSWERED).exists()
        seconds = self._device.seconds(inputs[0].numel())
        time.sleep(seconds)
        self._busy.add(seconds)
        return self._answer


class Busy:
    """A sum of seconds in a file that others may read at any time."""

    def __init__(self, folder: Path) -> None:
        self._sum = 0.0
        path = folder / _FILES.replace("*", str(os.getpid()))
        path.write_bytes(bytes(8))
        with path.open("r+b") as file:
            self._file = mmap.mmap(file.fileno(), 8)

    def add(self, seconds: float) -> None:
        self._sum += seconds
        self._file[:] = struct.pack("d", self._sum)


def busy_seconds(folder: Path) -> float:
    """What all workers of the server that runs in ``folder`` stood for, until now."""
    return float(sum(struct.unpack("d", path.read_bytes())[0] for path in folder.glob(_FILES)))


def _load(manifest: Manifest, take: Take) -> Mapping[str, Any]:
    device = Device(float(os.environ[CALL_MS]), float(os.environ[TOKENS_MS]))
    busy = Busy(Path(tempfile.gettempdir()))
    return {name: Asleep(graph, device, busy) for name, graph in load_graphs(manifest, take).items()}


if __name__ == "__main__":
    run_to_the_end(load=_load)
