"""The operations of AWS Batch that the compile stack, its users and CloudFormation need.

REST with JSON bodies in camelCase; every operation is a POST to ``/v1/<operation>``, tags
excepted. Names and shapes: botocore's model ``batch/2016-08-10``.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from local_aws.extension.batch.catalogue import Catalogue
from local_aws.extension.batch.jobs import Runner
from local_aws.extension.batch.store import ClientException, Record, Store, arn
from local_aws.extension.registry import Handler, Response

Operation = Callable[[Record], Record]
_TAGS = "/v1/tags/"
_UNSUPPORTED = ("arrayProperties", "dependsOn", "nodeOverrides", "eksPropertiesOverride")


def handler(store: Store, runner: Runner) -> Handler:
    """The service's request handler."""
    service = Service(store, runner)

    async def handle(
        method: str, path: str, _headers: dict[str, str], body: bytes, query: dict[str, list[str]]
    ) -> Response:
        try:
            if path.startswith(_TAGS):
                return _json(200, service.tags(method, unquote(path[len(_TAGS) :]), body, query))
            operation = service.operations.get(path.rstrip("/").removeprefix("/v1/"))
            if operation is None:
                return _refusal(f"{path} is not an operation of the local AWS Batch")
            return _json(200, operation(json.loads(body or b"{}")))
        except ClientException as refused:
            return _refusal(str(refused))
        except KeyError as missing:
            return _refusal(f"{missing.args[0]} is required")

    return handle


class Service:
    """Every operation by its path."""

    def __init__(self, store: Store, runner: Runner) -> None:
        self._store = store
        self._runner = runner
        catalogue = Catalogue(store)
        self.operations: dict[str, Operation] = {
            "createcomputeenvironment": catalogue.create_environment,
            "updatecomputeenvironment": catalogue.update_environment,
            "deletecomputeenvironment": catalogue.delete_environment,
            "describecomputeenvironments": catalogue.describe_environments,
            "createjobqueue": catalogue.create_queue,
            "updatejobqueue": catalogue.update_queue,
            "deletejobqueue": catalogue.delete_queue,
            "describejobqueues": catalogue.describe_queues,
            "registerjobdefinition": catalogue.register_definition,
            "deregisterjobdefinition": catalogue.deregister_definition,
            "describejobdefinitions": catalogue.describe_definitions,
            "submitjob": self.submit_job,
            "describejobs": self.describe_jobs,
            "listjobs": self.list_jobs,
            "terminatejob": self.terminate_job,
            "canceljob": self.cancel_job,
        }

    def submit_job(self, request: Record) -> Record:
        """SubmitJob: starts as soon as the runner has a free slot."""
        for name in _UNSUPPORTED:
            if request.get(name):
                raise ClientException(f"{name} is not supported by the local AWS Batch")
        queue = self._store.queue(request["jobQueue"])
        if queue["state"] != "ENABLED":
            raise ClientException(f"job queue {queue['jobQueueName']} is DISABLED")
        definition = self._store.definition(request["jobDefinition"])
        job = _new_job(request, queue, definition)
        self._store.jobs[job["jobId"]] = job
        self._runner.submit(job)
        return {key: job[key] for key in ("jobArn", "jobName", "jobId")}

    def describe_jobs(self, request: Record) -> Record:
        """DescribeJobs; unknown ids are left out, as Batch does."""
        return {"jobs": [self._store.jobs[i] for i in request["jobs"] if i in self._store.jobs]}

    def list_jobs(self, request: Record) -> Record:
        """ListJobs of a queue: by name in any status, else by status, RUNNING ones unless asked for."""
        queue = self._store.queue(request["jobQueue"])["jobQueueArn"]
        found = [job for job in list(self._store.jobs.values()) if job["jobQueue"] == queue]
        if request.get("filters"):
            found = [job for job in found if _named(job, request["filters"])]
        else:
            found = [job for job in found if job["status"] == request.get("jobStatus", "RUNNING")]
        keys = ("jobArn", "jobId", "jobName", "createdAt", "startedAt", "stoppedAt", "status", "statusReason")
        return {"jobSummaryList": [{k: job[k] for k in keys if k in job} for job in found]}

    def terminate_job(self, request: Record) -> Record:
        """TerminateJob in any state."""
        self._runner.terminate(self._store.job(request["jobId"]), request["reason"])
        return {}

    def cancel_job(self, request: Record) -> Record:
        """CancelJob: only one that has not started yet."""
        job = self._store.job(request["jobId"])
        if job["status"] not in ("STARTING", "RUNNING"):
            self._runner.terminate(job, request["reason"])
        return {}

    def tags(self, method: str, resource: str, body: bytes, query: dict[str, list[str]]) -> Record:
        """ListTagsForResource (GET), TagResource (POST) and UntagResource (DELETE)."""
        kinds = {
            "compute-environment": self._store.environment,
            "job-queue": self._store.queue,
            "job-definition": self._store.definition,
            "job": self._store.job,
        }
        kind = resource.partition("/")[0].rpartition(":")[2]
        if kind not in kinds:
            raise ClientException(f"{resource} is not a Batch resource")
        record = kinds[kind](resource)
        if method == "POST":
            record["tags"] = {**record["tags"], **json.loads(body)["tags"]}
        elif method == "DELETE":
            record["tags"] = {k: v for k, v in record["tags"].items() if k not in query["tagKeys"]}
        return {"tags": record["tags"]} if method == "GET" else {}


def _named(job: Record, filters: list[Record]) -> bool:
    """Whether the job has one of the names; one that ends in ``*`` is a beginning (API, ListJobs)."""
    if len(filters) != 1 or filters[0]["name"] != "JOB_NAME":
        raise ClientException("the local AWS Batch takes one filter, JOB_NAME")
    name = job["jobName"].lower()
    wanted = [value.lower() for value in filters[0]["values"]]
    return any(name == value or (value[-1:] == "*" and name.startswith(value[:-1])) for value in wanted)


def _new_job(request: Record, queue: Record, definition: Record) -> Record:
    job_id = str(uuid.uuid4())
    overrides = request.get("containerOverrides", {})
    parameters = {**definition["parameters"], **request.get("parameters", {})}
    container = _overridden(definition["containerProperties"], overrides)
    container["command"] = [_substituted(word, parameters) for word in container.get("command", [])]
    return {
        "jobArn": arn("job", job_id),
        "jobId": job_id,
        "jobName": request["jobName"],
        "jobQueue": queue["jobQueueArn"],
        "jobDefinition": definition["jobDefinitionArn"],
        "status": "SUBMITTED",
        "createdAt": int(time.time() * 1000),
        "attempts": [],
        "parameters": parameters,
        "container": container,
        "retryStrategy": request.get("retryStrategy") or definition.get("retryStrategy") or {"attempts": 1},
        "timeout": request.get("timeout") or definition.get("timeout") or {},
        "platformCapabilities": definition.get("platformCapabilities", []),
        "tags": request.get("tags", {}),
    }


def _overridden(container: Record, overrides: Record) -> Record:
    result = {**container, **({"command": overrides["command"]} if "command" in overrides else {})}
    environment = {item["name"]: item for item in container.get("environment", [])}
    environment.update({item["name"]: item for item in overrides.get("environment", [])})
    resources = {item["type"]: item for item in container.get("resourceRequirements", [])}
    resources.update({item["type"]: item for item in overrides.get("resourceRequirements", [])})
    return {
        **result,
        "environment": list(environment.values()),
        "resourceRequirements": list(resources.values()),
    }


def _substituted(word: str, parameters: dict[str, str]) -> str:
    """``Ref::name`` becomes the parameter of that name (Batch user guide, "Parameters")."""
    name = word.removeprefix("Ref::")
    if name == word:
        return word
    if name not in parameters:
        raise ClientException(f"the job's command needs the parameter {name}")
    return parameters[name]


def _json(status: int, body: Any) -> Response:
    return status, {"Content-Type": "application/json"}, json.dumps(body).encode()


def _refusal(message: str) -> Response:
    status, headers, body = _json(400, {"message": message})
    return status, {**headers, "x-amzn-ErrorType": "ClientException"}, body
