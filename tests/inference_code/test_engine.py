"""The queue and the inference thread, with a run that a test holds and releases."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from artifact.manifest import Bucket
from inference_code.batching import Planner
from inference_code.engine import Engine, Limits
from inference_code.errors import InferenceFailed, NeverStarted, TooManyInputs, TooManyRequests
from inference_code.rows import Outputs, Row

BUCKETS = [Bucket(batch=1, length=8, path="x"), Bucket(batch=4, length=8, path="y")]
COSTS = {"b1_s8": 1.0, "b4_s8": 1.5}


class Graph:
    """Answers a row with its first id; waits for ``go`` while ``held``; may raise."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.running = threading.Event()
        self.go = threading.Event()
        self.go.set()
        self.error: Exception | None = None

    def hold(self) -> None:
        self.go.clear()
        self.running.clear()

    def __call__(self, _bucket: Bucket, rows: Sequence[Row]) -> list[Outputs]:
        self.running.set()
        assert self.go.wait(timeout=30)
        self.batches.append([row.ids[0] for row in rows])
        if self.error is not None:
            raise self.error
        return [Outputs(arrays=(np.array([row.ids[0]], dtype=np.float32),)) for row in rows]


@pytest.fixture
def graph() -> Graph:
    return Graph()


@pytest.fixture
def engine(graph: Graph) -> Iterator[Engine]:
    made = Engine(graph, Planner(BUCKETS, COSTS), Limits(queue=8, deadline=10.0, window=0.0))
    yield made
    graph.go.set()
    assert made.close(timeout=10)


def _row(tag: int) -> Row:
    return Row(ids=[tag, 1, 2], types=[0, 0, 0])


def _answers(outputs: list[Outputs]) -> list[float]:
    return [float(row.arrays[0][0]) for row in outputs]


def test_a_job_gets_its_rows_answers_in_order(engine: Engine) -> None:
    """More rows than a batch holds."""
    job = engine.submit([_row(tag) for tag in (5, 3, 9, 1, 7)])

    assert _answers(job.future.result(timeout=10)) == [5, 3, 9, 1, 7]


def test_waiting_rows_of_several_requests_share_a_batch(engine: Engine, graph: Graph) -> None:
    """What queued behind a running batch goes together, and each request gets its own answer."""
    graph.hold()
    first = engine.submit([_row(0)])
    assert graph.running.wait(timeout=10)
    others = [engine.submit([_row(tag)]) for tag in (1, 2, 3)]
    graph.go.set()

    assert [_answers(job.future.result(timeout=10)) for job in [first, *others]] == [[0], [1], [2], [3]]
    assert graph.batches == [[0], [1, 2, 3]]


def test_an_idle_engine_does_not_wait_for_company(graph: Graph) -> None:
    """The window is for rows behind a batch; a lone request starts at once."""
    engine = Engine(graph, Planner(BUCKETS, COSTS), Limits(window=30.0))
    started = time.monotonic()
    engine.submit([_row(1)]).future.result(timeout=10)

    assert time.monotonic() - started < 5
    assert engine.close(timeout=10)


def test_rows_behind_a_batch_wait_for_company_within_the_window(graph: Graph) -> None:
    """Under load the window lets a batch fill; a full batch ends the wait early."""
    engine = Engine(graph, Planner(BUCKETS, COSTS), Limits(window=30.0))
    graph.hold()
    engine.submit([_row(0)])
    assert graph.running.wait(timeout=10)
    early = engine.submit([_row(1)])
    graph.go.set()
    graph.running.clear()
    assert not graph.running.wait(timeout=0.2), "the row ran without waiting for company"
    late = engine.submit([_row(tag) for tag in (2, 3, 4)])
    late.future.result(timeout=10)
    early.future.result(timeout=10)

    assert graph.batches == [[0], [1, 2, 3, 4]]
    assert engine.close(timeout=10)


def test_a_full_queue_takes_all_rows_of_a_request_or_none(engine: Engine, graph: Graph) -> None:
    """Six of eight places are taken: three more do not fit, two do."""
    graph.hold()
    engine.submit([_row(0)])
    assert graph.running.wait(timeout=10)
    engine.submit([_row(tag) for tag in range(6)])

    with pytest.raises(TooManyRequests) as refused:
        engine.submit([_row(tag) for tag in range(3)])

    assert refused.value.status == 429
    assert engine.waiting == 6
    engine.submit([_row(tag) for tag in range(2)])
    assert engine.waiting == 8


def test_a_request_that_never_fits_is_told_so(engine: Engine) -> None:
    """429 would make the client try for ever."""
    with pytest.raises(TooManyInputs):
        engine.submit([_row(tag) for tag in range(9)])


def test_late_rows_are_dropped_not_run(graph: Graph) -> None:
    """Work whose client has given up only makes the others late."""
    engine = Engine(graph, Planner(BUCKETS, COSTS), Limits(deadline=0.05, window=0.0))
    graph.hold()
    engine.submit([_row(0)])
    assert graph.running.wait(timeout=10)
    late = engine.submit([_row(1)])
    threading.Event().wait(0.1)
    graph.go.set()

    with pytest.raises(NeverStarted):
        late.future.result(timeout=10)
    assert graph.batches == [[0]]
    assert engine.close(timeout=10)


def test_abandoned_rows_are_dropped(engine: Engine, graph: Graph) -> None:
    """A client that left frees its places."""
    graph.hold()
    engine.submit([_row(0)])
    assert graph.running.wait(timeout=10)
    engine.submit([_row(1)]).abandon()
    kept = engine.submit([_row(2)])
    graph.go.set()
    kept.future.result(timeout=10)

    assert graph.batches == [[0], [2]]


def test_a_graph_that_raises_fails_its_requests_only(engine: Engine, graph: Graph) -> None:
    """The thread lives on; after three failures in a row the engine calls itself failing."""
    graph.error = RuntimeError("secret detail")
    for _ in range(3):
        with pytest.raises(InferenceFailed) as failed:
            engine.submit([_row(1)]).future.result(timeout=10)
        assert "secret" not in failed.value.message
    troubled = engine.trouble()
    graph.error = None
    engine.submit([_row(1)]).future.result(timeout=10)

    assert troubled == "failing at every inference"
    assert engine.trouble() is None


def test_a_stuck_inference_is_seen(graph: Graph) -> None:
    """/ping must not say 200 while nothing moves."""
    engine = Engine(graph, Planner(BUCKETS, COSTS), Limits(deadline=0.05))
    assert engine.trouble() is None
    graph.hold()
    engine.submit([_row(0)])
    assert graph.running.wait(timeout=10)
    threading.Event().wait(0.1)

    assert engine.trouble() == "stuck in an inference"
    assert not engine.close(timeout=0.05)
    graph.go.set()
    assert engine.close(timeout=10)
    assert engine.trouble() == "without its inference thread"


def test_closing_finishes_what_waits(graph: Graph) -> None:
    """A drain loses nothing."""
    engine = Engine(graph, Planner(BUCKETS, COSTS), Limits(window=0.0))
    graph.hold()
    jobs = [engine.submit([_row(tag)]) for tag in range(6)]
    closer = threading.Thread(target=engine.close, args=(10,))
    closer.start()
    graph.go.set()
    closer.join(timeout=10)

    assert [_answers(job.future.result(timeout=0)) for job in jobs] == [[tag] for tag in range(6)]
