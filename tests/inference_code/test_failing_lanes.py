"""Lanes whose batches fail: who learns of it, which of them still get batches, and what /ping is told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from artifact.manifest import Bucket, Generation
from inference_code.batching import Planner
from inference_code.engine import Engine, Job, Limits
from inference_code.errors import InferenceFailed, WorkerLost
from inference_code.lanes import Done, Lane
from inference_code.metrics import Metrics
from inference_code.rows import Outputs, Row
from inference_code.shapes import FreePlanner
from inference_code.workers.pool import bearable_seconds
from tests.inference_code.test_engine import BUCKETS, COSTS, SECONDS, Graph, on_a_loop
from tests.kit.folders import CONTENT, manifest_of
from tests.kit.handmade import replaced

FAILING = "failing at every inference"
_LONG = Generation(
    max_length=512,
    num_beams=1,
    length_penalty=1.0,
    early_stopping=False,
    decoder_start_token_id=0,
    eos_token_id=1,
    pad_token_id=0,
    forced_eos_token_id=None,
    bad_token_ids=(),
    rule="hf4",
)


class _Spoiling(Graph):
    """Answers NaN to the rows whose tag is 13, as a worker tells of it."""

    def start(self, bucket: Bucket, rows: Sequence[Row], done: Done) -> None:
        def told(found: list[Outputs] | Exception, seconds: float) -> None:
            if not isinstance(found, Exception):
                found = [Outputs(arrays=one.arrays, finite=one.arrays[0][0] != 13) for one in found]
            done(found, seconds)

        super().start(bucket, rows, told)


def _row(tag: int) -> Row:
    return Row(ids=[tag, 1, 2], types=[0, 0, 0])


def _engine(*graphs: Graph, metrics: Metrics | None = None) -> Engine:
    engine = Engine(Planner(BUCKETS, COSTS), Limits(window=0.0, deadline=SECONDS), metrics)
    for graph in graphs:
        engine.attach(graph)
    return engine


async def _answers(job: Job) -> list[float]:
    found = await asyncio.wait_for(job.future, SECONDS)
    return [float(outputs.arrays[0][0]) for outputs in found]


class _Checks:
    """Takes note of who is to be checked."""

    def __init__(self, engine: Engine) -> None:
        self.asked: list[tuple[Lane, Bucket]] = []
        engine.have_checked(lambda lane, shape: self.asked.append((lane, shape)))

    @property
    def lanes(self) -> list[Lane]:
        return [lane for lane, _ in self.asked]


def _checked(*graphs: Graph) -> tuple[Engine, _Checks]:
    engine = _engine(*graphs)
    return engine, _Checks(engine)


async def _outcomes(engine: Engine, *tags: int) -> list[str]:
    """Of requests one after the other."""
    found = []
    for tag in tags:
        try:
            await _answers(engine.submit([_row(tag)]))
            found.append("answered")
        except InferenceFailed:
            found.append("failed")
    return found


@on_a_loop
async def test_an_answer_that_is_not_finite_is_a_failure_of_its_batch() -> None:
    """Of its own request only: a neighbour in the batch gets its answer."""
    metrics = Metrics()
    engine = _engine(_Spoiling(), metrics=metrics)
    poisoned, well = engine.submit([_row(13)]), engine.submit([_row(1)])

    with pytest.raises(InferenceFailed) as failed:
        await _answers(poisoned)

    assert await _answers(well) == [1]
    assert "not finite" in failed.value.message
    counts = metrics.now().buckets["b4_s8"]
    assert (counts.failures, counts.batches) == (1, 0)


@pytest.mark.parametrize(
    "error", [RuntimeError("nrt"), InferenceFailed(why="NaN")], ids=["raises", "known failure"]
)
def test_a_lane_that_fails_swallows_three_batches(error: Exception) -> None:
    """It is faster than the others, so it would take most of the traffic."""

    @on_a_loop
    async def test() -> None:
        bad, good = Graph(), Graph()
        bad.error = error
        engine, checks = _checked(bad, good)

        found = await _outcomes(engine, *range(20))

        assert found == ["failed"] * 3 + ["answered"] * 17
        assert checks.lanes == [bad]
        assert engine.trouble() is None

    test()


@on_a_loop
async def test_a_lane_that_answers_nan_swallows_three_batches() -> None:
    """What is no number is no answer."""
    bad, good = _Spoiling(), Graph()
    engine, checks = _checked(bad, good)

    assert await _outcomes(engine, *[13] * 20) == ["failed"] * 3 + ["answered"] * 17
    assert checks.lanes == [bad]


@on_a_loop
async def test_while_the_only_lane_is_checked_requests_wait() -> None:
    """It is not proven ill: neither is a request refused, nor is /ping told anything."""
    graph = _Spoiling()
    engine, _ = _checked(graph)
    await _outcomes(engine, 13, 13, 13)
    waiting = engine.submit([_row(1)])
    for _ in range(5):
        await asyncio.sleep(0)
    before = (engine.trouble(), engine.waiting, len(graph.batches))

    engine.checked(graph, well=True, seconds=0.1)

    assert before == (None, 1, 3)
    assert await _answers(waiting) == [1]


@on_a_loop
async def test_an_input_that_no_graph_stands_does_not_take_a_lane_out() -> None:
    """The check finds nothing, and is not made again and again."""
    graph = _Spoiling()
    engine, checks = _checked(graph)
    await _outcomes(engine, 13, 13, 13)
    engine.checked(graph, well=True, seconds=0.1)

    found = await _outcomes(engine, *[13] * 50, 1)

    assert found == ["failed"] * 50 + ["answered"]
    assert checks.lanes == [graph]
    assert engine.trouble() is None


@on_a_loop
async def test_a_lane_that_is_ill_is_trouble_until_another_takes_its_place() -> None:
    """Without a request in between: balancers send none to a server that is not well."""
    graph = Graph()
    graph.error = RuntimeError("nrt")
    engine, checks = _checked(graph)
    await _outcomes(engine, 1, 2, 3)
    found = [engine.trouble()]
    engine.checked(graph, well=False, seconds=0.1)
    found.append(engine.trouble())
    engine.detach(graph)
    found.append(engine.trouble())
    engine.attach(Graph())
    found.append(engine.trouble())

    assert found == [None, FAILING, "without a worker", None]
    assert checks.lanes == [graph]


@on_a_loop
async def test_one_lane_that_is_ill_is_no_trouble_where_there_are_others() -> None:
    bad, good = Graph(), Graph()
    bad.error = RuntimeError("nrt")
    engine, _ = _checked(bad, good)
    await _outcomes(engine, 1, 2, 3)
    engine.checked(bad, well=False, seconds=0.1)

    assert engine.trouble() is None
    assert set(engine.lanes) == {bad, good}


@on_a_loop
async def test_a_check_that_comes_too_late_brings_nobody_back() -> None:
    """The worker was lost meanwhile."""
    graph = Graph()
    graph.error = RuntimeError("nrt")
    engine, _ = _checked(graph)
    await _outcomes(engine, 1, 2, 3)
    engine.detach(graph)
    engine.checked(graph, well=True, seconds=0.1)

    assert engine.trouble() == "without a worker"


@on_a_loop
async def test_the_graph_that_failed_is_the_one_that_is_checked() -> None:
    graph = Graph()
    graph.error = RuntimeError("nrt")
    engine, checks = _checked(graph)
    for _ in range(3):
        job = engine.submit([_row(1), _row(2), _row(3)])
        with pytest.raises(InferenceFailed):
            await _answers(job)

    assert checks.asked == [(graph, BUCKETS[1])]


@on_a_loop
async def test_a_lost_worker_is_not_suspected() -> None:
    """It is gone, and replaced for that."""
    graph = Graph()
    graph.error = WorkerLost()
    engine, checks = _checked(graph)
    for _ in range(4):
        with pytest.raises(WorkerLost):
            await _answers(engine.submit([_row(1)]))

    assert checks.asked == []


@on_a_loop
async def test_lanes_that_are_late_are_trouble_only_if_all_are() -> None:
    """And no longer than they are."""
    one, other = Graph(), Graph()
    engine = _engine(one, other)
    one.late = True
    found = [engine.trouble()]
    other.late = True
    found.append(engine.trouble())
    one.late = False
    found.append(engine.trouble())

    assert found == [None, "not getting its batches done", None]


@on_a_loop
async def test_late_and_ill_lanes_together_are_trouble() -> None:
    """A check that hangs is one more way in which nothing is answered."""
    ill, late = Graph(), Graph()
    ill.error = RuntimeError("nrt")
    engine, _ = _checked(ill, late)
    await _outcomes(engine, 1, 2, 3)
    engine.checked(ill, well=False, seconds=0.1)
    late.late = True

    assert engine.trouble() == "not getting its batches done"


def test_a_batch_is_late_by_its_own_bucket() -> None:
    """Ten times what it took, and never before the two seconds that a host may stand still."""
    manifest, dear = manifest_of(CONTENT), {**COSTS, "b4_s8": 0.7}
    for planner in (Planner(BUCKETS, dear), FreePlanner(BUCKETS, dear)):
        one, four = (bearable_seconds(bucket, manifest, planner, hangs=15.0) for bucket in BUCKETS)

        assert one == 2.0
        assert four == pytest.approx(7.0)


def test_a_translation_is_not_late_for_being_long() -> None:
    """Its input says how long it takes, and must not be able to turn /ping."""
    manifest = replaced(manifest_of(CONTENT), generation=_LONG)

    assert bearable_seconds(BUCKETS[0], manifest, Planner(BUCKETS, COSTS), hangs=15.0) == 15.0


def test_nothing_is_late_before_it_was_measured() -> None:
    assert bearable_seconds(BUCKETS[0], manifest_of(CONTENT), None, hangs=120.0) == 120.0


def test_a_shape_without_a_bucket_is_late_by_the_one_that_holds_it() -> None:
    """It takes no longer than that one, full."""
    planner = FreePlanner(BUCKETS, {"b1_s8": 0.4, "b4_s8": 0.7})
    shape = Bucket(batch=3, length=8, path="x")

    assert bearable_seconds(shape, manifest_of(CONTENT), planner, hangs=15.0) == pytest.approx(7.0)
