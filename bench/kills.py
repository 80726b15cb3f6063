"""``python -m bench.kills``: workers of a loaded server killed at random moments, one or all of them.

Prints how requests ended, how long /ping took to tell that nobody was left, and how long until all workers
were back. Exit code 1: an answer was wrong or lost, or /ping and a request between two of them disagreed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from statistics import median

from tests.inference_code.running import running
from tests.inference_code.test_workers import workers
from tests.kit.handmade import build
from tests.kit.killing import kills
from tests.kit.tagged import Tagged


def main() -> int:
    """Run, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--workers", default="2")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        world = build(Path(folder) / "artifact")
        with running(
            world.root, "--workers", options.workers, cwd=Path(folder), keep_requests=False
        ) as server:
            server.await_ready()
            found = asyncio.run(
                kills(
                    server.port,
                    lambda: workers(server),
                    Tagged(world),
                    total=options.kills,
                    clients=options.clients,
                    seed=options.seed,
                )
            )
    print(f"answers {dict(found.counts)}; wrong or lost {len(found.wrong)}; slowest {found.slowest:.2f} s")
    print(f"pairs of ping and request {found.pairs}, that disagreed {len(found.lies)}")
    print(f"all back after {median(found.back):.2f} s, at most {max(found.back):.2f} s")
    if found.silent:
        print(f"/ping told that none was left after {max(found.silent):.2f} s at most")
    for line in [*found.wrong, *found.lies][:10]:
        print(f"    {line}")
    return 1 if found.wrong or found.lies else 0


if __name__ == "__main__":
    sys.exit(main())
