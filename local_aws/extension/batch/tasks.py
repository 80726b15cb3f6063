"""Batch jobs as Step Functions tasks: ``batch:submitJob`` and its ``.sync`` form.

Parameters come in PascalCase, as the state machine's definition has them. A failed job fails
the task with the whole job as JSON in the cause (Step Functions developer guide, "Batch").
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ministack.services.stepfunctions import _ExecutionError

from local_aws.extension.batch.api import Service
from local_aws.extension.batch.jobs import Runner
from local_aws.extension.batch.store import ClientException, Store
from local_aws.extension.case import camel, pascal


def handler(store: Store, runner: Runner) -> Callable[[str, Any], Any]:
    """The task's handler. Runs on the execution's own thread, so it may wait for the job."""
    service = Service(store, runner)

    def submit(resource: str, parameters: Any) -> Any:
        try:
            submitted = service.submit_job(camel(parameters))
        except ClientException as refused:
            raise _ExecutionError("Batch.ClientException", str(refused)) from None
        if not resource.endswith(".sync"):
            return pascal(submitted)
        job = store.job(submitted["jobId"])
        runner.wait(job)
        detail = pascal(job)
        if job["status"] == "FAILED":
            raise _ExecutionError("States.TaskFailed", json.dumps(detail, separators=(",", ":")))
        return detail

    return submit
