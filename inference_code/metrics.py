"""Counters as Prometheus text. Written by the event loop and the inference thread, read by /metrics."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from artifact.manifest import Bucket, bucket_name
from inference_code.rows import Row

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counts since start. Latency in seconds, from the whole head read to the last byte written."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[int] = Counter()
        self._seconds = 0.0
        self._batches: Counter[str] = Counter()
        self._rows: Counter[str] = Counter()
        self._batch_seconds: dict[str, float] = {}
        self._tokens: Counter[str] = Counter()

    def request(self, status: int, seconds: float) -> None:
        with self._lock:
            self._requests[status] += 1
            self._seconds += seconds

    def batch(self, _lane: object, bucket: Bucket, rows: Sequence[Row], seconds: float) -> None:
        name = bucket_name(bucket.batch, bucket.length)
        real = sum(row.length for row in rows)
        with self._lock:
            self._batches[name] += 1
            self._rows[name] += len(rows)
            self._batch_seconds[name] = self._batch_seconds.get(name, 0.0) + seconds
            self._tokens["real"] += real
            self._tokens["padded"] += bucket.batch * bucket.length - real

    def text(self, *, waiting: int, ready: bool) -> bytes:
        """The whole page. ``waiting`` rows in the queue now."""
        with self._lock:
            lines = [
                *_family("traceship_requests_total", "counter", "status", self._requests),
                "# TYPE traceship_request_seconds summary",
                f"traceship_request_seconds_sum {self._seconds:.6f}",
                f"traceship_request_seconds_count {sum(self._requests.values())}",
                *_family("traceship_batches_total", "counter", "bucket", self._batches),
                *_family("traceship_batch_rows_total", "counter", "bucket", self._rows),
                *_family("traceship_batch_seconds_total", "counter", "bucket", self._batch_seconds),
                *_family("traceship_tokens_total", "counter", "kind", self._tokens),
                "# TYPE traceship_queue_rows gauge",
                f"traceship_queue_rows {waiting}",
                "# TYPE traceship_ready gauge",
                f"traceship_ready {int(ready)}",
            ]
        return ("\n".join(lines) + "\n").encode()


def _family(name: str, kind: str, label: str, values: Mapping[Any, float]) -> list[str]:
    rows = [f'{name}{{{label}="{key}"}} {value}' for key, value in sorted(values.items(), key=str)]
    return [f"# TYPE {name} {kind}", *rows]
