"""The jobs of an execution while they run: each change of state and each line of log, once.

Jobs are found by their names, which begin with the execution's. A row can have several one after the
other: with more memory, or on-demand after a Spot interruption.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from artifact.aws import translated
from artifact.errors import TraceshipError
from compile.batch.attempts import KILLED_FOR_MEMORY
from compile.batch.deployment import Deployment
from compile.batch.execution import Execution
from compile.children import Failure, as_raised

Report = Callable[[str], None]

FINISHED = ("SUCCEEDED", "FAILED")
_LATE_LOOKS = 5
"""Looks at a job's log after its end: CloudWatch gets the last lines a moment later."""
_DESCRIBED_AT_ONCE = 100
"""Batch API reference, DescribeJobs: most jobs of a call."""


class JobFailed(TraceshipError):
    """A job ended without a word of ours: it was killed, or never started."""

    id = "compile-job-failed"

    def __init__(self, *, job: str, why: str, log: str) -> None:
        super().__init__(
            what=f"the compile job {job} failed",
            why=why,
            fix=f"read its log in {log}, then run the command again; finished rows are kept",
        )


@dataclass
class Job:
    """What was seen of one job. ``said`` is its last error object, ``late`` counts looks after its end."""

    job_id: str
    label: str
    created: int
    status: str = ""
    exit_code: int | None = None
    reason: str = ""
    stream: str | None = None
    token: str | None = None
    said: dict[str, str] = field(default_factory=dict)
    late: int = 0

    @property
    def heard(self) -> bool:
        """Whether nothing more is expected of it."""
        return self.status in FINISHED and (bool(self.said) or self.late > _LATE_LOOKS)


class Follower:
    """Reports what happens to the jobs of an execution since the last look."""

    def __init__(self, at: Deployment, execution: Execution, report: Report) -> None:
        self._at = at
        self._execution = execution
        self._report = report
        self._jobs: dict[str, Job] = {}

    def look(self) -> None:
        """Report what is new.

        Raises:
            AwsDenied, AwsUnreachable, AwsRefused: what Batch or CloudWatch said.
        """
        with translated("look at the compile jobs"):
            for summary in self._listed():
                label = summary["jobName"].removeprefix(self._execution.job_name(""))
                known = Job(job_id=summary["jobId"], label=label, created=summary.get("createdAt", 0))
                self._jobs.setdefault(known.job_id, known)
            for described in self._described([job.job_id for job in self._jobs.values() if not job.heard]):
                job = self._jobs[described["jobId"]]
                self._see(job, described)
                self._read_log(job)
                job.late += job.status in FINISHED

    def error(self, label: str) -> TraceshipError | None:
        """Why the last job of a row failed: the very error of the compile where it said one."""
        jobs = sorted((job for job in self._jobs.values() if job.label == label), key=lambda j: j.created)
        if not jobs or jobs[-1].status != "FAILED":
            return None
        job = jobs[-1]
        if job.said and job.exit_code:
            # That the job was killed is for the state machine to know: here it is an error with words.
            code = TraceshipError.exit_code if job.exit_code == KILLED_FOR_MEMORY else job.exit_code
            return as_raised(Failure(**job.said, exit_code=code))
        ended = "" if job.exit_code is None else f" (exit code {job.exit_code})"
        return JobFailed(
            job=self._execution.job_name(label),
            why=f"{job.reason or 'it ended'}{ended}",
            log=f"{self._at.log_group}, stream {job.stream or 'none'}",
        )

    def heard_all(self) -> bool:
        """Whether each failed job that ended by itself has said why, or had the time to."""
        failed = [job for job in self._jobs.values() if job.status == "FAILED" and job.exit_code is not None]
        return all(job.heard for job in failed)

    def _listed(self) -> Iterator[dict[str, Any]]:
        prefix = self._execution.job_name("*")
        for queue in self._at.queues:
            asked: dict[str, Any] = {"jobQueue": queue, "filters": [{"name": "JOB_NAME", "values": [prefix]}]}
            while True:
                page = self._at.clients.batch.list_jobs(**asked)
                yield from page["jobSummaryList"]
                if not page.get("nextToken"):
                    break
                asked["nextToken"] = page["nextToken"]

    def _described(self, ids: list[str]) -> Iterator[dict[str, Any]]:
        for first in range(0, len(ids), _DESCRIBED_AT_ONCE):
            some = ids[first : first + _DESCRIBED_AT_ONCE]
            yield from self._at.clients.batch.describe_jobs(jobs=some)["jobs"]

    def _see(self, job: Job, described: dict[str, Any]) -> None:
        container = described.get("container", {})
        job.stream = container.get("logStreamName", job.stream)
        job.exit_code = container.get("exitCode")
        job.reason = container.get("reason") or described.get("statusReason", "")
        if described["status"] == job.status:
            return
        job.status = described["status"]
        why = f": {job.reason}" if job.status == "FAILED" and job.reason else ""
        self._report(f"{job.label}: job {job.job_id[:8]} is {job.status}{why}")

    def _read_log(self, job: Job) -> None:
        """Report the lines that came since the last time; JSON is for programs and kept back."""
        from botocore.exceptions import ClientError

        while job.stream is not None:
            asked: dict[str, Any] = {"logGroupName": self._at.log_group, "logStreamName": job.stream}
            if job.token is not None:
                asked["nextToken"] = job.token
            try:
                page = self._at.clients.logs.get_log_events(**asked, startFromHead=True)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") != "ResourceNotFoundException":
                    raise
                return  # the stream is made with its first line
            for event in page["events"]:
                self._take_line(job, event["message"])
            if page["nextForwardToken"] == job.token:
                return
            job.token = page["nextForwardToken"]

    def _take_line(self, job: Job, line: str) -> None:
        if not line.startswith("{"):
            self._report(f"{job.label}: {line}")
            return
        try:
            told = json.loads(line)
            job.said = {key: str(told[key]) for key in ("id", "what", "why", "fix")}
        except (ValueError, KeyError, TypeError):
            return  # the result, which is read from S3
