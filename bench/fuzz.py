"""``python -m bench.fuzz``: damaged requests. No 5xx, no hang, no canary in an answer or the log.

The mutations are those of ``tests/kit/mutations.py``. Prints what was answered; exit code 1: a fault, each
with the seed that makes its request again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

from tests.inference_code.running import running
from tests.kit.fuzzing import fuzz
from tests.kit.handmade import build
from tests.kit.mutations import CANARIES


def main() -> int:
    """Run, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        world = build(Path(folder) / "artifact")
        with running(world.root, cwd=Path(folder)) as server:
            server.await_ready()
            fuzzed = asyncio.run(fuzz(server.port, total=options.requests, at_once=32, seed=options.seed))
            healthy = server.call("GET", "/ping").status == 200
            log = json.dumps(server.log)
    leaked = [canary for canary in CANARIES if canary in log]
    errors = [line for line in server.log if line.get("level") == "error"]
    counts = ", ".join(f"{status}: {count}" for status, count in sorted(fuzzed.statuses.items()))
    print(f"answers {counts}; slowest close {fuzzed.slowest:.2f} s; well afterwards: {healthy}")
    print(
        f"faults: {len(fuzzed.faults)}; errors in the log: {len(errors)}; canaries in the log: {len(leaked)}"
    )
    for line in [*fuzzed.faults[:10], *errors[:3]]:
        print(f"    {line}")
    return 1 if fuzzed.faults or errors or leaked or not healthy else 0


if __name__ == "__main__":
    sys.exit(main())
