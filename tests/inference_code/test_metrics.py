"""What is counted, and the page that tells it, read by parsers that are not ours."""

from __future__ import annotations

import itertools
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("prometheus_client")

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from artifact.manifest import Bucket
from inference_code.exposition import Exposition
from inference_code.histogram import SHOWN, Histogram, fine_bounds, shown_bounds
from inference_code.metrics import Metrics
from inference_code.rows import Row
from inference_code.trail import STAGES, Trail

SMALL, LARGE = Bucket(batch=1, length=8, path="x"), Bucket(batch=4, length=16, path="y")


class Job:
    """What a queue would tell."""

    def __init__(self, began: float = 0.0, ended: float = 0.0) -> None:
        self.began, self.ended = began, ended
        self.buckets, self.workers = {"b4_s16", "b1_s8"}, {"1"}


def _row(tokens: int, others: int = 0) -> Row:
    line = Row(ids=[1] * tokens, types=[0] * tokens)
    return Row(ids=line.ids, types=line.types, others=(line,) * others)


def _samples(*models: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    exposition = Exposition()
    for metrics in models:
        exposition.add(metrics)
    text, content_type = exposition.page()
    assert content_type.startswith(b"text/plain; version=0.0.4")
    found = {}
    for family in parse_text(text.decode()):
        assert family.documentation
        assert family.type in {"counter", "gauge", "histogram"}
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def _value(metrics: Metrics, name: str, **labels: str) -> float:
    return _samples(metrics)[name, frozenset({"model": metrics.model, **labels}.items())]


def _answered(metrics: Metrics, *seconds: float, status: int = 200, error: str = "") -> Trail:
    """A request whose stages took so long."""
    metrics.began()
    trail = Trail(started=100.0, error=error)
    marks = [100.0]
    for each in seconds:
        marks.append(marks[-1] + each)
    trail.read, trail.prepared, trail.begun, trail.ran, ended = (marks[1:] + [0.0] * 5)[:5]
    metrics.finished(status, trail, ended or marks[-1])
    return trail


def test_stages_add_up_to_the_whole() -> None:
    """Nothing of a request's time is lost between them."""
    metrics = Metrics()
    _answered(metrics, 0.001, 0.002, 0.03, 0.4, 0.005)

    whole = _value(metrics, "traceship_request_seconds_sum", outcome="answered")
    stages = [_value(metrics, "traceship_request_stage_seconds_sum", stage=stage) for stage in STAGES]
    assert stages == pytest.approx([0.001, 0.002, 0.03, 0.4, 0.005])
    assert whole == pytest.approx(sum(stages))


def test_a_request_counts_in_the_stages_that_it_finished() -> None:
    """One that was refused while its body was read has no run."""
    metrics = Metrics()
    _answered(metrics, 0.001, status=400, error="not-json")

    counts = [_value(metrics, "traceship_request_stage_seconds_count", stage=stage) for stage in STAGES]
    assert counts == [1, 0, 0, 0, 0]
    assert _value(metrics, "traceship_requests_total", status="400") == 1
    assert _value(metrics, "traceship_rejected_requests_total", reason="not-json") == 1
    assert _value(metrics, "traceship_request_seconds_count", outcome="refused") == 1
    assert _value(metrics, "traceship_request_seconds_count", outcome="answered") == 0


def test_a_request_that_its_deadline_ended_waited_or_ran() -> None:
    """Time in the queue is time in the queue, whether or not it ended in a batch."""
    never, stuck, done = Trail(), Trail(), Trail()
    began = time.monotonic()
    never.left_queue(Job())
    stuck.left_queue(Job(began=began))
    done.left_queue(Job(began=1.0, ended=2.0))

    assert never.begun >= began
    assert never.ran == 0.0
    assert stuck.begun == began
    assert stuck.ran >= began
    assert (done.begun, done.ran) == (1.0, 2.0)
    assert done.buckets == ("b1_s8", "b4_s16")


def test_padding_and_fill_are_those_of_the_graph() -> None:
    """A batch of four with three rows: one row and every short end are padding."""
    metrics = Metrics()
    metrics.describe({}, [SMALL, LARGE])
    metrics.batch(LARGE, [_row(16), _row(3), _row(5)], 0.25, "1")

    assert _value(metrics, "traceship_batches_total", bucket="b4_s16") == 1
    assert _value(metrics, "traceship_batches_total", bucket="b1_s8") == 0
    assert _value(metrics, "traceship_batch_rows_total", bucket="b4_s16") == 3
    assert _value(metrics, "traceship_batch_slots_total", bucket="b4_s16") == 4
    assert _value(metrics, "traceship_tokens_total", bucket="b4_s16", kind="real") == 24
    assert _value(metrics, "traceship_tokens_total", bucket="b4_s16", kind="padding") == 40
    assert _value(metrics, "traceship_batch_seconds_sum", bucket="b4_s16") == 0.25
    assert _value(metrics, "traceship_worker_busy_seconds_total", worker="1") == 0.25


def test_a_batch_in_the_shape_of_its_rows_counts_in_a_bucket_that_holds_it() -> None:
    """There are few buckets and thousands of shapes; what was padding stays what was run."""
    metrics = Metrics()
    metrics.describe({}, [LARGE, SMALL])
    for batch, length in ((1, 5), (1, 9), (3, 8)):
        shape = Bucket(batch=batch, length=length, path="x")
        metrics.batch(shape, [_row(4)] * batch, 0.1)

    assert _value(metrics, "traceship_batches_total", bucket="b1_s8") == 1
    assert _value(metrics, "traceship_batches_total", bucket="b4_s16") == 2
    assert _value(metrics, "traceship_batch_slots_total", bucket="b4_s16") == 4
    assert _value(metrics, "traceship_tokens_total", bucket="b4_s16", kind="padding") == 5 + 12
    assert set(metrics.now().buckets) == {"b1_s8", "b4_s16"}


def test_choices_beside_each_other_are_tokens_too() -> None:
    """A row of multiple-choice fills as many lines as the graph has choices."""
    metrics = Metrics()
    metrics.describe({}, [SMALL], choices=3)
    metrics.batch(SMALL, [_row(5, others=1)], 0.1)

    assert _value(metrics, "traceship_tokens_total", bucket="b1_s8", kind="real") == 10
    assert _value(metrics, "traceship_tokens_total", bucket="b1_s8", kind="padding") == 14


def test_a_failed_batch_kept_its_worker_busy() -> None:
    """But it ran no rows."""
    metrics = Metrics()
    metrics.batch_failed(SMALL, 0.5, "0")

    assert _value(metrics, "traceship_batch_failures_total", bucket="b1_s8") == 1
    assert _value(metrics, "traceship_batch_rows_total", bucket="b1_s8") == 0
    assert _value(metrics, "traceship_worker_busy_seconds_total", worker="0") == 0.5


def test_a_workers_life_is_told() -> None:
    """Started, ready, dead, started again; memory only of the living."""
    metrics = Metrics()
    worker = metrics.worker("0")
    seen = []
    for step in (
        lambda: worker.started(os.getpid()),
        lambda: worker.became_ready(0.5),
        worker.ended,
        lambda: setattr(worker, "checks", 2),
        lambda: setattr(worker, "restarts", 1),
        lambda: worker.started(os.getpid()),
    ):
        step()
        samples = _samples(metrics)
        labels = frozenset({"model": "default", "worker": "0"}.items())
        names = ("up", "ready", "restarts_total", "checks_total")
        seen.append(tuple(samples[f"traceship_worker_{name}", labels] for name in names))
        memory = samples.get(("traceship_worker_resident_memory_bytes", labels), 0)
        assert (memory > 1_000_000) == (worker.pid is not None)

    assert seen == [(1, 0, 0, 0), (1, 1, 0, 0), (0, 0, 0, 0), (0, 0, 0, 2), (0, 0, 1, 2), (1, 0, 1, 2)]
    assert _value(metrics, "traceship_worker_selfcheck_seconds", worker="0") == 0.5


def test_a_process_that_is_just_gone_has_no_memory() -> None:
    """The page never fails because a worker died a moment ago."""
    metrics = Metrics()
    metrics.worker("0").started(2**22 + 1)  # above every process id of Linux

    assert _value(metrics, "traceship_worker_resident_memory_bytes", worker="0") == 0


def test_sums_equal_what_happened_on_eight_threads() -> None:
    """No request, batch or token is lost or counted twice, and nothing ever falls."""
    metrics = Metrics()
    metrics.describe({}, [SMALL])
    each = 200
    pages: list[dict[Any, float]] = []

    def work(at: int) -> None:
        for _ in range(each):
            _answered(metrics, 0.001, 0.001, 0.001, 0.001, 0.001, status=200 if at % 2 else 429)
            metrics.batch(SMALL, [_row(5)], 0.001, str(at))

    with ThreadPoolExecutor(9) as pool:
        working = [pool.submit(work, at) for at in range(8)]
        while not all(future.done() for future in working):
            pages.append(_samples(metrics))
        for future in working:
            future.result()
    pages.append(_samples(metrics))

    assert _value(metrics, "traceship_requests_total", status="200") == 4 * each
    assert _value(metrics, "traceship_requests_total", status="429") == 4 * each
    assert _value(metrics, "traceship_request_seconds_count", outcome="answered") == 4 * each
    assert _value(metrics, "traceship_request_stage_seconds_count", stage="run") == 8 * each
    assert _value(metrics, "traceship_requests_in_flight") == 0
    assert _value(metrics, "traceship_tokens_total", bucket="b1_s8", kind="real") == 8 * each * 5
    assert _value(metrics, "traceship_batch_seconds_count", bucket="b1_s8") == 8 * each
    for before, after in itertools.pairwise(pages):
        for key, value in before.items():
            if key[0].startswith("traceship") and key[0].endswith(("_total", "_count", "_bucket", "_sum")):
                assert after[key] >= value, key


def test_a_page_is_of_one_moment() -> None:
    """Requests, their latencies and the last bucket agree, however much happens meanwhile."""
    metrics = Metrics()

    def work() -> None:
        for _ in range(500):
            _answered(metrics, 0.001)

    with ThreadPoolExecutor(2) as pool:
        working = [pool.submit(work) for _ in range(2)]
        while not all(future.done() for future in working):
            now = metrics.now()
            assert sum(now.requests.values()) == sum(now.seconds["answered"].counts)


@settings(max_examples=25)
@given(st.text(max_size=40), st.text(max_size=20))
def test_any_name_of_a_model_survives_the_page(model: str, digest: str) -> None:
    """Quotes, backslashes and line feeds are escaped, in both formats."""
    model = model.encode("utf-8", "replace").decode()
    digest = digest.encode("utf-8", "replace").decode()
    metrics = Metrics(model)
    metrics.describe({"digest": digest}, [SMALL])
    exposition = Exposition()
    exposition.add(metrics)
    text, openmetrics = (
        exposition.page(accept)[0].decode() for accept in (b"", b"application/openmetrics-text")
    )

    for families in (parse_text(text), parse_openmetrics(openmetrics)):
        build = [s.labels for family in families for s in family.samples if s.name == "traceship_build_info"]
        assert build == [{"model": model, "digest": digest}]


def test_openmetrics_is_spoken_to_who_asks_for_it() -> None:
    """With its end mark, by its strict parser, and the same numbers."""
    metrics = Metrics()
    metrics.describe({"digest": "d"}, [SMALL])
    metrics.worker("0").started(os.getpid())
    _answered(metrics, 0.1)
    exposition = Exposition()
    exposition.add(metrics)
    text, content_type = exposition.page(b"application/openmetrics-text;version=1.0.0,text/plain;q=0.5")

    assert content_type.startswith(b"application/openmetrics-text; version=1.0.0")
    assert text.endswith(b"# EOF\n")
    families = {family.name: family for family in parse_openmetrics(text.decode())}
    assert families["traceship_requests"].samples[0].value == 1
    assert set(families) >= {"process_cpu_seconds", "process_threads", "process_open_fds"}


def test_the_processs_own_figures_have_prometheus_names() -> None:
    """Dashboards that know them from other servers work here."""
    names = {name for name, _ in _samples()}

    assert names >= {
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_max_fds",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_start_time_seconds",
        "process_threads",
    }


@given(st.floats(min_value=0.001, max_value=60), st.lists(st.floats(min_value=0, max_value=100), max_size=30))
def test_a_histogram_counts_each_value_once_and_at_or_below_its_bound(
    deadline: float, values: list[float]
) -> None:
    """Whatever the deadline is, it is a bound, and every shown bound is counted."""
    bounds = fine_bounds(deadline)
    histogram = Histogram(bounds)
    for value in values:
        histogram.add(value)
    now = histogram.now()

    assert deadline in shown_bounds(deadline)
    assert set(SHOWN) <= set(shown_bounds(deadline)) <= set(bounds)
    assert len(bounds) <= 78
    assert sum(now.counts) == len(values)
    assert now.total == pytest.approx(sum(values))
    for at, bound in enumerate(bounds):
        assert sum(now.counts[: at + 1]) == sum(value <= bound for value in values)


def test_steps_are_fine_enough_for_a_percentile() -> None:
    """From 0.1 ms on no step is wider than 28 %."""
    bounds = fine_bounds(20.0)

    assert bounds[0] == 0.0001
    assert all(high / low < 1.29 for low, high in itertools.pairwise(bounds))
