"""``python -m bench.overload``: 1, 2, 5 and 10 times the requests that a server can answer.

A batch takes 20 ms (``--pause``): the graph of the handmade model and a pause in its worker, so that the
client on the same cores does not slow the model down. Prints for each load, as ratios where the
machine would matter: good answers a second to the most that was seen; the 99th percentile of accepted
requests to that at 1 x; refusals, connections and /ping in milliseconds; memory to that at 1 x; and how
long it took until a request was as quick as before. Exit code 1: an answer was neither 200 nor a 429 with
Retry-After, a request was lost, or /ping was not 200.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.inference_code.running import CHECKOUT, running
from tests.kit.handmade import Recipe, build
from tests.kit.http_load import percentile
from tests.kit.overloading import Offered, offer, recovery, saturate
from tests.kit.process_tree import held

_PAUSE = """
import time
from inference_code.graphs import Graphs
def run(self, *arguments, real=Graphs.run):
    time.sleep(PAUSE)
    return real(self, *arguments)
Graphs.run = run
"""


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load")
    parser.add_argument("--pause", type=float, default=0.02, help="seconds of a batch")
    parser.add_argument("--times", type=float, action="append", help="of the peak; repeat (1 2 5 10)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        world = build(Path(folder) / "artifact", Recipe(buckets=((1, 8), (4, 8))))
        (Path(folder) / "sitecustomize.py").write_text(_PAUSE.replace("PAUSE", str(options.pause)))
        env = {"PYTHONPATH": f"{folder}:{CHECKOUT}"}
        with running(world.root, "--workers", "1", cwd=Path(folder), env=env, keep_requests=False) as server:
            server.await_ready()
            times = options.times or [1.0, 2.0, 5.0, 10.0]
            odd = asyncio.run(
                measure(
                    server.port,
                    server.process.pid,
                    seconds=options.seconds,
                    pause=options.pause,
                    times=times,
                )
            )
    return 1 if odd else 0


async def measure(port: int, pid: int, *, seconds: float, pause: float, times: list[float]) -> int:
    """Print what came of each load, and return how much of it must not be."""
    alone = percentile((await saturate(port, total=50, at_once=1)).took[200], 0.9)
    peak = (await saturate(port, total=int(4 * seconds / pause), at_once=32)).goodput
    print(f"peak {peak:.0f} good answers a second, one alone in {alone * 1000:.0f} ms")
    base, odd = None, 0
    for each in times:
        found = await offer(port, per_second=each * peak, seconds=seconds, seed=int(each))
        memory = held(pid).rss
        base = base or (percentile(found.took[200], 0.99), memory)
        _print(each, found, peak, base, memory)
        print(f"    as quick as before after {await recovery(port, quick=2 * alone):.2f} s")
        odd += len(found.odd)
    return odd


def _print(each: float, found: Offered, peak: float, base: tuple[float, int], memory: int) -> None:
    sent = sum(found.counts.values())
    p99 = percentile(found.took[200], 0.99)
    refused = percentile(found.took.get(429, []), 0.99)
    print(f"{each:g} x: {sent} requests, {found.counts[429]} refused, {len(found.odd)} odd")
    print(
        f"    goodput {found.goodput / peak:.2f} of the peak, accepted p99 {p99 / base[0]:.2f} x"
        f" ({p99 * 1000:.0f} ms), memory {memory / base[1]:.2f} x"
    )
    print(
        f"    p99 of refusals {refused * 1000:.0f} ms; /ping p99.9 {_ms(found.pings)} ms,"
        f" connecting {_ms(found.connects)} ms",
        flush=True,
    )
    for line in found.odd[:5]:
        print(f"    {line}")


def _ms(values: list[float]) -> str:
    return f"{percentile(values, 0.999) * 1000:.0f}"


if __name__ == "__main__":
    sys.exit(main())
