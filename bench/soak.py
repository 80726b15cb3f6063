"""``python -m bench.soak``: very many requests; what the server holds, and who got another's answer.

Texts and lists that carry a number, refusals, clients that hang up (``tests/kit/soaking.py``). Prints
what happened and how memory, descriptors and threads of the whole process tree grew after the warm-up:
Theil-Sen slopes for each 100,000 requests with their 95 % intervals. ``--only-good`` sends nothing but
tagged inputs, at one number of clients after the other. Exit code 1: an answer was wrong or lost, or,
with all sorts of requests, something grew; a run of a few thousand is all warm-up.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.inference_code.running import RunningServer, running
from tests.kit.handmade import build
from tests.kit.process_tree import Trend
from tests.kit.soaking import Soaked, soak
from tests.kit.tagged import Tagged


def main() -> int:
    """Run, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000, help="for each number of clients")
    parser.add_argument("--clients", type=int, action="append", help="in flight at once; repeat (16)")
    parser.add_argument("--only-good", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        world = build(Path(folder) / "artifact")
        with running(world.root, cwd=Path(folder), keep_requests=False) as server:
            server.await_ready()
            for clients in options.clients or [16]:
                soaked = _run(server, Tagged(world), clients, options)
                _print(clients, soaked)
                failed += len(soaked.wrong) + (0 if options.only_good else len(soaked.grew()))
    return 1 if failed else 0


def _run(server: RunningServer, tagged: Tagged, clients: int, options: argparse.Namespace) -> Soaked:
    return asyncio.run(
        soak(
            server.port,
            server.process.pid,
            tagged,
            total=options.requests,
            at_once=clients,
            seed=options.seed + clients,
            only_good=options.only_good,
        )
    )


def _print(clients: int, soaked: Soaked) -> None:
    counts = ", ".join(f"{name}: {count}" for name, count in sorted(soaked.counts.items()))
    print(f"{clients} clients, {soaked.seconds:.0f} s: {counts}; wrong or lost: {len(soaked.wrong)}")
    for line in soaked.wrong[:10]:
        print(f"    {line}")
    _print_trend("memory, MiB", soaked.memory())
    _print_trend("descriptors", soaked.descriptors())
    _print_trend("threads", soaked.threads())
    print(f"    grew: {', '.join(soaked.grew()) or 'nothing'}")
    sys.stdout.flush()


def _print_trend(name: str, trend: Trend) -> None:
    print(
        f"    {name} per 100,000 requests: {trend.slope:+.3f} (95 %: {trend.low:+.3f} to {trend.high:+.3f})"
    )


if __name__ == "__main__":
    sys.exit(main())
