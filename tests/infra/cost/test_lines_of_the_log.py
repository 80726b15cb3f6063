"""The sizes of log lines that a bill counts with are those of real lines."""

from __future__ import annotations

import json

import pytest

from artifact.manifest import Bucket
from inference_code import log
from inference_code.emf import UNITS, Window, document
from inference_code.identity import identity_of
from inference_code.log import RequestLog
from inference_code.metrics import Metrics
from inference_code.recorder import Recorder
from inference_code.trail import Trail
from infra.cost import usage

CLOUDWATCH_ADDS = 26
"""Bytes to each event. Source: CloudWatch Logs API reference, PutLogEvents."""


class Kept:
    """A writer that keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.dropped = 0

    def put(self, line: bytes) -> None:
        """As LineWriter."""
        self.lines.append(line)


def test_a_request_behind_a_load_balancer_has_a_line_of_the_size_that_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On an instance, with the header that the load balancer adds, two buckets, and every stage."""
    monkeypatch.setattr(log, "_origin", {})
    log.come_from(instance="i-0123456789abcdef0", digest="ab" * 32)
    kept, metrics = Kept(), Metrics()
    trail = Trail(started=1.0, read=1.001, prepared=1.002, begun=1.003, ran=1.01)
    trail.inputs, trail.tokens, trail.buckets, trail.workers = 2, 93, ("b1_s128", "b8_s128"), ("0", "3")
    header = b"Root=1-67891233-abcdef012345678912345678"
    metrics.began()
    Recorder(RequestLog(kept)).request(  # type: ignore[arg-type]
        metrics, identity_of([(b"x-amzn-trace-id", header)]), trail,
        method="POST", route="/invocations", status=200,
    )  # fmt: skip

    (line,) = kept.lines
    assert len(line) + CLOUDWATCH_ADDS == pytest.approx(usage.REQUEST_LINE_BYTES, rel=0.15)


def test_a_minute_of_metrics_has_a_line_of_the_size_that_is_counted() -> None:
    """Sixty samples, and latencies that fall into a handful of a histogram's buckets."""
    metrics = Metrics()
    bucket = Bucket(batch=8, length=128, path="y")
    metrics.describe({"digest": "ab" * 32}, [bucket])
    window = Window(before=metrics.now(), began=0.0)
    for at in range(600):
        metrics.began()
        begun = 100.0
        steps = [begun + 0.004 * stage * (1 + at % 8 / 4) for stage in range(1, 5)]
        metrics.finished(200, Trail(begun, *steps), steps[-1] + 0.001)
    for _ in range(60):
        window.sample(metrics.now())
    line = json.dumps(
        document(window, metrics.now(), service="minilm-fleet", seconds=60.0, timestamp=1_700_000_000.0),
        separators=(",", ":"),
    )

    assert len(line) + CLOUDWATCH_ADDS == pytest.approx(usage.METRICS_LINE_BYTES, rel=0.15)


def test_all_metrics_of_the_replicas_are_counted() -> None:
    """One for each name, because all replicas of a service share their dimensions."""
    assert len(UNITS) == usage.OWN_METRICS
