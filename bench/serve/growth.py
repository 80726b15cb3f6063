"""``python -m bench.serve.growth``: how our figures grow with length, texts a request, and workers.

Each table changes one thing. Texts are of one length each, and 8 clients ask, so that batches form;
tokens per processor second tell what padding and small batches cost.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.serve.client import Job
from bench.serve.compiled import BUCKETS, compiled
from bench.serve.figures import MIB, Point, table
from bench.serve.goals import OURS
from bench.serve.load import load
from bench.serve.measure import Started, point, started
from bench.serve.servers import SERVERS, bodies
from bench.serve.texts import mixed, of_length

_CLIENTS = 8
_WARM_SECONDS = 1.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", default="8,16,32,64,128", help="tokens, with commas (%(default)s)")
    parser.add_argument("--inputs", default="1,4,16,64", help="texts of a request, with commas (%(default)s)")
    parser.add_argument("--workers", default="1,2,4", help="with commas (%(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each point (%(default)s)")
    parser.add_argument("--artifact", type=Path, help="one that is there already, in place of compiling")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that a server does not outlive us
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores", flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-growth-") as folder:
        artifact = options.artifact or compiled(BUCKETS, Path(folder) / "artifact")
        with started(SERVERS[OURS], workers=2, artifact=artifact) as it:
            _lengths(it, _numbers(options.lengths), options.seconds)
            _inputs(it, _numbers(options.inputs), options.seconds)
        _workers(artifact, _numbers(options.workers), options.seconds)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _lengths(it: Started, lengths: Sequence[int], seconds: float) -> None:
    rows = []
    for tokens in lengths:
        found = _loaded(it, of_length(tokens), seconds)
        rows.append([str(tokens), *_row(found, 1), f"{found.per_cpu_second * tokens:.0f}"])
    print(f"\nBy length of the text, {_CLIENTS} clients\n")
    print(table(["tokens", *_HEAD, "tokens per CPU-s"], rows), flush=True)


def _inputs(it: Started, sizes: Sequence[int], seconds: float) -> None:
    rows = []
    texts = mixed()
    for size in sizes:
        lists = [texts[at : at + size] for at in range(0, len(texts) - size + 1, size)]
        found = _loaded(it, lists, seconds)
        rows.append([str(size), *_row(found, size)])
    print(f"\nBy texts in a request, {_CLIENTS} clients, mixed texts\n")
    print(table(["texts a request", *_HEAD], rows), flush=True)


def _workers(artifact: Path, counts: Sequence[int], seconds: float) -> None:
    rows = []
    for workers in counts:
        with started(SERVERS[OURS], workers=workers, artifact=artifact) as it:
            idle = it.family.pss_bytes() / MIB
            found = _loaded(it, mixed(), seconds)
            rows.append([str(workers), *_row(found, 1), f"{idle:.0f}", f"{it.ready_seconds:.1f}"])
    print(f"\nBy workers, {_CLIENTS} clients, mixed texts\n")
    print(table(["workers", *_HEAD, "idle MiB (PSS)", "s to a healthy ping"], rows), flush=True)


def _loaded(it: Started, inputs: Sequence[object], seconds: float) -> Point:
    file = bodies(it.server, inputs, it.run.folder / "bodies")
    load(Job(it.run.port, it.server.path, str(file), _CLIENTS, _WARM_SECONDS))
    return point(it, Job(it.run.port, it.server.path, str(file), _CLIENTS, seconds), name=OURS, round_=0)


_HEAD = ("texts per CPU-s", "texts/s", "p50/p99 ms", "cores", "others' cores", "errors")


def _row(found: Point, texts: int) -> list[str]:
    return [
        f"{found.per_cpu_second * texts:.0f}",
        f"{found.per_second * texts:.0f}",
        f"{found.p50_ms:.0f}/{found.p99_ms:.0f}",
        f"{found.cpu_seconds / found.seconds:.2f}",
        f"{found.foreign_cores:.2f}",
        str(found.errors),
    ]


if __name__ == "__main__":
    main()
