"""``python -m bench.restarts``: two replicas behind a balancer, restarted one after the other under load.

Prints how every request and every server ended (``tests/kit/restarting.py``). Exit code 1: a request was
lost, refused or answered wrongly, a server did not end with 0, or one took longer than 25 s to drain.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.inference_code.running import RunningServer
from tests.kit.handmade import build
from tests.kit.restarting import rolling_restarts
from tests.kit.tagged import Tagged


def main() -> int:
    """Run, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--restarts", type=int, default=50)
    parser.add_argument("--requests", type=int, default=30_000, help="at least so many")
    parser.add_argument("--per-second", type=float, default=200)
    parser.add_argument("--lame-duck", default="2", help="seconds (2, the server's default)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        world = build(Path(folder) / "artifact")

        def start() -> RunningServer:
            arguments = ("--port", "0", "--lame-duck", options.lame_duck)
            return RunningServer(world.root, *arguments, cwd=Path(folder), keep_requests=False)

        found = asyncio.run(
            rolling_restarts(
                start,
                Tagged(world),
                restarts=options.restarts,
                requests=options.requests,
                per_second=options.per_second,
                seed=options.seed,
            )
        )
    print(f"answers {dict(found.counts)}; lost, refused or wrong: {len(found.wrong)}")
    print(f"exit codes {dict(Counter(found.codes))}; longest drain {max(found.drains):.1f} s")
    for line in found.wrong[:10]:
        print(f"    {line}")
    return 1 if found.wrong or set(found.codes) != {0} or max(found.drains) > 25 else 0


if __name__ == "__main__":
    sys.exit(main())
