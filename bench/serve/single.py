"""``python -m bench.serve.single``: what one long text costs, and what one start costs and holds.

A text of megabytes of which 128 tokens are used must be cut before it is tokenised. Processor time is
that of all of the server's processes, in ticks of 10 ms, over several requests. The start is told by
the server's own log: each event that it names, in seconds from the start of the process.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from statistics import median

from bench.serve.compiled import BUCKETS, compiled
from bench.serve.figures import MIB, table
from bench.serve.goals import OURS, Goal, verdicts
from bench.serve.measure import NotServing, Started, started
from bench.serve.servers import SERVERS

_LONG_GOAL_MS, _IDLE_GOAL_MIB = 50.0, 500.0
_SETTLE_SECONDS = 2.0
_EVENTS = ("listening", "proven", "ready")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", default=OURS, help=f"with commas, of {', '.join(SERVERS)} (%(default)s)")
    parser.add_argument("--megabytes", default="1,5", help="of the text, with commas (%(default)s)")
    parser.add_argument("--requests", type=int, default=10, help="of each size (%(default)s)")
    parser.add_argument("--artifact", type=Path, help="one that is there already, in place of compiling")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that a server does not outlive us
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores", flush=True)
    sizes = [float(size) for size in options.megabytes.split(",")]
    with tempfile.TemporaryDirectory(prefix="bench-single-") as folder:
        artifact = options.artifact or compiled(BUCKETS, Path(folder) / "artifact")
        for name in options.servers.split(","):
            with started(SERVERS[name], workers=2, artifact=artifact) as it:
                _tell(name, it, sizes, options.requests)


def _tell(name: str, it: Started, sizes: list[float], requests: int) -> None:
    time.sleep(_SETTLE_SECONDS)
    idle = it.family.pss_bytes() / MIB
    before = it.family.cpu_seconds()
    print(
        f"\n{name}: {before:.1f} s of processor time so far; healthy after {it.ready_seconds:.1f} s, "
        f"answers after {it.answer_seconds:.1f} s; {len(it.family.members())} processes, {idle:.0f} MiB (PSS)"
    )
    for event, seconds in _log_times((it.run.folder / "log").read_text().splitlines()):
        print(f"  {event}: {seconds:.2f} s after the first line of the log")
    rows, found = [], {}
    for size in sizes:
        spent, waited = _long_text(it, int(size * 1e6), requests)
        found[size] = spent
        rows.append([f"{size:g} MB", f"{spent:.0f}", f"{waited:.0f}"])
    print("\n" + table(["text", "CPU ms a request", "ms to the answer, median"], rows))
    if name == OURS:
        wanted = [
            Goal(
                "5 MB cut to 128 tokens",
                _LONG_GOAL_MS,
                found.get(5.0),
                most=True,
                show="{:.0f} ms of CPU".format,
            ),
            Goal("idle memory, 2 workers", _IDLE_GOAL_MIB, idle, most=True, show="{:.0f} MiB".format),
        ]
        print("\n" + verdicts(wanted), flush=True)


def _long_text(it: Started, size: int, requests: int) -> tuple[float, float]:
    """Milliseconds of processor time a request, and to its answer."""
    sentence = "the quick brown fox jumps over the lazy dog "
    text = (sentence * (size // len(sentence) + 1))[:size]
    waited = []
    used = it.family.cpu_seconds()
    try:
        for _ in range(requests):
            began = time.monotonic()
            it.ask(it.server.body(text))
            waited.append((time.monotonic() - began) * 1000)
    except NotServing as error:
        print(f"a text of {size} bytes: {error}")
        return float("nan"), float("nan")
    return (it.family.cpu_seconds() - used) / requests * 1000, median(waited)


def _log_times(lines: Iterable[str]) -> list[tuple[str, float]]:
    """Seconds from the first JSON line of a log to the first line of each event."""
    times: dict[str, float] = {}
    began: float | None = None
    for line in lines:
        if not line.startswith("{"):
            continue
        fields = json.loads(line)
        at = datetime.fromisoformat(fields["time"]).timestamp()
        began = at if began is None else began
        if fields["event"] in _EVENTS:
            times.setdefault(fields["event"], at - began)
    return list(times.items())


if __name__ == "__main__":
    main()
