"""Lines for CloudWatch: valid by its specification, and true."""

from __future__ import annotations

import json
import os
import random
import statistics
import threading
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from artifact.manifest import Bucket
from inference_code import emf, log
from inference_code.emf import UNITS, Emitter, Window, document
from inference_code.log_writer import LineWriter
from inference_code.metrics import Metrics
from inference_code.rows import Row
from inference_code.trail import Trail

BUCKET = Bucket(batch=4, length=16, path="y")
CLOUDWATCH_UNITS = {
    "Seconds", "Microseconds", "Milliseconds", "Bytes", "Kilobytes", "Megabytes", "Gigabytes", "Percent",
    "Count", "Bytes/Second", "Count/Second", "None",
}  # fmt: skip
TEXT = {"type": "string", "minLength": 1, "maxLength": 255}
NUMBERS = {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 100}
DISTRIBUTION = {
    "type": "object",
    "required": ["Values", "Counts", "Max", "Min", "Count", "Sum"],
    "additionalProperties": False,
    "properties": {
        "Values": NUMBERS,
        "Counts": NUMBERS,
        **{name: {"type": "number"} for name in ("Max", "Min", "Count", "Sum")},
    },
}
RULES = {
    "type": "object",
    "required": ["_aws"],
    "properties": {
        "_aws": {
            "type": "object",
            "required": ["Timestamp", "CloudWatchMetrics"],
            "additionalProperties": False,
            "properties": {
                "Timestamp": {"type": "integer"},
                "CloudWatchMetrics": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "required": ["Namespace", "Dimensions", "Metrics"],
                        "additionalProperties": False,
                        "properties": {
                            "Namespace": TEXT,
                            "Dimensions": {
                                "type": "array",
                                "minItems": 1,
                                "items": {"type": "array", "maxItems": 30, "items": TEXT},
                            },
                            "Metrics": {
                                "type": "array",
                                "maxItems": 100,
                                "items": {
                                    "type": "object",
                                    "required": ["Name"],
                                    "additionalProperties": False,
                                    "properties": {"Name": TEXT, "Unit": {"enum": sorted(CLOUDWATCH_UNITS)}},
                                },
                            },
                        },
                    },
                },
            },
        }
    },
}
"""The specification's schema, with what its text demands beyond it."""


def _check(line: bytes) -> dict[str, Any]:
    """The document of a line, after everything that CloudWatch would refuse was looked for."""
    assert len(line) <= 1_048_576
    found: dict[str, Any] = json.loads(line)
    jsonschema.validate(found, RULES)
    for directive in found["_aws"]["CloudWatchMetrics"]:
        for name in {name for names in directive["Dimensions"] for name in names}:
            assert 1 <= len(found[name]) <= 1024
        names = [metric["Name"] for metric in directive["Metrics"]]
        assert len(set(names)) == len(names)
        for name in names:
            value = found[name]
            if isinstance(value, dict):
                jsonschema.validate(value, DISTRIBUTION)
                assert len(value["Values"]) == len(value["Counts"])
                assert value["Count"] == sum(value["Counts"])
            else:
                jsonschema.validate(value if isinstance(value, list) else [value], NUMBERS)
    return found


def _request(metrics: Metrics, seconds: float, status: int = 200) -> None:
    metrics.began()
    metrics.finished(status, Trail(started=100.0, read=100.0 + seconds / 2), 100.0 + seconds)


def _told(window: Window, metrics: Metrics, seconds: float = 60.0) -> dict[str, Any]:
    now = metrics.now()
    window.sample(now)
    made = document(window, now, service="demo-fleet", seconds=seconds, timestamp=1_700_000_000.0)
    return _check(json.dumps(made).encode())


def test_a_line_is_valid_when_nothing_happened() -> None:
    """A heartbeat: an alarm on silence needs one."""
    metrics = Metrics()
    found = _told(Window(before=metrics.now(), began=0.0), metrics)

    assert (found["Requests"], found["Ready"], found["RequestsInFlight"]) == (0, 0, [0])
    assert "RequestLatency" not in found
    assert found["_aws"]["Timestamp"] == 1_700_000_000_000
    assert (found["Service"], found["Model"]) == ("demo-fleet", "default")


def test_a_line_tells_what_happened_since_the_last_one() -> None:
    """Counts of the interval, not since the start."""
    metrics = Metrics()
    metrics.describe({"digest": "d"}, [BUCKET])
    metrics.sources.queue_rows = lambda: 7
    metrics.sources.ready = lambda: True
    metrics.worker("0").started(os.getpid())
    _request(metrics, 0.5)
    metrics.batch(BUCKET, [Row(ids=[1] * 16, types=[0] * 16)], 30.0, "0")
    window = Window(before=metrics.now(), began=0.0)

    for status in (200, 200, 400, 429, 500, 503):
        _request(metrics, 0.01, status)
    metrics.began()
    for name in ("0", "1"):
        metrics.batch(BUCKET, [Row(ids=[1] * 10, types=[0] * 10)] * 3, 15.0, name)
    metrics.worker("0").restarts += 1
    metrics.worker("1").became_ready(0.1)
    found = _told(window, metrics)

    counts = {name: found[name] for name in ("Requests", "RefusedRequests", "FailedRequests", "ShedRequests")}
    assert counts == {"Requests": 6, "RefusedRequests": 2, "FailedRequests": 2, "ShedRequests": 2}
    assert (found["BatchRows"], found["BatchSlots"]) == (6, 8)
    assert (found["RealTokens"], found["PaddingTokens"]) == (60, 68)
    assert found["CoreUse"] == [25.0, 25.0]
    assert (found["WorkerRestarts"], found["ReadyWorkers"]) == (1, 1)
    assert (found["RequestsInFlight"], found["QueueRows"], found["Ready"]) == ([1], [7], 1)
    assert found["RequestLatency"]["Count"] == 2
    assert found["RequestLatency"]["Sum"] == pytest.approx(20)
    assert found["Digest"] == "d"


def test_the_most_that_can_happen_still_fits() -> None:
    """A value in every bucket of every histogram, a sample of every second, sixteen cores, a long name."""
    metrics = Metrics("m" * 128, deadline=0.007)
    metrics.describe({}, [Bucket(batch=1, length=length, path="x") for length in range(1, 65)])
    metrics.sources.queue_rows = lambda: 10_000
    window = Window(before=metrics.now(), began=0.0)
    for at in range(80):
        seconds = 0.00009 * 1.2**at
        metrics.began()
        marks = [100.0 + seconds * stage for stage in range(1, 5)]
        metrics.finished(200, Trail(100.0, *marks), 100.0 + seconds * 5)
    for at in range(16):
        metrics.batch(BUCKET, [Row(ids=[1], types=[0])], 1.0, str(at))
    for _ in range(emf.MAX_INTERVAL_SECONDS):
        window.sample(metrics.now())
    found = _told(window, metrics)

    assert len(found["RequestLatency"]["Values"]) > 50
    assert set(UNITS) <= set(found)


def test_percentiles_in_cloudwatch_are_close_to_the_true_ones() -> None:
    """Within the width of a step, whatever the shape of the latencies."""
    metrics = Metrics()
    window = Window(before=metrics.now(), began=0.0)
    chosen = random.Random(7)
    true = [chosen.lognormvariate(-4, 1) for _ in range(5000)]
    for seconds in true:
        _request(metrics, seconds)
    latency = _told(window, metrics)["RequestLatency"]

    expanded = [v for v, n in zip(latency["Values"], latency["Counts"]) for _ in range(n)]
    for percent in (50, 90, 99):
        wanted = statistics.quantiles(true, n=100)[percent - 1] * 1000
        found = statistics.quantiles(expanded, n=100)[percent - 1]
        assert found == pytest.approx(wanted, rel=0.15)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [_check(line) for line in path.read_bytes().splitlines()]


def test_the_lines_of_an_emitter_add_up_to_everything(tmp_path: Path) -> None:
    """Also what was counted before its first look, what came last, and a model that left meanwhile."""
    path = tmp_path / "log"
    lines = LineWriter(os.open(path, os.O_WRONLY | os.O_CREAT), log._notice)
    served = {"a": Metrics("a"), "b": Metrics("b")}
    _request(served["a"], 0.1)
    looked = threading.Event()

    def models() -> list[Metrics]:
        looked.set()
        return list(served.values())

    emitter = Emitter(models, lines, service="demo", interval=0, sample=0.01)
    for at in range(20):
        looked.clear()
        _request(served["a"], 0.1)
        if at < 5:
            _request(served["b"], 0.1)
        if at == 10:
            del served["b"]
        assert looked.wait(10)
    _request(served["a"], 0.1)
    emitter.close()
    lines.close(10)

    found = _lines(path)
    total = {model: sum(line["Requests"] for line in found if line["Model"] == model) for model in "ab"}
    assert total == {"a": 22, "b": 5}
    assert len(found) > 5


def test_an_interval_is_one_line(tmp_path: Path) -> None:
    """Many looks are samples of one line, which closing writes."""
    path = tmp_path / "log"
    lines = LineWriter(os.open(path, os.O_WRONLY | os.O_CREAT), log._notice)
    metrics = Metrics()
    looks = threading.Semaphore(0)

    def models() -> list[Metrics]:
        looks.release()
        return [metrics]

    emitter = Emitter(models, lines, service="demo", interval=60, sample=0.001)
    for _ in range(5):
        assert looks.acquire(timeout=10)
    emitter.close()
    lines.close(10)

    (found,) = _lines(path)
    assert len(found["RequestsInFlight"]) >= 5
