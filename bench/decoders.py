"""``python -m bench.decoders``: spoiled bodies of every task, in one process, from bytes to answer.

None may raise anything but an error that a client can be told. Prints how many of which status; the
first exception stops the run, with the seed that makes its body again.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

from inference_code.load import load
from tests.inference_code.test_spoiled_bodies import VALID
from tests.kit.handmade import Recipe, build
from tests.kit.in_process import answered
from tests.kit.mutations import spoiled


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bodies", type=int, default=1_000_000, help="over all tasks")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for task in sorted(VALID):
        started = time.monotonic()
        counts = _run(task, options.bodies // len(VALID), options.seed)
        print(f"{task}: {dict(sorted(counts.items()))} in {time.monotonic() - started:.0f} s", flush=True)


def _run(task: str, bodies: int, seed: int) -> Counter[int]:
    counts: Counter[int] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        model = load(build(Path(folder) / "artifact", Recipe(task=task)).root)
        for number in range(bodies):
            chance = random.Random(f"{seed}/{task}/{number}")  # noqa: S311 (it must be repeatable)
            body = spoiled(chance, VALID[task])
            try:
                status, said = answered(model, body)
            except Exception as error:
                raise SystemExit(f"seed {seed}/{task}/{number}: {error!r}: {body[:300]!r}") from error
            if not (status == 200 or 400 <= status < 500):
                raise SystemExit(f"seed {seed}/{task}/{number}: {status} {said!r}: {body[:300]!r}")
            counts[status] += 1
    return counts


if __name__ == "__main__":
    main()
