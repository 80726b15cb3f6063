"""The queue in front of lanes, with lanes that a test holds and releases."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any
from unittest import mock

import numpy as np
import pytest
import uvloop

from artifact.manifest import Bucket
from inference_code.batching import Planner
from inference_code.engine import Engine, Job, Limits
from inference_code.errors import (
    DeadlinePassed,
    InferenceFailed,
    NeverStarted,
    NotReady,
    TooManyInputs,
    TooManyRequests,
    WorkerLost,
)
from inference_code.lanes import Done
from inference_code.rows import Outputs, Row

BUCKETS = [Bucket(batch=1, length=8, path="x"), Bucket(batch=4, length=8, path="y")]
COSTS = {"b1_s8": 0.010, "b4_s8": 0.015}
SECONDS = 10.0


class Graph:
    """A lane that answers a row with its first id when told to, or at once unless ``held``."""

    def __init__(self, slots: int = 2) -> None:
        self.batches: list[list[int]] = []
        self.held = False
        self.error: Exception | None = None
        self.late = False
        self._slots = slots
        self._waiting: list[tuple[list[int], Done]] = []

    @property
    def name(self) -> str:
        return "0"

    @property
    def load(self) -> int:
        return len(self._waiting)

    @property
    def room(self) -> int:
        return self._slots - len(self._waiting)

    def start(self, _bucket: Bucket, rows: Sequence[Row], done: Done) -> None:
        assert self.room
        self.batches.append([row.ids[0] for row in rows])
        self._waiting.append((self.batches[-1], done))
        if not self.held:
            asyncio.get_running_loop().call_soon(self.release)

    def release(self) -> None:
        """End the oldest batch."""
        tags, done = self._waiting.pop(0)
        answers = [Outputs(arrays=(np.array([tag], dtype=np.float32),)) for tag in tags]
        done(self.error or answers, 0.5)


def _row(tag: int) -> Row:
    return Row(ids=[tag, 1, 2], types=[0, 0, 0])


def _engine(*graphs: Graph, window: float = 0.0, **limits: Any) -> Engine:
    engine = Engine(Planner(BUCKETS, COSTS), Limits(window=window, **{"deadline": SECONDS, **limits}))
    for graph in graphs:
        engine.attach(graph)
    return engine


async def _answers(job: Job) -> list[float]:
    found = await asyncio.wait_for(job.future, SECONDS)
    return [float(row.arrays[0][0]) for row in found]


async def _turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


Test = Callable[[], Coroutine[Any, Any, None]]


def on_a_loop(test: Test) -> Callable[[], None]:
    """Run an asynchronous test."""

    def run() -> None:
        awaitable: Awaitable[None] = asyncio.wait_for(test(), 3 * SECONDS)
        uvloop.run(_awaited(awaitable))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


async def _awaited(awaitable: Awaitable[None]) -> None:
    await awaitable


@on_a_loop
async def test_a_job_gets_its_rows_answers_in_order() -> None:
    """More rows than a batch holds."""
    job = _engine(Graph()).submit([_row(tag) for tag in (5, 3, 9, 1, 7)])

    assert await _answers(job) == [5, 3, 9, 1, 7]


@on_a_loop
async def test_what_arrives_together_runs_together() -> None:
    """Requests of one turn of the loop share a batch, and each gets its own answer."""
    graph = Graph()
    engine = _engine(graph)

    jobs = [engine.submit([_row(tag)]) for tag in (1, 2, 3)]

    assert [await _answers(job) for job in jobs] == [[1], [2], [3]]
    assert graph.batches == [[1, 2, 3]]


@on_a_loop
async def test_waiting_rows_of_several_requests_share_a_batch() -> None:
    """What queued behind a running batch goes together."""
    graph = Graph()
    engine = _engine(graph)
    graph.held = True
    first = engine.submit([_row(0)])
    await _turns()
    others = [engine.submit([_row(tag)]) for tag in (1, 2, 3)]
    await _turns()
    graph.held = False
    graph.release()

    assert [await _answers(job) for job in [first, *others]] == [[0], [1], [2], [3]]
    assert graph.batches == [[0], [1, 2, 3]]


@on_a_loop
async def test_a_full_batch_lies_ready_while_another_runs() -> None:
    """An accelerator never waits for the host; a batch that could still fill is not handed over."""
    graph = Graph()
    engine = _engine(graph)
    graph.held = True
    engine.submit([_row(0)])
    await _turns()
    for tag in (1, 2, 3, 4, 5):
        engine.submit([_row(tag)])
    await _turns()

    assert graph.batches == [[0], [1, 2, 3, 4]]
    assert engine.waiting == 1


@on_a_loop
async def test_idle_lanes_share_what_waits() -> None:
    """Two workers and four rows: two each, not four and none."""
    one, other = Graph(), Graph()
    engine = _engine(one, other)

    jobs = [engine.submit([_row(tag)]) for tag in (1, 2, 3, 4)]
    for job in jobs:
        await _answers(job)

    assert one.batches + other.batches == [[1, 2], [3, 4]]


@on_a_loop
async def test_a_detached_lane_gets_nothing_more() -> None:
    """A worker that ended; without any other, requests are refused at once."""
    gone, there = Graph(), Graph()
    engine = _engine(gone, there)
    engine.detach(gone)
    await _answers(engine.submit([_row(1)]))
    engine.detach(there)

    assert (gone.batches, there.batches) == ([], [[1]])
    assert engine.trouble() == "without a worker"
    with pytest.raises(NotReady):
        engine.submit([_row(2)])


@on_a_loop
async def test_an_idle_engine_does_not_wait_for_company() -> None:
    """The window is for rows behind a batch; a lone request starts at once, also the next one."""
    graph = Graph()
    engine = _engine(graph, window=3600.0)

    for tag in (1, 2, 3):
        await _answers(engine.submit([_row(tag)]))

    assert graph.batches == [[1], [2], [3]]


@on_a_loop
async def test_rows_behind_a_batch_wait_for_those_whose_answers_just_left() -> None:
    """Three clients got answers; two are back, and the third is waited for within the window."""
    graph = Graph()
    engine = _engine(graph, window=3600.0)
    for job in [engine.submit([_row(tag)]) for tag in (1, 2, 3)]:
        await _answers(job)
    back = [engine.submit([_row(tag)]) for tag in (4, 5)]
    await _turns()
    assert len(graph.batches) == 1, "the rows ran without waiting for company"
    back.append(engine.submit([_row(6)]))
    for job in back:
        await _answers(job)

    assert graph.batches == [[1, 2, 3], [4, 5, 6]]


@on_a_loop
async def test_the_window_ends_the_wait() -> None:
    """Clients that do not come back cost the others no more than that."""
    graph = Graph()
    engine = _engine(graph, window=0.02)
    for job in [engine.submit([_row(tag)]) for tag in (1, 2, 3)]:
        await _answers(job)

    assert await _answers(engine.submit([_row(4)])) == [4]


@on_a_loop
async def test_a_full_queue_takes_all_rows_of_a_request_or_none() -> None:
    """Six of eight places are taken: three more do not fit, two do."""
    graph = Graph(slots=1)
    engine = _engine(graph, queue=8)
    graph.held = True
    engine.submit([_row(0)])
    await _turns()
    engine.submit([_row(tag) for tag in range(6)])

    with pytest.raises(TooManyRequests) as refused:
        engine.submit([_row(tag) for tag in range(3)])

    assert refused.value.status == 429
    assert engine.waiting == 6
    engine.submit([_row(tag) for tag in range(2)])
    assert engine.waiting == 8


@on_a_loop
async def test_a_request_that_never_fits_is_told_so() -> None:
    """429 would make the client try for ever."""
    with pytest.raises(TooManyInputs):
        _engine(Graph(), queue=8).submit([_row(tag) for tag in range(9)])


@on_a_loop
async def test_late_rows_are_dropped_not_run() -> None:
    """Work whose client has given up only makes the others late; its place is free again."""
    graph = Graph(slots=1)
    engine = _engine(graph, deadline=1.0, queue=1)
    graph.held = True
    running = engine.submit([_row(0)])
    await _turns()
    late = engine.submit([_row(1)])

    with pytest.raises(NeverStarted):
        await _answers(late)
    with pytest.raises(DeadlinePassed):
        await _answers(running)
    graph.release()
    await _turns()
    assert graph.batches == [[0]]
    assert engine.waiting == 0


@on_a_loop
async def test_abandoned_rows_are_dropped() -> None:
    """A client that left frees its places, whether it waited first or in the middle."""
    graph = Graph(slots=1)
    engine = _engine(graph, queue=4)
    graph.held = True
    engine.submit([_row(0)])
    await _turns()
    jobs = [engine.submit([_row(tag)]) for tag in (1, 2, 3, 4)]
    engine.give_up(jobs[0])
    engine.give_up(jobs[2])
    assert engine.waiting == 2
    engine.submit([_row(5)]), engine.submit([_row(6)])
    graph.held = False
    graph.release()
    await _answers(jobs[3])

    assert graph.batches == [[0], [2, 4, 5, 6]]


@on_a_loop
async def test_a_graph_that_raises_fails_its_requests_only() -> None:
    """The engine goes on, and nobody learns what exactly was raised."""
    graph = Graph()
    engine = _engine(graph)
    graph.error = RuntimeError("secret detail")
    for _ in range(3):
        with pytest.raises(InferenceFailed) as failed:
            await _answers(engine.submit([_row(1)]))
        assert "secret" not in failed.value.message
    graph.error = None

    assert await _answers(engine.submit([_row(1)])) == [1]


@on_a_loop
async def test_a_lost_worker_fails_its_requests_with_503() -> None:
    """Its requests may be sent again; the model is not to blame."""
    graph = Graph()
    graph.error = WorkerLost()
    engine = _engine(graph)

    for _ in range(4):
        with pytest.raises(WorkerLost) as lost:
            await _answers(engine.submit([_row(1)]))

    assert (lost.value.status, lost.value.retry_after) == (503, 1)
    assert engine.trouble() is None


@on_a_loop
async def test_times_are_kept_for_each_job() -> None:
    """For metrics and log: its first batch, its last answer, and where it ran."""
    graph = Graph(slots=1)
    engine = _engine(graph)
    graph.held = True
    engine.submit([_row(0)])
    await _turns()
    job = engine.submit([_row(1)])
    await asyncio.sleep(0.03)  # uvloop counts whole milliseconds, and may be early by one
    graph.held = False
    graph.release()
    await _answers(job)

    assert job.began - job.arrived >= 0.02
    assert job.ended >= job.began
    assert (job.buckets, job.workers) == ({"b1_s8"}, {"0"})


@on_a_loop
async def test_answers_do_not_stay_behind_a_job_that_hangs() -> None:
    """A worker that hangs may hold the oldest request for most of its deadline, while others answer."""
    stuck, other = Graph(slots=1), Graph()
    engine = _engine(stuck, other)
    stuck.held = True
    oldest = engine.submit([_row(0)])
    await _turns()
    job = engine.submit([_row(1)])
    answered = await _answers(job)
    gone = weakref.ref(job)
    del job
    await _turns()

    assert (answered, oldest.over) == ([1], False)
    assert gone() is None


@on_a_loop
async def test_workers_that_run_side_by_side_are_waited_for_side_by_side() -> None:
    """A burst that keeps the host busy before any of them is done is no reason to refuse the rest of it."""
    graphs = [Graph(slots=1) for _ in range(16)]
    for graph in graphs:
        graph.held = True
    engine = _engine(*graphs)
    jobs = [engine.submit([_row(tag)]) for tag in range(4 * len(graphs) + 40)]
    await _turns()
    then = time.monotonic()

    assert [graph.load for graph in graphs] == [1] * 16
    with mock.patch.object(time, "monotonic", return_value=then + 0.3):
        assert not engine.full()
    for job in jobs:
        job.future.cancel()
