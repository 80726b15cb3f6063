"""``python -m bench.tricklers``: 500 clients that send a byte a second, and what the others notice.

Half of them trickle their heads, half their bodies. Prints when they were cut off, and the share of
good requests that failed and their 99th percentile during the siege as a ratio to that before it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.inference_code.running import running
from tests.kit.handmade import build
from tests.kit.http_load import Client, Lost, open_load, percentile, request
from tests.kit.trickling import CutOff, siege

_GOOD = request(b'{"inputs":"w1 w2"}')
_PER_SECOND = 50.0


def main() -> int:
    """Run, print, and return the exit code: 1, if a good request failed or a trickler stayed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        world = build(Path(folder) / "artifact")
        with running(world.root, cwd=Path(folder)) as server:
            server.await_ready()
            return asyncio.run(_run(server.port, options.clients // 2))


async def _run(port: int, half: int) -> int:
    before, failed_before = await _good(port, 15.0, 1)
    besieging = asyncio.ensure_future(siege(port, heads=half, bodies=half, every=1.0, patience=60))
    during, failed = await _good(port, 32.0, 2)
    heads, bodies = await besieging
    late = _print_ends("heads", heads, 10.0) + _print_ends("bodies", bodies, 30.0)
    ratio = percentile(during, 0.99) / percentile(before, 0.99)
    print(f"good requests: {len(during)} during the siege, {failed} failed, p99 {ratio:.2f} x that before")
    return 1 if late or failed or failed_before else 0


async def _good(port: int, seconds: float, seed: int) -> tuple[list[float], int]:
    client, took, failed = Client(port), [], 0

    async def act(_number: int) -> None:
        nonlocal failed
        try:
            answer = await client.ask(_GOOD)
        except Lost:
            failed += 1
            return
        took.append(answer.seconds)
        failed += answer.status != 200

    await open_load(act, per_second=_PER_SECOND, seconds=seconds, seed=seed)
    client.close()
    return took, failed


def _print_ends(name: str, ends: list[CutOff], limit: float) -> int:
    seconds = [end.seconds for end in ends]
    late = sum(not limit - 1 < each < limit + 3 for each in seconds)
    told = sum(end.answer.startswith(b"HTTP/1.1 408 ") for end in ends)
    print(f"{name}: cut off after {min(seconds):.1f} to {max(seconds):.1f} s, {told} of {len(ends)} told 408")
    return late


if __name__ == "__main__":
    sys.exit(main())
