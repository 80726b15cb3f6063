"""``python -m bench.serve``: our server and its peers in turn, on loopback, under the same load.

Every server runs with two workers of one thread and answers one text a request; its first answers
are compared with the untraced model's. The rounds are interleaved, each begins with what the model
alone can do, and the comparable figure is requests per processor second of all of a server's
processes: requests per second and latency are comparable only where nobody else used the machine
("others' cores"). Goals are printed beside the figures. ``python -m bench.serve.setup`` makes the
peers' environments; a server that does not start is named and left out.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.serve.compiled import BUCKETS, compiled, reference
from bench.serve.figures import Limit, Point, starts, summary, table
from bench.serve.goals import OURS, TOOLKIT, goals, verdicts
from bench.serve.limit import limits
from bench.serve.load import wrk
from bench.serve.measure import NotServing, points
from bench.serve.servers import SERVERS
from bench.serve.texts import mixed

_COMPARED = 24


def main() -> None:
    """Measure and print."""
    options = _parser().parse_args()
    if options.read:
        report(*_read(options.read), price=options.price)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that a server does not outlive us
    names = options.servers.split(",")
    if unknown := [name for name in names if name not in SERVERS]:
        sys.exit(f"no such server: {', '.join(unknown)}; there are {', '.join(SERVERS)}")
    print(
        f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, client {wrk() or 'of our own'}", flush=True
    )
    with tempfile.TemporaryDirectory(prefix="bench-serve-") as folder:
        artifact = options.artifact or compiled(options.bucket or BUCKETS, Path(folder) / "artifact")
        report(*_rounds(options, names, artifact), price=options.price)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", default=",".join(SERVERS), help="with commas (%(default)s)")
    parser.add_argument("--clients", default="1,8,32", help="with commas (%(default)s)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each point (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--bucket", action="append", help="BxL of our artifact; repeat")
    parser.add_argument("--artifact", type=Path, help="one that is there already, in place of compiling")
    parser.add_argument("--no-limits", action="store_true", help="leave out what the model alone can do")
    parser.add_argument("--out", type=Path, help="append every point as a JSON line to this file")
    parser.add_argument("--read", type=Path, help="print what such a file holds, and measure nothing")
    parser.add_argument(
        "--price", type=float, help="USD an hour of a host with as many cores as this one, for costs"
    )
    return parser


def _rounds(
    options: argparse.Namespace, names: Sequence[str], artifact: Path
) -> tuple[list[Point], list[Limit]]:
    texts = mixed()
    wanted = reference(texts[:_COMPARED])
    found: list[Point] = []
    alone: list[Limit] = []
    for round_ in range(options.rounds):
        if not options.no_limits:
            for limit in limits(round_, processes=options.workers, seconds=3.0):
                alone.append(limit)
                _keep(options.out, limit)
        for name in names:
            for point in _points(name, texts, wanted, round_=round_, options=options, artifact=artifact):
                found.append(point)
                _keep(options.out, point)
    return found, alone


def _points(
    name: str,
    texts: list[str],
    wanted: Sequence[Sequence[float]],
    *,
    round_: int,
    options: argparse.Namespace,
    artifact: Path,
) -> list[Point]:
    clients = [int(number) for number in options.clients.split(",")]
    taken: list[Point] = []
    try:
        for point in points(
            name,
            SERVERS[name],
            texts,
            wanted,
            round_=round_,
            clients=clients,
            seconds=options.seconds,
            workers=options.workers,
            artifact=artifact,
        ):
            taken.append(point)
            print(
                f"round {round_} {name:20} {point.clients:3} clients {point.per_cpu_second:7.1f} per CPU-s, "
                f"{point.per_second:7.1f} req/s, p50/p99 {point.p50_ms:.0f}/{point.p99_ms:.0f} ms, "
                f"{point.errors} errors, others {point.foreign_cores:.2f} cores",
                flush=True,
            )
    except (NotServing, OSError) as error:
        print(f"round {round_} {name}: left out, {error}", flush=True)
    return taken


def report(found: Sequence[Point], alone: Sequence[Limit], *, price: float | None) -> None:
    """The tables of a run, the goals beside them."""
    print("\nThe model alone, texts per processor second in each round\n")
    names = dict.fromkeys(limit.name for limit in alone)
    rows = [
        [name, "/".join(f"{limit.per_cpu_second:.0f}" for limit in alone if limit.name == name)]
        for name in names
    ]
    print(table(["variant", "per CPU-s"], rows))
    print(f"\nUnder load\n\n{summary(found, alone, TOOLKIT)}\n\nAt rest\n\n{starts(found)}")
    print(f"\nGoals of {OURS}\n\n{verdicts(goals(found, alone))}")
    if price is not None:
        print(f"\nCost of a million requests at {price} USD an hour, all cores of the host busy\n")
        print(_costs(found, price))


def _costs(found: Sequence[Point], price: float) -> str:
    """From processor seconds alone: a CPU fleet that is always full. It says nothing of Inf1."""
    rows = []
    for server in dict.fromkeys(point.server for point in found):
        mine = [point for point in found if point.server == server and point.clients == 32]
        if mine:
            best = sum(p.per_cpu_second for p in mine) / len(mine)
            dollars = 1e6 / (best * (os.cpu_count() or 1)) / 3600 * price
            rows.append([server, f"{dollars:.3f} USD"])
    return table(["server", "a million requests, 32 clients"], rows)


def _keep(file: Path | None, record: Point | Limit) -> None:
    if file is not None:
        with file.open("a") as lines:
            lines.write(json.dumps({"kind": type(record).__name__, **dataclasses.asdict(record)}) + "\n")


def _read(file: Path) -> tuple[list[Point], list[Limit]]:
    records = [json.loads(line) for line in file.read_text().splitlines()]
    of_kind = {
        kind: [
            {k: v for k, v in record.items() if k != "kind"} for record in records if record["kind"] == kind
        ]
        for kind in ("Point", "Limit")
    }
    return [Point(**one) for one in of_kind["Point"]], [Limit(**one) for one in of_kind["Limit"]]


if __name__ == "__main__":
    main()
