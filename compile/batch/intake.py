"""``python -m compile intake s3://BUCKET/requests/NAME.json``: a job that takes one compile request.

It does what the client does on somebody's machine: finds the models, leaves out what is compiled, running
or given up, and starts an execution of the rows' state machine. Beside the request it leaves
``NAME.json.answer``: ``refused`` with the reason, or ``taken`` with the execution and what becomes of
each row. Not answered, and tried again by whoever started the job, is only what AWS could not do.

The other side is ``infra/compile_requests.py``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from artifact.aws import AwsClient, translated
from artifact.errors import TraceshipError, UsageError
from compile.batch.asked import MAX_BYTES, AskedInvalid, read_asked
from compile.batch.attempts import is_passing
from compile.batch.deployment import Clients, Deployment
from compile.batch.execution import start
from compile.batch.given_up import given_up
from compile.batch.results import is_there, parts_left
from compile.batch.rows import Row, make_row, row_item
from compile.cache.remembered import Remembered
from compile.places import SCHEME, s3_client, split_place
from compile.request import CompileRequest

ANSWER = ".answer"
"""Follows the request's key. Not .json, so that no answer is taken for a request."""
Report = Callable[[str], None]


class BadIntake(UsageError):
    """The words that start the intake are wrong."""

    id = "bad-intake"

    def __init__(self, *, why: str) -> None:
        super().__init__(
            what="no compile request can be taken",
            why=why,
            fix="start it by putting a request into s3://BUCKET/requests/ (docs/compile-jobs.md)",
        )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadIntake(why=message)


def main(words: Sequence[str], report: Report) -> None:
    """Take the request that ``words`` name.

    Raises:
        BadIntake: see there.
        AwsDenied, AwsUnreachable, AwsRefused: what AWS said; the request has no answer yet.
    """
    options = _options(words)
    bucket, key = split_place(options.request)
    with tempfile.TemporaryDirectory(prefix="traceship-intake-") as folder:
        to = _deployment(options, bucket, Path(folder))
        try:
            requests = read_asked(_read(to, key), bucket, Path(folder))
        except AskedInvalid as refused:
            answer = {"status": "refused", **_said(refused)}
        else:
            answer = take(to, requests, report)
        _write(to, f"{key}{ANSWER}", answer)
    report(f"{options.request}: {answer['status']}")


def take(to: Deployment, requests: dict[str, CompileRequest], report: Report) -> dict[str, Any]:
    """Start what is left of the rows; return the answer.

    Raises:
        AwsDenied, AwsUnreachable, AwsRefused: what AWS said.
    """
    told: dict[str, dict[str, Any]] = {}
    rows: list[Row] = []
    left: list[Row] = []
    for label, request in requests.items():
        try:
            row = make_row(to, label, request, report)
            rows.append(row)
            refused = given_up(to, row)
            if is_there(to, row):
                told[label] = {"status": "was there", "place": f"{SCHEME}{to.bucket}/{row.prefix}"}
                continue
            if refused is not None:
                raise refused
        except TraceshipError as error:
            if is_passing(error):
                raise
            told[label] = {"status": "failed", **_said(error)}
            continue
        left.append(row)
        told[label] = {"status": "started", "place": f"{SCHEME}{to.bucket}/{row.prefix}"}
    answer: dict[str, Any] = {"status": "taken", "rows": told}
    if left:
        # All of them name the execution, as for the client: one that runs is found when a row of it is done.
        run = start(to, rows, lambda: [row_item(to, row, parts_left(to, row), report) for row in left])
        answer |= {"execution": run.arn, "attached": run.attached}
    return answer


def _options(words: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(prog="python -m compile intake", add_help=False, allow_abbrev=False)
    parser.add_argument("request")
    parser.add_argument("--machine", required=True)
    parser.add_argument("--image", required=True)
    parser.add_argument("--give-up-after", required=True, type=int)
    options = parser.parse_args(list(words))
    if options.machine.count(":") != 6:
        raise BadIntake(why=f"{options.machine} is not the ARN of a state machine")
    return options


def _deployment(options: argparse.Namespace, bucket: str, folder: Path) -> Deployment:
    import boto3

    _, _, _, region, account, _, _ = options.machine.split(":")
    states: AwsClient = boto3.client("stepfunctions", region_name=region)

    return Deployment(
        account=account,
        bucket=bucket,
        machine=options.machine,
        queues=(),
        log_group="",
        image=options.image,
        clients=Clients(s3=s3_client(), states=states, batch=None, logs=None),
        remembered=Remembered(folder / "remembered"),
        pause=lambda: None,
        give_up_after=options.give_up_after,
    )


def _read(to: Deployment, key: str) -> bytes:
    """The request; one byte more than it may have, so that a longer one is seen."""
    with translated(f"read {SCHEME}{to.bucket}/{key}"):
        body = to.clients.s3.get_object(Bucket=to.bucket, Key=key, ExpectedBucketOwner=to.account)["Body"]
        data: bytes = body.read(MAX_BYTES + 1)
    return data


def _write(to: Deployment, key: str, answer: dict[str, Any]) -> None:
    text = json.dumps({"schema": "traceship.compile-answer/1", **answer}, ensure_ascii=False, indent=1)
    with translated(f"write {SCHEME}{to.bucket}/{key}"):
        to.clients.s3.put_object(
            Bucket=to.bucket, Key=key, Body=f"{text}\n".encode(), ExpectedBucketOwner=to.account
        )


def _said(error: TraceshipError) -> dict[str, str]:
    return {"id": error.id, "what": error.what, "why": error.why, "fix": error.fix}
