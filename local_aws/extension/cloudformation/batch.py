"""AWS::Batch::ComputeEnvironment, JobQueue and JobDefinition, through Batch's own operations."""

from __future__ import annotations

from collections.abc import Callable

from ministack.services import ec2

from local_aws.extension.batch.catalogue import Catalogue
from local_aws.extension.batch.store import STORE, ClientException, Record
from local_aws.extension.case import camel
from local_aws.extension.registry import Properties, Provisioned, Registry, ResourceFailed

ENVIRONMENT = "AWS::Batch::ComputeEnvironment"
QUEUE = "AWS::Batch::JobQueue"
DEFINITION = "AWS::Batch::JobDefinition"
LONGEST_NAME = 128
_CLOUDFORMATION_ONLY = ("replaceComputeEnvironment",)
"""Properties that steer CloudFormation and are no part of Batch's requests."""


def register(registry: Registry) -> None:
    """Add the three types."""
    for type_name, kind, name in (
        (ENVIRONMENT, Environments(registry), "ComputeEnvironmentName"),
        (QUEUE, Queues(registry), "JobQueueName"),
        (DEFINITION, Definitions(registry), "JobDefinitionName"),
    ):
        registry.add_resource_type(
            type_name,
            create=kind.create,
            update=kind.update,
            delete=kind.delete,
            replaced_by=(name, "Type") if type_name == ENVIRONMENT else (name,),
            tags="map",
        )


class _Kind:
    """What the three types share: the catalogue, and a name where the template gives none."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._catalogue = Catalogue(STORE)

    def _named(self, request: Record, key: str, stack: str, logical_id: str) -> Record:
        generated = self._registry.generated_name(stack, logical_id, longest=LONGEST_NAME)
        return {key: generated, **request}


class Environments(_Kind):
    """AWS::Batch::ComputeEnvironment; its physical id is the ARN."""

    def create(self, logical_id: str, properties: Properties, stack: str) -> Provisioned:
        """Refuses subnets and security groups that do not exist, as Batch does."""
        _refuse_dangling(properties)
        request = self._named(camel(properties), "computeEnvironmentName", stack, logical_id)
        return _environment(_made(self._catalogue.create_environment, request))

    def update(self, physical_id: str, _old: Properties, new: Properties, _s: str, _l: str) -> Provisioned:
        """In place."""
        _refuse_dangling(new)
        request = {k: v for k, v in camel(new).items() if k not in ("computeEnvironmentName", "type")}
        return _environment(
            _made(self._catalogue.update_environment, {**request, "computeEnvironment": physical_id})
        )

    def delete(self, physical_id: str, _properties: Properties) -> None:
        """Disabled first, as CloudFormation does."""
        if physical_id.rpartition("/")[2] in STORE.environments:
            request = {"computeEnvironment": physical_id}
            _made(self._catalogue.update_environment, {**request, "state": "DISABLED"})
            _made(self._catalogue.delete_environment, request)


class Queues(_Kind):
    """AWS::Batch::JobQueue; its physical id is the ARN."""

    def create(self, logical_id: str, properties: Properties, stack: str) -> Provisioned:
        """On existing compute environments."""
        request = self._named(camel(properties), "jobQueueName", stack, logical_id)
        return _queue(_made(self._catalogue.create_queue, request))

    def update(self, physical_id: str, _old: Properties, new: Properties, _s: str, _l: str) -> Provisioned:
        """In place."""
        request = {k: v for k, v in camel(new).items() if k != "jobQueueName"}
        return _queue(_made(self._catalogue.update_queue, {**request, "jobQueue": physical_id}))

    def delete(self, physical_id: str, _properties: Properties) -> None:
        """Disabled first, as CloudFormation does."""
        if physical_id.rpartition("/")[2] in STORE.queues:
            _made(self._catalogue.update_queue, {"jobQueue": physical_id, "state": "DISABLED"})
            _made(self._catalogue.delete_queue, {"jobQueue": physical_id})


class Definitions(_Kind):
    """AWS::Batch::JobDefinition; its physical id is the ARN with the revision."""

    def create(self, logical_id: str, properties: Properties, stack: str) -> Provisioned:
        """A first revision."""
        request = self._named(camel(properties), "jobDefinitionName", stack, logical_id)
        answer = _made(self._catalogue.register_definition, request)
        return answer["jobDefinitionArn"], {"JobDefinitionArn": answer["jobDefinitionArn"]}

    def update(
        self, physical_id: str, _old: Properties, new: Properties, stack: str, logical_id: str
    ) -> Provisioned:
        """A new revision; the old one is deregistered in the stack's clean-up, by ``delete``."""
        name = physical_id.rpartition("/")[2].partition(":")[0]
        return self.create(logical_id, {**new, "JobDefinitionName": name}, stack)

    def delete(self, physical_id: str, _properties: Properties) -> None:
        """Deregistered: it stays listed as INACTIVE, as on AWS."""
        if physical_id.rpartition("/")[2] in STORE.definitions:
            _made(self._catalogue.deregister_definition, {"jobDefinition": physical_id})


def _environment(answer: Record) -> Provisioned:
    reference = answer["computeEnvironmentArn"]
    return reference, {"ComputeEnvironmentArn": reference}


def _queue(answer: Record) -> Provisioned:
    reference = answer["jobQueueArn"]
    return reference, {"JobQueueArn": reference}


def _made(operation: Callable[[Record], Record], request: Record) -> Record:
    try:
        return operation({k: v for k, v in request.items() if k not in _CLOUDFORMATION_ONLY})
    except ClientException as refused:
        raise ResourceFailed(str(refused)) from None


def _refuse_dangling(properties: Properties) -> None:
    resources = properties.get("ComputeResources", {})
    for key, known in (("Subnets", ec2._subnets), ("SecurityGroupIds", ec2._security_groups)):
        for needed in resources.get(key, []):
            if needed not in known:
                raise ResourceFailed(f"{key}: {needed} does not exist")
