"""Rows in, artifacts out: what is finished is taken, the rest runs as one execution.

What counts as done is the artifact in its place, whatever became of the job that made it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from artifact.errors import TraceshipError
from compile.batch.deployment import Deployment
from compile.batch.execution import RUNNING, Ended, Execution, describe, start
from compile.batch.following import Follower
from compile.batch.results import is_there, take
from compile.batch.rows import Row, make_row, row_arguments
from compile.request import CompiledArtifact, CompileRequest

Report = Callable[[str], None]

_LATE_LOOKS = 5
"""Looks for a failed job's last lines after its end."""


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
    to: Deployment, request: CompileRequest, report: Report, *, afresh: str | None = None
) -> CompiledArtifact:
    """Compile one request in AWS; the artifact is verified here before it gets its name.

    Args:
        afresh: see ``make_row``.

    Raises:
        NotOnBatch, ExecutionFailed, JobFailed, ResultDamaged, OutputExists, OutputNotWritable: see there.
        AwsDenied, AwsUnreachable, AwsRefused: what AWS said; run again to go on.
        TraceshipError: the very error of the compile.
    """
    outcome = compile_rows(to, {request.task: request}, report, afresh=afresh)[request.task]
    if isinstance(outcome, TraceshipError):
        raise outcome
    return outcome.artifact


def compile_rows(
    to: Deployment, requests: Mapping[str, CompileRequest], report: Report, *, afresh: str | None = None
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
            rows[label] = make_row(to, label, request, report, afresh=afresh)
        except TraceshipError as error:
            outcomes[label] = error
    finished = {label for label, row in rows.items() if is_there(to, row)}
    for label in sorted(finished):
        report(f"{label}: compiled before, in s3://{to.bucket}/{rows[label].prefix}")
    failures = _Failures()
    if len(finished) < len(rows):
        failures = _execute(to, rows, finished, report, resumable=afresh is None)
    for label, row in rows.items():
        outcomes[label] = _outcome(to, row, failures, was_there=label in finished)
    return {label: outcomes[label] for label in requests}


@dataclass(frozen=True)
class _Failures:
    """What an execution, if there was one, says about rows without a result."""

    execution: Execution | None = None
    ended: Ended | None = None
    follower: Follower | None = None

    def of(self, label: str) -> TraceshipError:
        told = None if self.follower is None else self.follower.error(label)
        if told is not None:
            return told
        name = "of these rows" if self.execution is None else self.execution.name
        ended = self.ended or Ended(status="GONE", why="the result was removed while it was looked at")
        return ExecutionFailed(name=name, status=ended.status, why=ended.why)


def _execute(
    to: Deployment, rows: Mapping[str, Row], finished: set[str], report: Report, *, resumable: bool
) -> _Failures:
    """Run or attach, follow to the end."""

    def command_lines() -> dict[str, list[str]]:
        return {label: row_arguments(to, row, report) for label, row in rows.items() if label not in finished}

    execution = start(to, list(rows.values()), command_lines)
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
    return _Failures(execution, ended, follower)


def _follow(to: Deployment, execution: Execution, follower: Follower) -> Ended:
    while (ended := describe(to, execution)).status == RUNNING:
        follower.look()
        to.pause()
    follower.look()
    for _ in range(_LATE_LOOKS):
        if follower.said_all():
            break
        to.pause()
        follower.look()
    return ended


def _outcome(to: Deployment, row: Row, failures: _Failures, *, was_there: bool) -> Outcome:
    try:
        if was_there or is_there(to, row):
            return Taken(artifact=take(to, row), was_there=was_there)
    except TraceshipError as error:
        return error
    return failures.of(row.label)
