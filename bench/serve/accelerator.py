"""``python -m bench.serve.accelerator``: the host's side, with the model off the CPU.

First the toolkit and our server with a light device behind each, two workers, mixed texts. The
toolkit pays for 128 tokens a text, as the Inf1 samples do, our server for its buckets: what is compared is
what a caller gets. Then simulated NeuronCores that take as long as Inf1 does for bert-base, one worker each,
texts of 128 tokens and more clients than the cores can serve: which share of the time the cores are
busy, and from how many on the host is what limits. On a machine that others use, the share is a lower bound.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from bench.serve.client import Job
from bench.serve.figures import Point, ratio, summary, table
from bench.serve.goals import OURS, TOOLKIT, Goal, verdicts
from bench.serve.load import wrk
from bench.serve.measure import NotServing, point, points, started
from bench.serve.servers import bodies
from bench.serve.stand_in import INF1, LIGHT, light_artifact, ours, peer
from bench.serve.stand_in_worker import busy_seconds
from bench.serve.texts import mixed, of_length

_LIGHT_BUCKETS = ("1x16", "4x16", "8x16", "1x32", "4x32", "1x64", "2x64", "1x128")
_BATCH = 8
_INF1_BUCKETS = ("1x128", f"{_BATCH}x128")
_WAITING = 3
"""Batches of clients for each core: one runs, one is next, one is on its way."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cores", default="1,4,16", help="simulated NeuronCores, with commas (%(default)s)")
    parser.add_argument("--inputs", default="1,8", help="texts of a request, with commas (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each point (%(default)s)")
    parser.add_argument("--no-peers", action="store_true", help="the simulated NeuronCores only")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that a server does not outlive us
    print(
        f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, client {wrk() or 'of our own'}", flush=True
    )
    with tempfile.TemporaryDirectory(prefix="bench-accelerator-") as folder:
        if not options.no_peers:
            _against_the_toolkit(Path(folder) / "light", options.rounds, options.seconds)
        _cores(Path(folder) / "inf1", options)


def _against_the_toolkit(folder: Path, rounds: int, seconds: float) -> None:
    folder.mkdir()
    artifact = light_artifact(_LIGHT_BUCKETS, folder)
    servers = {OURS: ours(LIGHT, 2), TOOLKIT: peer(TOOLKIT, LIGHT)}
    found: list[Point] = []
    for round_ in range(rounds):
        for name, server in servers.items():
            try:
                found += points(
                    name,
                    server,
                    mixed(),
                    (),
                    round_=round_,
                    clients=(32,),
                    seconds=seconds,
                    workers=2,
                    artifact=artifact,
                )
            except (NotServing, OSError) as error:
                print(f"round {round_} {name}: left out, {error}", flush=True)
    print(f"\nA light device ({LIGHT.call_ms} ms a call, {LIGHT.tokens_ms} ms for 128 tokens)\n")
    print(summary(found, (), TOOLKIT))
    wanted = [
        Goal("req/s, of the toolkit", 7, ratio(found, OURS, TOOLKIT, 32, lambda p: p.per_second)),
        Goal("per CPU-s, of the toolkit", 15, ratio(found, OURS, TOOLKIT, 32, lambda p: p.per_cpu_second)),
    ]
    print(f"\n{verdicts(wanted)}", flush=True)


def _cores(folder: Path, options: argparse.Namespace) -> None:
    folder.mkdir()
    artifact = light_artifact(_INF1_BUCKETS, folder)
    most = _BATCH / INF1.seconds(_BATCH * 128)
    print(f"\nNeuronCores of bert-base, {most:.0f} texts of 128 tokens a second on each\n", flush=True)
    rows = []
    for cores in map(int, options.cores.split(",")):
        with started(ours(INF1, cores), workers=cores, artifact=artifact) as it:
            for inputs in map(int, options.inputs.split(",")):
                clients = max(1, _WAITING * _BATCH * cores // inputs)
                texts = of_length(128)
                lines = [texts[at : at + inputs] for at in range(0, len(texts) - inputs + 1, inputs)]
                file = bodies(
                    it.server, [line[0] if inputs == 1 else line for line in lines], it.run.folder / "b"
                )
                before, began = busy_seconds(it.run.folder), time.monotonic()
                job = Job(it.run.port, it.server.path, str(file), clients, options.seconds)
                one = point(it, job, name=OURS, round_=0)
                share = (busy_seconds(it.run.folder) - before) / cores / (time.monotonic() - began)
                rows.append(
                    [
                        str(cores),
                        str(inputs),
                        str(clients),
                        f"{share:.1%}",
                        "met" if share >= 0.95 else "MISSED",
                        f"{one.per_second * inputs:.0f}",
                        f"{one.p50_ms:.0f}/{one.p99_ms:.0f}",
                        f"{one.cpu_seconds / one.seconds:.2f}",
                        f"{one.foreign_cores:.2f}",
                        str(one.errors),
                    ]
                )
    head = ["NeuronCores", "texts a request", "clients", "busy", "goal 95 %", "texts/s", "p50/p99 ms"]
    print(table([*head, "host cores used", "others' cores", "errors"], rows))


if __name__ == "__main__":
    main()
