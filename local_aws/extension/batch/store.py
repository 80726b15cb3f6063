"""What Batch knows, in the shape in which its describe calls return it.

One account and region, as the local AWS has. Errors are Batch's own ``ClientException``.
"""

from __future__ import annotations

from typing import Any

from local_aws import names

Record = dict[str, Any]
FINISHED = ("SUCCEEDED", "FAILED")


class ClientException(Exception):
    """Batch refuses a request; the message goes to the caller."""


class Store:
    """Records by name (environments, queues), by ``name:revision`` (definitions) and by id (jobs)."""

    def __init__(self) -> None:
        self.environments: dict[str, Record] = {}
        self.queues: dict[str, Record] = {}
        self.definitions: dict[str, Record] = {}
        self.jobs: dict[str, Record] = {}

    def save(self) -> Record:
        """JSON data for the state folder."""
        return vars(self).copy()

    def restore(self, data: Record) -> None:
        """Take over what ``save`` gave."""
        vars(self).update(data)

    def reset(self) -> None:
        """Forget everything."""
        vars(self).update(vars(Store()))

    def environment(self, reference: str) -> Record:
        """Compute environment by name or ARN."""
        return _found(self.environments, reference, "compute environment")

    def queue(self, reference: str) -> Record:
        """Job queue by name or ARN."""
        return _found(self.queues, reference, "job queue")

    def job(self, job_id: str) -> Record:
        """Job by id."""
        return _found(self.jobs, job_id, "job")

    def definition(self, reference: str) -> Record:
        """Job definition by ARN, ``name:revision``, or name for its latest active revision."""
        wanted = reference.rpartition("/")[2]
        if ":" in wanted:
            return _found(self.definitions, wanted, "job definition")
        active = [d for d in self.definitions.values() if _active(d, wanted)]
        if not active:
            raise ClientException(f"JobDefinition {reference} does not exist or is not active")
        return max(active, key=lambda definition: int(definition["revision"]))

    def next_revision(self, name: str) -> int:
        """Revision of the next definition of that name, inactive ones counted."""
        used = [d["revision"] for d in self.definitions.values() if d["jobDefinitionName"] == name]
        return max(used, default=0) + 1


def arn(kind: str, name: str) -> str:
    """ARN of a Batch resource, such as ``kind`` job-queue."""
    return f"arn:aws:batch:{names.REGION}:{names.ACCOUNT}:{kind}/{name}"


def _active(definition: Record, name: str) -> bool:
    return bool(definition["jobDefinitionName"] == name and definition["status"] == "ACTIVE")


def _found(records: dict[str, Record], reference: str, what: str) -> Record:
    name = reference.rpartition("/")[2]
    if name not in records:
        raise ClientException(f"Object does not exist: {what} {reference}")
    return records[name]


STORE = Store()
"""The store of this server process; the service and the CloudFormation types share it."""
