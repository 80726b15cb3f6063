"""Points into ratios: pure functions of what was measured.

Other work on the machine changes from round to round, so a server is compared with the base in its
own round only, and the median over the rounds counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

MIB = 1024 * 1024


@dataclass(frozen=True)
class Point:
    """One server under one load in one round.

    ``cpu_seconds``: of all of the server's processes. ``foreign_cores``: what neither the server nor the
    client nor the bench used. ``ready_seconds``: from the start to the first healthy ping;
    ``answer_seconds``: to the first answer. ``cosine``: the least to the untraced model's answers; None:
    the answers were not looked at.
    """

    round: int
    server: str
    clients: int
    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: int
    cpu_seconds: float
    client_cpu_seconds: float
    foreign_cores: float
    idle_bytes: int
    loaded_bytes: int
    processes: int
    ready_seconds: float
    answer_seconds: float
    cosine: float | None

    @property
    def per_cpu_second(self) -> float:
        """Requests per processor second of the whole server."""
        return self.requests / max(self.cpu_seconds, 1e-9)

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


@dataclass(frozen=True)
class Limit:
    """What the model alone did in one round: ``name`` is the variant, texts per processor second."""

    round: int
    name: str
    per_cpu_second: float


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest rank of ascending values; 0 of none."""
    if not ordered:
        return 0.0
    rank = math.ceil(len(ordered) * percent / 100)
    return ordered[max(rank, 1) - 1]


def ratio(
    points: Iterable[Point], server: str, base: str, clients: int, value: Callable[[Point], float]
) -> float | None:
    """The median over the rounds of server / base; None where no round has both."""
    found = [point for point in points if point.clients == clients]
    bases = {point.round: value(point) for point in found if point.server == base}
    ratios = [
        value(point) / bases[point.round]
        for point in found
        if point.server == server and bases.get(point.round)
    ]
    return median(ratios) if ratios else None


def share_of_limit(
    points: Iterable[Point], limits: Sequence[Limit], server: str, clients: int
) -> float | None:
    """The median over the rounds of server / best variant of that round, per processor second."""
    best: dict[int, float] = {}
    for limit in limits:
        best[limit.round] = max(limit.per_cpu_second, best.get(limit.round, 0.0))
    shares = [
        point.per_cpu_second / best[point.round]
        for point in points
        if point.server == server and point.clients == clients and point.round in best
    ]
    return median(shares) if shares else None


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown."""
    lines = [list(head), ["---"] * len(head), *map(list, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def summary(points: Sequence[Point], limits: Sequence[Limit], base: str) -> str:
    """One row a server and number of clients, in the order of the points."""
    rows = []
    for server, clients in dict.fromkeys((point.server, point.clients) for point in points):
        mine = [p for p in points if (p.server, p.clients) == (server, clients)]
        rows.append(
            [
                server,
                str(clients),
                "/".join(f"{point.per_cpu_second:.0f}" for point in mine),
                _times(ratio(points, server, base, clients, lambda point: point.per_cpu_second)),
                _percent(share_of_limit(points, limits, server, clients)),
                f"{median(p.per_second for p in mine):.0f}",
                f"{median(p.p50_ms for p in mine):.0f}/{median(p.p99_ms for p in mine):.0f}",
                str(sum(p.errors for p in mine)),
                f"{median(p.cpu_seconds / p.seconds for p in mine):.2f}",
                f"{max(p.foreign_cores for p in mine):.2f}",
            ]
        )
    head = ["server", "clients", "per CPU-s", f"x {base}", "of the limit", "req/s", "p50/p99 ms"]
    return table([*head, "errors", "cores", "others' cores, most"], rows)


def starts(points: Sequence[Point]) -> str:
    """Memory and start-up, one row a server."""
    rows = []
    for server in dict.fromkeys(point.server for point in points):
        mine = [point for point in points if point.server == server]
        cosines = [point.cosine for point in mine if point.cosine is not None]
        rows.append(
            [
                server,
                f"{median(p.idle_bytes for p in mine) / MIB:.0f}",
                f"{max(p.loaded_bytes for p in mine) / MIB:.0f}",
                f"{median(p.ready_seconds for p in mine):.1f}",
                f"{median(p.answer_seconds for p in mine):.1f}",
                str(mine[0].processes),
                f"{min(cosines):.6f}" if cosines else "not looked at",
            ]
        )
    head = ["server", "idle MiB (PSS)", "loaded MiB, most", "s to a healthy ping", "s to an answer"]
    return table([*head, "processes", "least cosine"], rows)


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}x"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"
