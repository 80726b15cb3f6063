"""Start an execution of the compile state machine, or attach to the one that runs already.

Its name is made of the rows' places: the same rows have the same name, and Step Functions lets only
one execution of a name run. A name that is used up (executions keep theirs for 90 days) is followed
by the next number, so that what failed can be tried again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from artifact.aws import translated
from artifact.canonical import encode
from artifact.errors import UsageError
from compile.batch.deployment import Deployment
from compile.batch.rows import Item, Row

MAX_INPUT_BYTES = 192 * 1024
"""A state takes and gives 256 KiB at most (Step Functions developer guide, "Quotas"); the results of the rows
are added to the input."""
RUNNING = "RUNNING"


class TooManyRows(UsageError):
    """The rows together are more than an execution can be told."""

    id = "too-many-rows"

    def __init__(self, *, rows: int, size: int) -> None:
        super().__init__(
            what=f"{rows} rows do not fit into one execution",
            why=f"they are {size} bytes, at most {MAX_INPUT_BYTES} leave Step Functions room for the results",
            fix="split the file into several and compile one after the other",
        )


@dataclass(frozen=True)
class Execution:
    """An execution by name and ARN. ``attached``: somebody started it before."""

    name: str
    arn: str
    attached: bool

    def job_name(self, label: str) -> str:
        """Name of the Batch jobs of a row."""
        return f"{self.name}-{label}"


@dataclass(frozen=True)
class Ended:
    """How an execution stands. ``why`` is empty unless the execution as a whole says something."""

    status: str
    why: str


def base_name(rows: Sequence[Row]) -> str:
    """What the names of all executions of these rows begin with."""
    places = sorted([row.label, row.prefix, row.spread] for row in rows)
    return f"compile-{hashlib.sha256(encode(places)).hexdigest()[:16]}"


def start(to: Deployment, rows: Sequence[Row], items: Callable[[], Sequence[Item]]) -> Execution:
    """Attach to the execution of these rows that runs, else start one.

    Args:
        items: called only to start; the rows that are still to be compiled.

    Raises:
        TooManyRows: see there.
        AwsDenied, AwsUnreachable, AwsRefused: what Step Functions said.
    """
    from botocore.exceptions import ClientError

    base = base_name(rows)
    used, running = _last(to, base)
    if running:
        return _numbered(to, base, used, attached=True)
    execution = _numbered(to, base, used + 1, attached=False)
    text = _input(execution, items())
    with translated("start the compile state machine"):
        try:
            to.clients.states.start_execution(stateMachineArn=to.machine, name=execution.name, input=text)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "ExecutionAlreadyExists":
                raise
            return replace(execution, attached=True)  # somebody started it while we uploaded
    return execution


def _input(execution: Execution, items: Sequence[Item]) -> str:
    def job(item: Item, label: str, words: list[str]) -> dict[str, Any]:
        memory = {"memory": item.memory_gib[label]} if label in item.memory_gib else {}
        return {"name": execution.job_name(label), "arguments": words, **memory}

    told = [
        {**job(item, item.label, item.words), "parts": [job(item, *part) for part in item.parts.items()]}
        for item in items
    ]
    text = json.dumps({"items": told}, ensure_ascii=False)
    if (size := len(text.encode())) > MAX_INPUT_BYTES:
        raise TooManyRows(rows=len(items), size=size)
    return text


def describe(to: Deployment, execution: Execution) -> Ended:
    """How the execution stands.

    Raises:
        AwsDenied, AwsUnreachable, AwsRefused: what Step Functions said.
    """
    found = _describe(to, execution)
    if found is None:
        return Ended(status="GONE", why="there is no such execution any more")
    told = [found[name] for name in ("error", "cause") if found.get(name)]
    return Ended(status=str(found["status"]), why=": ".join(told))


def _last(to: Deployment, base: str) -> tuple[int, bool]:
    """The highest number that is used, 0 for none, and whether that execution runs."""
    running = False
    for number in count(1):
        execution = _numbered(to, base, number, attached=True)
        found = _describe(to, execution)
        if found is None:
            return number - 1, running
        running = found["status"] == RUNNING
    raise AssertionError("numbers do not end")


def _describe(to: Deployment, execution: Execution) -> dict[str, Any] | None:
    """The execution as Step Functions describes it; None where there is none."""
    from botocore.exceptions import ClientError

    with translated(f"look at the execution {execution.name}"):
        try:
            found: dict[str, Any] = to.clients.states.describe_execution(executionArn=execution.arn)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "ExecutionDoesNotExist":
                raise
            return None
    return found


def _numbered(to: Deployment, base: str, number: int, *, attached: bool) -> Execution:
    name = f"{base}-{number}"
    arn = to.machine.replace(":stateMachine:", ":execution:", 1) + f":{name}"
    return Execution(name=name, arn=arn, attached=attached)
