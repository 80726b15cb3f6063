"""Compute environments, job queues and job definitions: the operations on what exists.

Requests and answers in Batch's camelCase (botocore's model ``batch/2016-08-10``). The service
(api.py) and the CloudFormation types call the same methods.
"""

from __future__ import annotations

from local_aws.extension.batch.store import FINISHED, ClientException, Record, Store, arn


class Catalogue:
    """Operations on one store. A missing required member is a KeyError that names it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create_environment(self, request: Record) -> Record:
        """CreateComputeEnvironment; valid at once."""
        name = request["computeEnvironmentName"]
        _refuse_existing(self._store.environments, name)
        self._store.environments[name] = {
            "state": "ENABLED",
            "tags": {},
            **request,
            "computeEnvironmentArn": arn("compute-environment", name),
            "status": "VALID",
            "statusReason": "ComputeEnvironment Healthy",
        }
        return _names(self._store.environments[name], "computeEnvironment")

    def update_environment(self, request: Record) -> Record:
        """UpdateComputeEnvironment: compute resources are merged, the rest is replaced."""
        record = self._store.environment(request["computeEnvironment"])
        resources = {**record.get("computeResources", {}), **request.get("computeResources", {})}
        record.update({k: v for k, v in request.items() if k != "computeEnvironment"})
        record["computeResources"] = resources
        return _names(record, "computeEnvironment")

    def delete_environment(self, request: Record) -> Record:
        """DeleteComputeEnvironment: only a disabled one that no queue uses."""
        record = self._store.environment(request["computeEnvironment"])
        _refuse_enabled(record, "compute environment")
        reference = record["computeEnvironmentArn"]
        for queue in self._store.queues.values():
            if reference in [order["computeEnvironment"] for order in queue["computeEnvironmentOrder"]]:
                raise ClientException(f"{reference} is used by job queue {queue['jobQueueName']}")
        del self._store.environments[record["computeEnvironmentName"]]
        return {}

    def describe_environments(self, request: Record) -> Record:
        """DescribeComputeEnvironments by name or ARN; all without names."""
        wanted = request.get("computeEnvironments")
        return {"computeEnvironments": _chosen(self._store.environments, wanted)}

    def create_queue(self, request: Record) -> Record:
        """CreateJobQueue on existing compute environments."""
        name = request["jobQueueName"]
        _refuse_existing(self._store.queues, name)
        self._store.queues[name] = {
            "state": "ENABLED",
            "tags": {},
            **request,
            "computeEnvironmentOrder": self._order(request["computeEnvironmentOrder"]),
            "jobQueueArn": arn("job-queue", name),
            "status": "VALID",
            "statusReason": "JobQueue Healthy",
        }
        return _names(self._store.queues[name], "jobQueue")

    def update_queue(self, request: Record) -> Record:
        """UpdateJobQueue."""
        record = self._store.queue(request["jobQueue"])
        changes = {k: v for k, v in request.items() if k != "jobQueue"}
        if "computeEnvironmentOrder" in changes:
            changes["computeEnvironmentOrder"] = self._order(changes["computeEnvironmentOrder"])
        record.update(changes)
        return _names(record, "jobQueue")

    def delete_queue(self, request: Record) -> Record:
        """DeleteJobQueue: only a disabled one without unfinished jobs."""
        record = self._store.queue(request["jobQueue"])
        _refuse_enabled(record, "job queue")
        for job in self._store.jobs.values():
            if job["jobQueue"] == record["jobQueueArn"] and job["status"] not in FINISHED:
                raise ClientException(f"job queue {record['jobQueueName']} still has job {job['jobId']}")
        del self._store.queues[record["jobQueueName"]]
        return {}

    def describe_queues(self, request: Record) -> Record:
        """DescribeJobQueues by name or ARN; all without names."""
        return {"jobQueues": _chosen(self._store.queues, request.get("jobQueues"))}

    def register_definition(self, request: Record) -> Record:
        """RegisterJobDefinition: a new revision of single-container jobs."""
        name = request["jobDefinitionName"]
        if request["type"] != "container" or "containerProperties" not in request:
            raise ClientException("the local AWS Batch runs jobs with containerProperties only")
        revision = self._store.next_revision(name)
        key = f"{name}:{revision}"
        self._store.definitions[key] = {
            "parameters": {},
            "tags": {},
            **request,
            "jobDefinitionArn": arn("job-definition", key),
            "revision": revision,
            "status": "ACTIVE",
        }
        return {**_names(self._store.definitions[key], "jobDefinition"), "revision": revision}

    def deregister_definition(self, request: Record) -> Record:
        """DeregisterJobDefinition: the revision stays listed as INACTIVE."""
        self._store.definition(request["jobDefinition"])["status"] = "INACTIVE"
        return {}

    def describe_definitions(self, request: Record) -> Record:
        """DescribeJobDefinitions by reference, name or status."""
        found = list(self._store.definitions.values())
        if "jobDefinitions" in request:
            found = [self._store.definition(reference) for reference in request["jobDefinitions"]]
        for key, wanted in (
            ("jobDefinitionName", request.get("jobDefinitionName")),
            ("status", request.get("status")),
        ):
            found = [d for d in found if wanted in (None, d[key])]
        return {"jobDefinitions": found}

    def _order(self, order: list[Record]) -> list[Record]:
        """The environments of a queue by ARN; each must exist."""
        return [
            {
                **item,
                "computeEnvironment": self._store.environment(item["computeEnvironment"])[
                    "computeEnvironmentArn"
                ],
            }
            for item in order
        ]


def _chosen(records: dict[str, Record], references: list[str] | None) -> list[Record]:
    if not references:
        return list(records.values())
    wanted = [reference.rpartition("/")[2] for reference in references]
    return [records[name] for name in wanted if name in records]


def _names(record: Record, prefix: str) -> Record:
    return {key: record[key] for key in (f"{prefix}Name", f"{prefix}Arn")}


def _refuse_existing(records: dict[str, Record], name: str) -> None:
    if name in records:
        raise ClientException(f"Object already exists: {name}")


def _refuse_enabled(record: Record, what: str) -> None:
    if record["state"] != "DISABLED":
        raise ClientException(f"Cannot delete, {what} must be disabled first")
