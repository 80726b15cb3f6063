"""Replay golden.json in every bucket before anything is served. Pairs with ``compile/parity.py``.

Some Inf1 instances once answered every request with the same score and status 200, because the
model was loaded before the runtime was ready (aws-neuron/aws-neuron-sdk#325). So a right answer
is asked of every bucket, and different inputs must get different answers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from artifact.canonical import NotCanonical, decode
from artifact.errors import ProofFailed
from artifact.golden import Case, Golden, largest_difference
from artifact.manifest import Bucket, bucket_name
from inference_code.answering import arranged
from inference_code.errors import InferenceFailed, RequestError
from inference_code.load import Model, Runner
from inference_code.rows import Outputs, Row
from inference_code.shapes import any_shape, fitted
from inference_code.tasks import task_of

if TYPE_CHECKING:
    from inference_code.rows import FloatArray

_MOST_INPUTS = 1024
_TIMED_RUNS = 3
_TIMED_SECONDS = 0.25


class GoldenUnusable(ProofFailed):
    """The golden set does not prove anything about this artifact."""

    id = "golden-unusable"

    def __init__(self, *, why: str) -> None:
        super().__init__(
            what="the artifact's golden set cannot be replayed",
            why=why,
            fix="compile the model again",
        )


class SelfCheckFailed(ProofFailed):
    """On this machine a graph does not answer as the untraced model did."""

    id = "selfcheck-failed"

    def __init__(self, *, case: str, why: str) -> None:
        super().__init__(
            what=f"{case} does not give its recorded answer on this machine",
            why=why,
            fix="replace this machine; if every machine fails, compile the model again",
        )
        self.case = case


def selfcheck(model: Model, runner: Runner, buckets: Sequence[Bucket] | None = None) -> None:
    """Have ``runner`` run every golden case in its bucket.

    Args:
        buckets: only the cases of these; ``None``: all of the artifact's.

    Raises:
        GoldenUnusable: not a golden set, or a bucket without a case that fits it.
        SelfCheckFailed: an answer differs by more than the recorded tolerance, or different
            inputs get the very same answer.
    """
    golden, free = _golden(model), any_shape(model.manifest)
    for bucket in model.manifest.buckets if buckets is None else buckets:
        name = bucket_name(bucket.batch, bucket.length)
        cases = _cases_of(golden, name)
        for at, case in cases:
            label = f"golden case {at} in {name}"
            _replay(model, runner, bucket, case, golden.tolerance, label=label)
            if free:
                fitting = _Fitting(runner, model.manifest.buckets)
                _replay(model, fitting, bucket, case, golden.tolerance, label=f"{label}, unpadded")
        rows = [row for _, case in cases for row in _rows(model, case)]
        _check_distinct(runner, bucket, rows, label=f"golden cases of {name}")


def costs(model: Model, runner: Runner) -> dict[str, float]:
    """Seconds of one run of each bucket, full, by bucket name: what the planner goes by.

    Raises:
        GoldenUnusable: there is nothing to run.
    """
    golden = _golden(model)
    found = {}
    for bucket in model.manifest.buckets:
        name = bucket_name(bucket.batch, bucket.length)
        rows = [row for _, case in _cases_of(golden, name) for row in _rows(model, case)]
        found[name] = _seconds(runner, bucket, rows)
    return found


def _cases_of(golden: Golden, bucket: str) -> list[tuple[int, Case]]:
    cases = [(at, case) for at, case in enumerate(golden.cases) if case.bucket == bucket]
    if not cases:
        raise GoldenUnusable(why=f"it has no case for the bucket {bucket}")
    return cases


def _golden(model: Model) -> Golden:
    try:
        golden = decode(model.golden, Golden)
    except NotCanonical as error:
        raise GoldenUnusable(why=str(error)) from None
    known = {bucket_name(b.batch, b.length) for b in model.manifest.buckets}
    for case in golden.cases:
        if case.bucket not in known:
            raise GoldenUnusable(why=f"it names the bucket {case.bucket}, which the artifact lacks")
    return golden


def _rows(model: Model, case: Case) -> list[Row]:
    try:
        rows_of = arranged(case.request, model, most=_MOST_INPUTS).rows_of
    except RequestError as error:
        raise GoldenUnusable(why=error.message) from None
    if any(len(rows) != 1 for rows in rows_of):
        raise GoldenUnusable(why=f"a case of {case.bucket} has an input that takes several windows")
    return [row for rows in rows_of for row in rows]


def _replay(
    model: Model, runner: Runner, bucket: Bucket, case: Case, tolerance: float, *, label: str
) -> None:
    rows = _rows(model, case)
    if not rows or len(rows) != len(case.expected):
        raise GoldenUnusable(why=f"{label} has {len(rows)} inputs and {len(case.expected)} answers")
    if any(row.length > bucket.length for row in rows):
        raise GoldenUnusable(why=f"{label} has an input that is longer than the bucket")
    evidence = task_of(model.manifest).evidence
    try:
        answers = list(_run(runner, bucket, rows))
    except InferenceFailed as error:
        raise SelfCheckFailed(case=f"{label},", why=error.why) from error
    for at, (expected, row, outputs) in enumerate(zip(case.expected, rows, answers)):
        found = evidence(row, outputs, model.manifest)
        difference = largest_difference(_ordered(expected), _ordered(found))
        if not difference <= tolerance:
            raise SelfCheckFailed(
                case=f"{label}, input {at},",
                why=f"the largest difference is {difference:.3g}, at most {tolerance:.3g} is allowed",
            )


def _run(runner: Runner, bucket: Bucket, rows: Sequence[Row]) -> Iterator[Outputs]:
    for start in range(0, len(rows), bucket.batch):
        yield from runner.run(bucket, rows[start : start + bucket.batch])


def _ordered(answer: Any) -> Any:
    # Scores closer than the tolerance may change places without being wrong.
    labelled = isinstance(answer, list) and all(isinstance(i, dict) and "label" in i for i in answer)
    return sorted(answer, key=lambda item: str(item["label"])) if labelled else answer


class _Fitting:
    """Runs each batch in the shape of its rows, as the server does where graphs fit any shape."""

    def __init__(self, runner: Runner, buckets: Sequence[Bucket]) -> None:
        self._runner = runner
        self._buckets = buckets

    def run(self, bucket: Bucket, rows: Sequence[Row]) -> list[Outputs]:  # noqa: ARG002 - a Runner
        return self._runner.run(fitted(rows, self._buckets), rows)

    def encode(self, bucket: Bucket, rows: Sequence[Row]) -> list[Outputs]:  # noqa: ARG002 - a Runner
        return self._runner.encode(fitted(rows, self._buckets), rows)


def _check_distinct(runner: Runner, bucket: Bucket, rows: Sequence[Row], *, label: str) -> None:
    """The longest row and its own second half must not get bitwise the same answer."""
    longest = max(rows, key=lambda row: row.length)
    whole, half = (_plain(longest, part) for part in (0, 1))
    if half.length == whole.length:
        raise GoldenUnusable(why=f"{label} has no input of two tokens")
    (first,) = runner.encode(bucket, [whole])
    (second,) = runner.encode(bucket, [half])
    if all(_same(one, other) for one, other in zip(first.arrays, second.arrays)):
        raise SelfCheckFailed(case=f"{label}, a probe,", why="different inputs get the very same answer")


def _plain(row: Row, part: int) -> Row:
    """The row with all its outputs, or (``part`` 1) the second half of each of its lines."""
    first, *others = (line.picked(range(part * len(line.ids) // 2, len(line.ids))) for line in row.lines)
    return Row(ids=first.ids, types=first.types, others=tuple(others))


def _same(one: FloatArray, other: FloatArray) -> bool:
    size = min(one.size, other.size)
    return bool((one.ravel()[:size] == other.ravel()[:size]).all())


def _seconds(runner: Runner, bucket: Bucket, rows: Sequence[Row]) -> float:
    batch = [rows[at % len(rows)] for at in range(bucket.batch)]
    best, spent = float("inf"), 0.0
    for _ in range(_TIMED_RUNS):
        started = time.perf_counter()
        runner.run(bucket, batch)
        took = time.perf_counter() - started
        best, spent = min(best, took), spent + took
        if spent > _TIMED_SECONDS:
            break
    return best
