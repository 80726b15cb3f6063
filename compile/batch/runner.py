"""Rows in, artifacts out: what is finished is taken, the rest runs as one execution.

What counts as done is the artifact in its place, whatever became of the job that made it. A row that is
given up (given_up.py) has that as its outcome, and the others go on without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from artifact.errors import TraceshipError
from compile.batch.deployment import Deployment
from compile.batch.execution import RUNNING, Ended, Execution, describe, start
from compile.batch.following import Follower
from compile.batch.given_up import given_up
from compile.batch.results import is_there, parts_left, take
from compile.batch.rows import Item, Row, make_row, row_item
from compile.request import CompiledArtifact, CompileRequest

Report = Callable[[str], None]


class ExecutionFailed(TraceshipError):
    """The execution ended without a result of the row and without a job that failed."""

    id = "compile-execution-failed"

    def __init__(self, *, name: str, status: str, why: str) -> None:
        super().__init__(
            what=f"the execution {name} ended as {status} and compiled nothing of this row",
            why=why or "it does not say why",
            fix="look at it in the Step Functions console, then run the command again",
        )


@dataclass(frozen=True)
class Taken:
    """A row's artifact. ``was_there``: an earlier execution made it."""

    artifact: CompiledArtifact
    was_there: bool


Outcome: TypeAlias = Taken | TraceshipError


def run_batch(
    to: Deployment,
    request: CompileRequest,
    report: Report,
    *,
    afresh: str | None = None,
    spread: bool | None = None,
) -> CompiledArtifact:
    """Compile one request in AWS; the artifact is verified here before it gets its name.

    Args:
        afresh, spread: see ``make_row``.

    Raises:
        NotOnBatch, ExecutionFailed, JobFailed, ResultDamaged, OutputExists, OutputNotWritable: see there.
        AwsDenied, AwsUnreachable, AwsRefused: what AWS said; run again to go on.
        TraceshipError: the very error of the compile.
    """
    rows: dict[str, CompileRequest] = {request.task: request}
    outcome = compile_rows(to, rows, report, afresh=afresh, spread=spread)[request.task]
    if isinstance(outcome, TraceshipError):
        raise outcome
    return outcome.artifact


def compile_rows(
    to: Deployment,
    requests: Mapping[str, CompileRequest],
    report: Report,
    *,
    afresh: str | None = None,
    spread: bool | None = None,
) -> dict[str, Outcome]:
    """Compile requests by label, all that is not finished in one execution; each has its own outcome.

    On Ctrl-C the execution goes on, and whoever asks for the same rows again attaches to it.

    Raises:
        TooManyRows: see there.
        AwsDenied, AwsUnreachable, AwsRefused: what AWS said about more than one row; run again to go on.
    """
    outcomes: dict[str, Outcome] = {}
    rows: dict[str, Row] = {}
    for label, request in requests.items():
        try:
            rows[label] = make_row(to, label, request, report, afresh=afresh, spread=spread)
        except TraceshipError as error:
            outcomes[label] = error
    finished = {label for label, row in rows.items() if is_there(to, row)}
    for label in sorted(finished):
        report(f"{label}: compiled before, in s3://{to.bucket}/{rows[label].prefix}")
        outcomes[label] = _taken(to, rows[label], was_there=True)
    left = [label for label in rows if label not in finished]
    if afresh is None:
        for label in left:
            if (refused := given_up(to, rows[label])) is not None:
                report(f"{refused.what}: {refused.why}")
                outcomes[label] = refused
        left = [label for label in left if label not in outcomes]
    if left:
        run = _execute(to, rows, left, report, resumable=afresh is None)
        for label in left:
            outcomes[label] = _outcome(to, rows[label], run)
    return {label: outcomes[label] for label in requests}


@dataclass(frozen=True)
class _Run:
    """An execution that was followed to its end."""

    execution: Execution
    ended: Ended
    follower: Follower

    def failure(self, row: Row) -> TraceshipError:
        """Why there is nothing of a row: what its own job says, else the first of its buckets'."""
        labels = [row.label, *(row.part_label(shape) for shape in row.shapes)]
        errors = (self.follower.error(label) for label in labels)
        return next((error for error in errors if error is not None), None) or ExecutionFailed(
            name=self.execution.name, status=self.ended.status, why=self.ended.why
        )


def _execute(
    to: Deployment, rows: Mapping[str, Row], left: list[str], report: Report, *, resumable: bool
) -> _Run:
    """Run what is left of the rows, or attach, and follow to the end."""

    def items() -> list[Item]:
        return [row_item(to, rows[label], parts_left(to, rows[label]), report) for label in left]

    execution = start(to, list(rows.values()), items)
    report(f"{'it runs already, as' if execution.attached else 'it runs as'} {execution.name}")
    follower = Follower(to, execution, report)
    try:
        ended = _follow(to, execution, follower)
    except KeyboardInterrupt:
        again = (
            "the same command attaches to it or takes what it made" if resumable else "nobody waits for it"
        )
        report(f"{execution.name} goes on in AWS: {again};")
        report(f"to end it: aws stepfunctions stop-execution --execution-arn {execution.arn}")
        raise
    return _Run(execution, ended, follower)


def _follow(to: Deployment, execution: Execution, follower: Follower) -> Ended:
    while (ended := describe(to, execution)).status == RUNNING:
        follower.look()
        to.pause()
    follower.look()
    while not follower.heard_all():
        to.pause()
        follower.look()
    return ended


def _outcome(to: Deployment, row: Row, run: _Run) -> Outcome:
    try:
        arrived = is_there(to, row)
    except TraceshipError as error:
        return error
    return _taken(to, row, was_there=False) if arrived else run.failure(row)


def _taken(to: Deployment, row: Row, *, was_there: bool) -> Outcome:
    try:
        return Taken(artifact=take(to, row), was_there=was_there)
    except TraceshipError as error:
        return error
