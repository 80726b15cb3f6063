"""What the serving bench makes of its points: ratios within a round, percentiles, verdicts."""

from __future__ import annotations

import dataclasses

import pytest

from bench.serve.figures import Limit, Point, percentile, ratio, share_of_limit, summary
from bench.serve.goals import Goal, goals

POINT = Point(
    round=0,
    server="traceship",
    clients=32,
    requests=300,
    seconds=2.0,
    p50_ms=10.0,
    p99_ms=20.0,
    errors=0,
    cpu_seconds=3.0,
    client_cpu_seconds=0.1,
    foreign_cores=0.0,
    idle_bytes=400 << 20,
    loaded_bytes=500 << 20,
    processes=3,
    ready_seconds=1.0,
    answer_seconds=1.1,
    cosine=1.0,
)


def point(**changes: object) -> Point:
    return dataclasses.replace(POINT, **changes)  # type: ignore[arg-type]


def per_cpu(found: Point) -> float:
    return found.per_cpu_second


@pytest.mark.parametrize(
    ("percent", "wanted"), [(0, 1.0), (50, 2.0), (75, 3.0), (99, 4.0), (100, 4.0)], ids=str
)
def test_a_percentile_is_a_value_that_was_measured(percent: float, wanted: float) -> None:
    """The nearest rank, never between two values."""
    assert percentile([1.0, 2.0, 3.0, 4.0], percent) == wanted


def test_no_values_have_a_percentile_of_nothing() -> None:
    assert percentile([], 99) == 0.0


def test_a_server_is_compared_within_its_round_only() -> None:
    """A slow round slows both: the ratio is that of each round, then the median."""
    found = [
        point(round=0, requests=300),
        point(round=0, server="base", requests=100),
        point(round=1, requests=30),
        point(round=1, server="base", requests=10),
        point(round=2, requests=9_000),
    ]

    assert ratio(found, "traceship", "base", 32, per_cpu) == pytest.approx(3.0)


def test_a_ratio_needs_a_round_with_both() -> None:
    found = [point(round=0), point(round=1, server="base"), point(round=0, server="base", clients=8)]

    assert ratio(found, "traceship", "base", 32, per_cpu) is None


def test_the_limit_is_the_best_variant_of_the_same_round() -> None:
    limits = [Limit(0, "eager", 50.0), Limit(0, "packed", 125.0), Limit(1, "packed", 1000.0)]

    assert share_of_limit([point()], limits, "traceship", 32) == pytest.approx(0.8)


def test_goals_are_told_met_missed_and_not_measured() -> None:
    """A goal that this run did not measure is never called met."""
    found = [point(), point(server="sagemaker_hf", requests=100, p99_ms=30.0)]

    verdicts = {goal.what: goal.verdict for goal in goals(found, [])}

    assert verdicts["32 clients, per CPU-s, of the toolkit"] == "met"
    assert verdicts["32 clients, p99, of the toolkit's"] == "MISSED"
    assert verdicts["32 clients, per CPU-s, of padding to 128"] == "not measured"
    assert verdicts["idle memory (PSS)"] == "met"


def test_an_upper_bound_is_missed_from_above() -> None:
    assert Goal("memory", 500, 501, most=True).verdict == "MISSED"
    assert Goal("memory", 500, 500, most=True).verdict == "met"


def test_the_table_holds_every_round_and_what_others_used() -> None:
    """Who reads a figure sees beside it how much of the machine others had."""
    found = [point(round=0), point(round=1, requests=150, foreign_cores=1.25)]

    row = summary(found, [], "sagemaker_hf").splitlines()[-1]

    assert "100/50" in row
    assert "1.25" in row
