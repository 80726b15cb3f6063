"""When a lane is checked, and how much of its time checks can take."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inference_code.suspicion import IN_A_ROW, Suspicion


def _fail(suspicion: Suspicion, *graphs: str, now: float = 0.0, lane: str = "a") -> list[bool]:
    return [suspicion.failed(lane, graph, now) for graph in graphs]


def test_three_failures_in_a_row_have_a_lane_checked() -> None:
    """Whatever graphs they are of: a device may be ill."""
    assert _fail(Suspicion(), "x", "y", "z") == [False, False, True]


def test_a_success_begins_the_count_anew() -> None:
    """One input that a graph cannot stand, sent now and then, has nothing checked."""
    suspicion = Suspicion()
    _fail(suspicion, "x", "x")
    suspicion.succeeded("a", "x")

    assert _fail(suspicion, "x", "x", "x") == [False, False, True]


def test_a_graph_that_fails_among_others_that_do_not_is_found() -> None:
    """A bucket's own graph may be ill, while most traffic goes to another."""
    suspicion, found = Suspicion(), []
    for _ in range(3):
        found += _fail(suspicion, "x")
        suspicion.succeeded("a", "y")

    assert found == [False, False, True]


def test_lanes_are_counted_by_themselves() -> None:
    """What succeeds elsewhere says nothing about this one, nor does what fails there."""
    suspicion = Suspicion()
    _fail(suspicion, "x", "x")
    _fail(suspicion, "x", "x", lane="b")
    suspicion.succeeded("b", "x")

    assert _fail(suspicion, "x") == [True]
    assert _fail(suspicion, "x", lane="b") == [False]


def test_what_was_forgotten_counts_no_more() -> None:
    suspicion = Suspicion()
    _fail(suspicion, "x", "x")
    suspicion.forget("a")

    assert _fail(suspicion, "x", "x", "x") == [False, False, True]


@given(
    seconds=st.floats(min_value=0.0, max_value=60.0),
    gaps=st.lists(st.floats(min_value=0.0, max_value=3.0), max_size=200),
)
def test_checks_take_a_twentieth_of_the_time_at_most(seconds: float, gaps: list[float]) -> None:
    """However often a client sends what a graph cannot stand."""
    suspicion, now, ended = Suspicion(), 0.0, None
    for gap in gaps:
        now += gap
        if suspicion.failed("a", "x", now):
            assert ended is None or now - ended >= max(5.0, 20 * seconds) * 0.999
            now += seconds
            suspicion.cleared("a", now, seconds)
            ended = now


@given(pause=st.floats(min_value=200.0, max_value=1000.0), failures=st.integers(IN_A_ROW, 50))
def test_what_goes_on_failing_is_checked_again_after_the_pause(pause: float, failures: int) -> None:
    """It may have fallen ill since."""
    suspicion = Suspicion()
    suspicion.cleared("a", 0.0, 10.0)

    assert not any(_fail(suspicion, *"x" * failures, now=199.0))
    assert _fail(suspicion, "x", now=pause) == [True]
