"""Runs Batch jobs as processes: attempts, exit codes, time limits, logs.

One thread per job; at most ``PARALLEL`` processes at a time, the other jobs stay RUNNABLE.
A killed process exits with 128 plus the signal's number, so memory kills are 137 as on AWS.
"""

from __future__ import annotations

import fnmatch
import logging
import subprocess
import threading
import time
import uuid
from typing import Any

from local_aws import processes
from local_aws.extension.batch.store import FINISHED, ClientException, Record, Store
from local_aws.extension.logs import LogStream
from local_aws.extension.registry import Server

PARALLEL = 2
STOP_SECONDS = 10.0
ENTRY_POINT = ("-m", "compile")
"""The compile image's own (compile/Dockerfile). A job's command only adds arguments to it, on AWS
as here, so whoever reaches the port on this machine can run nothing else."""
JOB_ID = "AWS_BATCH_JOB_ID"
"""Batch's own variable; every process of a job inherits it."""
TIMED_OUT = "Job attempt duration exceeded timeout"

logger = logging.getLogger("traceship.local_aws")


class Runner:
    """Owns the threads and processes of all jobs of this server."""

    def __init__(self, server: Server, store: Store) -> None:
        self._server = server
        self._store = store
        self._slots = threading.Semaphore(PARALLEL)
        self._changed = threading.Condition()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._threads: list[threading.Thread] = []
        self._stopping = False

    def submit(self, job: Record) -> None:
        """Run the job, which is in the store as SUBMITTED, on a thread of its own.

        Raises:
            ClientException: the server is stopping.
        """
        if self._stopping:
            raise ClientException("the local AWS is stopping")
        thread = threading.Thread(target=self._run, args=(job,), name=f"batch-{job['jobId']}")
        self._threads = [t for t in self._threads if t.is_alive()] + [thread]
        thread.start()

    def wait(self, job: Record) -> None:
        """Return when the job has finished."""
        with self._changed:
            self._changed.wait_for(lambda: job["status"] in FINISHED)

    def terminate(self, job: Record, reason: str) -> None:
        """End the job; it fails with the reason and is not attempted again."""
        with self._changed:
            if job["status"] in FINISHED:
                return
            job.update(isTerminated=True, statusReason=reason)
            process = self._processes.get(job["jobId"])
        if process is not None:
            process.terminate()
            killer = threading.Timer(STOP_SECONDS, _kill_all, [job])
            killer.daemon = True
            killer.start()

    def stop(self) -> None:
        """End every job and its process, for the server's shut-down."""
        self._stopping = True
        for job in list(self._store.jobs.values()):
            self.terminate(job, "the local AWS was stopped")
        for thread in self._threads:
            thread.join(STOP_SECONDS)
        for job_id in list(self._processes):
            _kill_all(self._store.jobs[job_id])
        for thread in self._threads:
            thread.join()

    def _run(self, job: Record) -> None:
        try:
            self._set(job, status="RUNNABLE")
            with self._slots:
                self._attempt_until_done(job)
        except Exception as error:
            logger.exception("job %s failed inside the local AWS", job["jobId"])
            self._set(job, status="FAILED", statusReason=str(error), stoppedAt=_now())

    def _attempt_until_done(self, job: Record) -> None:
        strategy = job["retryStrategy"]
        for number in range(1, int(strategy.get("attempts", 1)) + 1):
            if job.get("isTerminated"):
                break
            attempt = self._attempt(job, number)
            if attempt["container"]["exitCode"] == 0 and not job.get("isTerminated"):
                self._set(job, status="SUCCEEDED", stoppedAt=_now())
                return
            if not _retries(strategy, attempt):
                break
        reason = job.get("statusReason") or "Essential container in task exited"
        self._set(job, status="FAILED", statusReason=reason, stoppedAt=_now())

    def _attempt(self, job: Record, number: int) -> Record:
        task = uuid.uuid4().hex
        log = LogStream.of_container(job["container"], task)
        self._set(job, status="STARTING")
        started = _now()
        code, reason = self._execute(job, number, log)
        container: Record = {"exitCode": code, "taskArn": f"task/{task}", "logStreamName": log.stream}
        if reason:
            container["reason"] = reason
        attempt = {
            "container": container,
            "startedAt": started,
            "stoppedAt": _now(),
            "statusReason": reason or "Essential container in task exited",
        }
        self._set(job, attempts=[*job["attempts"], attempt], container={**job["container"], **container})
        return attempt

    def _execute(self, job: Record, number: int, log: LogStream) -> tuple[int, str]:
        """Exit code of one process, and why Batch would say it ended (empty: by itself)."""
        folder = self._server.state / "batch" / job["jobId"]
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"attempt-{number}.log").open("w+b") as output:
            process = subprocess.Popen(
                [self._server.python, *ENTRY_POINT, *job["container"]["command"]],
                cwd=folder,
                env=self._environment(job, number),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            self._processes[job["jobId"]] = process
            self._set(job, status="RUNNING", startedAt=_now())
            if job.get("isTerminated"):  # asked for between the check and the start
                process.terminate()
            code, reason = self._await(job, process)
            _kill_all(job)
            del self._processes[job["jobId"]]
            output.seek(0)
            log.write(output.read().decode(errors="replace"))
        return code, reason

    def _await(self, job: Record, process: subprocess.Popen[bytes]) -> tuple[int, str]:
        limit = job.get("timeout", {}).get("attemptDurationSeconds")
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            _kill_all(job)
            return _exit_code(process.wait()), TIMED_OUT
        killed = "OutOfMemoryError: Container killed due to memory usage" if _exit_code(code) == 137 else ""
        return _exit_code(code), killed

    def _environment(self, job: Record, number: int) -> dict[str, str]:
        own = {item["name"]: item["value"] for item in job["container"].get("environment", [])}
        batch = {
            JOB_ID: job["jobId"],
            "AWS_BATCH_JOB_ATTEMPT": str(number),
            "AWS_BATCH_JQ_NAME": job["jobQueue"].rpartition("/")[2],
        }
        return self._server.child_environment({**own, **batch})

    def _set(self, job: Record, **changes: Any) -> None:
        with self._changed:
            job.update(changes)
            self._changed.notify_all()


def _kill_all(job: Record) -> None:
    """Kill every process of the job, in whatever session, as the end of a container does."""
    while found := processes.with_variable(JOB_ID, job["jobId"]):
        processes.kill(found)


def _exit_code(returned: int) -> int:
    return returned if returned >= 0 else 128 - returned


def _retries(strategy: Record, attempt: Record) -> bool:
    """Whether a failed attempt is followed by another (Batch user guide, "Automated job retries")."""
    container = attempt["container"]
    for rule in strategy.get("evaluateOnExit", []):
        conditions = (
            (rule.get("onExitCode"), str(container["exitCode"])),
            (rule.get("onReason"), container.get("reason", "")),
            (rule.get("onStatusReason"), attempt["statusReason"]),
        )
        if all(pattern is None or fnmatch.fnmatchcase(text, pattern) for pattern, text in conditions):
            return bool(rule["action"].upper() == "RETRY")
    return bool(attempt["statusReason"] != TIMED_OUT)


def _now() -> int:
    return int(time.time() * 1000)
