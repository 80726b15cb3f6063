"""An AWS small enough to read: S3 is moto's, the others know just what the client asks of them.

A job does what ``Cloud.does`` says for its row, when the client next pauses; its log can be read
``log_delay`` pauses later. What the fakes accept and
refuse is what the API references say of these calls.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from botocore.exceptions import ClientError

from artifact.manifest import Source
from compile.__main__ import parse
from compile.batch.deployment import Clients, Deployment
from compile.cache.remembered import Remembered
from compile.exchange import settled
from compile.parts import PART
from compile.request import CompileRequest
from compile.result import result_data
from compile.source import resolve
from tests.compile.results import compiled_example
from tests.kit.folders import CONTENT, manifest_of, write_folder

BUCKET = "traceship-artifacts-123456789012-eu-west-1"
IMAGE = "registry.example/compile@sha256:" + "a" * 64
MACHINE = "arn:aws:states:eu-west-1:123456789012:stateMachine:traceship-compile"

Work = Callable[[list[str]], tuple[int, list[str]]]
"""What a job does with its arguments: exit code and the lines it prints."""


def deliver(arguments: list[str]) -> tuple[int, list[str]]:
    """A job that leaves an artifact of its model where it was told to, as ``python -m compile`` does."""
    out = arguments[arguments.index("--out") + 1]
    request = parse(arguments)
    source = resolve(request.model, identity=request.identity, revision=request.revision).identity
    with settled(out) as places:
        places.out.mkdir()
        digest = write_artifact(places.out, request, source)
        told = compiled_example(digest=digest, task=request.task, target=request.target)
        places.deliver(result_data(told))
    return 0, ["traced 1x16 in 1.0 s", json.dumps({"path": out, "digest": digest})]


def write_artifact(root: Path, request: CompileRequest, source: Source) -> str:
    """An artifact by the book that says it was made of ``source``."""
    manifest = msgspec.structs.replace(manifest_of(CONTENT), source=source, task=request.task)
    return write_folder(root, CONTENT, manifest)


def trace(arguments: list[str]) -> tuple[int, list[str]]:
    """A job that leaves a traced bucket, as ``python -m compile --only`` does."""
    out = arguments[arguments.index("--out") + 1]
    with settled(out) as places:
        places.out.mkdir()
        (places.out / PART).write_bytes(b"{}")
        places.deliver_part()
    return 0, [json.dumps({"part": out})]


def fail(error: dict[str, str], code: int) -> Work:
    """A job that ends with one of our errors."""
    return lambda _arguments: (code, ["reading the model", json.dumps(error)])


def killed(_arguments: list[str]) -> tuple[int, list[str]]:
    """A job that was killed without a word."""
    return 137, []


def _refused(code: str, call: str) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": 400}}, call
    )


@dataclass
class Cloud:
    """Step Functions, Batch and CloudWatch Logs. ``does`` by the label at the end of a job's name."""

    does: dict[str, Work] = field(default_factory=dict)
    executions: dict[str, dict[str, Any]] = field(default_factory=dict)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    logs: dict[str, list[str]] = field(default_factory=dict)
    readable: dict[str, int] = field(default_factory=dict)
    log_delay: int = 0
    pauses: int = 0
    interrupt: bool = False

    def deployment(self, s3: Any, notes: Path) -> Deployment:
        clients = Clients(s3=s3, states=self, batch=self, logs=self)
        return Deployment(
            account="123456789012",
            bucket=BUCKET,
            machine=MACHINE,
            queues=("spot", "on-demand"),
            log_group="/traceship/traceship/compile",
            image=IMAGE,
            clients=clients,
            remembered=Remembered(notes),
            pause=self.pause,
        )

    def pause(self) -> None:
        """Time passes: the next job runs, and with the last one the execution ends."""
        self.pauses += 1
        if self.interrupt:
            raise KeyboardInterrupt
        waiting = [job for job in self.jobs if job["status"] == "RUNNABLE"]
        if waiting:
            self._run(waiting[0])
        elif self.pauses > 1000:
            raise AssertionError("the client waits for ever")
        if len(waiting) < 2 and not self._submit_what_can_run():
            self._end()

    def start_execution(self, stateMachineArn: str, name: str, input: str) -> dict[str, Any]:  # noqa: N803
        assert stateMachineArn == MACHINE
        arn = f"{MACHINE.replace(':stateMachine:', ':execution:')}:{name}"
        if arn in self.executions:
            raise _refused("ExecutionAlreadyExists", "StartExecution")
        self.executions[arn] = {"status": "RUNNING", "input": json.loads(input)}
        self._submit_what_can_run()
        return {"executionArn": arn}

    def describe_execution(self, executionArn: str) -> dict[str, Any]:  # noqa: N803
        if executionArn not in self.executions:
            raise _refused("ExecutionDoesNotExist", "DescribeExecution")
        return self.executions[executionArn]

    def list_jobs(
        self,
        jobQueue: str,  # noqa: N803
        filters: list[dict[str, Any]],
        nextToken: str | None = None,  # noqa: N803
    ) -> dict[str, Any]:
        """One job a page."""
        prefix = filters[0]["values"][0].removesuffix("*")
        found = [j for j in self.jobs if j["jobQueue"] == jobQueue and j["jobName"].startswith(prefix)]
        here = int(nextToken or 0)
        more = {"nextToken": str(here + 1)} if here + 1 < len(found) else {}
        return {"jobSummaryList": found[here : here + 1], **more}

    def describe_jobs(self, jobs: list[str]) -> dict[str, Any]:
        return {"jobs": [job for job in self.jobs if job["jobId"] in jobs]}

    def get_log_events(
        self,
        logGroupName: str,  # noqa: N803
        logStreamName: str,  # noqa: N803
        startFromHead: bool,  # noqa: N803
        nextToken: str = "f/0",  # noqa: N803
    ) -> dict[str, Any]:
        """Two lines a page; at the end the token that was given."""
        assert (logGroupName, startFromHead) == ("/traceship/traceship/compile", True)
        if self.pauses < self.readable.get(logStreamName, self.pauses + 1):
            raise _refused("ResourceNotFoundException", "GetLogEvents")
        here = int(nextToken[2:])
        page = self.logs[logStreamName][here : here + 2]
        return {"events": [{"message": m} for m in page], "nextForwardToken": f"f/{here + len(page)}"}

    def commands(self) -> list[list[str]]:
        """The arguments of every job so far."""
        return [job["container"]["command"] for job in self.jobs]

    def _submit_what_can_run(self) -> bool:
        """Submit parts, then rows whose parts succeeded; whether there was anything to submit."""
        status = {job["jobName"]: job["status"] for job in self.jobs}
        items = [i for e in self.executions.values() if e["status"] == "RUNNING" for i in e["input"]["items"]]
        ready = [part for item in items for part in item["parts"]]
        ready += [i for i in items if all(status.get(p["name"]) == "SUCCEEDED" for p in i["parts"])]
        new = [item for item in ready if item["name"] not in status]
        for item in new:
            self.jobs.append(
                {
                    "jobId": f"{len(self.jobs):08}-of-a-test",
                    "jobName": item["name"],
                    "jobQueue": "spot",
                    "createdAt": len(self.jobs),
                    "status": "RUNNABLE",
                    "container": {"command": item["arguments"]},
                }
            )
        return bool(new)

    def _run(self, job: dict[str, Any]) -> None:
        label = job["jobName"].split("-", 3)[3]
        otherwise = trace if "--only" in job["container"]["command"] else deliver
        code, lines = self.does.get(label, otherwise)(job["container"]["command"])
        job["status"] = "FAILED" if code else "SUCCEEDED"
        job["statusReason"] = "Essential container in task exited"
        job["container"].update(exitCode=code, logStreamName=f"job/{job['jobId']}")
        if lines:
            self.logs[f"job/{job['jobId']}"] = lines
            self.readable[f"job/{job['jobId']}"] = self.pauses + self.log_delay

    def _end(self) -> None:
        for execution in self.executions.values():
            if execution["status"] == "RUNNING":
                failed = any(job["status"] == "FAILED" for job in self.jobs)
                execution["status"] = "FAILED" if failed else "SUCCEEDED"
