"""How fast the bucket planner is, against the two plain ways to the same optimum. ``python -m bench.plan``

Prints one line a comparison: seconds of ours, of the other, and the ratio. The optimum found must
be the same, or the run stops. Then a million lengths from a file, as a process, with the time that
`traceship plan --help` takes beside it.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import accumulate, combinations
from pathlib import Path

from compile.partition import best_partitions

SEED = 1
BUCKETS = 8


def naive(lengths: Sequence[int], counts: Sequence[int], most: int) -> int:
    """The recurrence as it is written: every start of the last bucket, O(n^2 k)."""
    below = [0, *accumulate(counts)]
    least = [length * rows for length, rows in zip(lengths, below[1:])]
    for used in range(2, most + 1):
        least = [
            min(
                (least[i - 1] + lengths[j] * (below[j + 1] - below[i]) for i in range(used - 1, j + 1)),
                default=least[j],
            )
            for j in range(len(lengths))
        ]
    return least[-1]


def brute_force(lengths: Sequence[int], counts: Sequence[int], most: int) -> int:
    """Every choice of ends."""
    best = None
    for some in combinations(lengths[:-1], most - 1):
        ends = iter((*some, lengths[-1]))
        end, work = next(ends), 0
        for length, count in zip(lengths, counts):
            while length > end:
                end = next(ends)
            work += end * count
        best = work if best is None else min(best, work)
    assert best is not None
    return best


def ours(lengths: Sequence[int], counts: Sequence[int], most: int) -> int:
    return best_partitions(lengths, counts, most=most, work=lambda length: length)[-1].work


def compare(
    name: str, other: Callable[[Sequence[int], Sequence[int], int], int], size: int, most: int
) -> None:
    """Time both on the same random histogram of ``size`` lengths and print the ratio."""
    chance = random.Random(SEED)  # noqa: S311 - a repeatable sample, no secret
    lengths = list(range(1, size + 1))
    counts = [chance.randint(1, 2000) for _ in lengths]
    (mine, fast), (theirs, slow) = (_timed(way, lengths, counts, most) for way in (ours, other))
    if mine != theirs:
        raise SystemExit(f"{name}: {mine} is not {theirs}")
    print(f"{name}, {size} lengths, {most} buckets: {fast:.4f} s, {slow:.3f} s, {slow / fast:.0f} times")


def _timed(
    way: Callable[[Sequence[int], Sequence[int], int], int],
    lengths: Sequence[int],
    counts: Sequence[int],
    most: int,
) -> tuple[int, float]:
    started = time.perf_counter()
    return way(lengths, counts, most), time.perf_counter() - started


def million(longest: int) -> None:
    """A file of 1,000,000 lengths through the command."""
    chance = random.Random(SEED)  # noqa: S311 - a repeatable sample, no secret
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lengths.txt"
        path.write_text(
            "\n".join(str(min(longest, 3 + int(chance.expovariate(8 / longest)))) for _ in range(1_000_000))
        )
        start = _process("--help")
        whole = _process("--lengths", str(path), "--buckets", str(BUCKETS), "--json")
    print(
        f"1,000,000 lengths up to {longest}: {whole:.2f} s as a process, "
        f"{whole - start:.2f} s above the {start:.2f} s of --help"
    )


def _process(*arguments: str) -> float:
    started = time.perf_counter()
    command = [sys.executable, "-m", "cli", "plan", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    compare("brute force", brute_force, size=28, most=6)
    for size in (512, 1024, 2048):
        compare("naive O(n^2 k)", naive, size=size, most=BUCKETS)
    for longest in (512, 4096):
        million(longest)


if __name__ == "__main__":
    main()
