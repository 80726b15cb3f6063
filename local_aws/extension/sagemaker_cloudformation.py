"""AWS::SageMaker::Model, EndpointConfig and Endpoint, over the same actions that boto3 calls.

An endpoint is created when its servers answer and updated when the new configuration is in
force; otherwise the stack fails with the server's own reason. Ref gives the ARN, as on AWS.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from local_aws.extension.json_protocol import Action, Request
from local_aws.extension.registry import Properties, Provisioned, Registry, ResourceFailed
from local_aws.extension.sagemaker_endpoints import Endpoints
from local_aws.extension.sagemaker_store import SageMakerStore

if TYPE_CHECKING:
    from local_aws.extension.sagemaker import ControlPlane

_MODEL_REPLACED_BY = (
    "ModelName", "PrimaryContainer", "Containers", "ExecutionRoleArn", "VpcConfig", "EnableNetworkIsolation",
    "InferenceExecutionConfig",
)  # fmt: skip
_CONFIG_REPLACED_BY = (
    "EndpointConfigName", "ProductionVariants", "DataCaptureConfig", "KmsKeyId", "ExecutionRoleArn",
    "VpcConfig", "AsyncInferenceConfig", "ExplainerConfig", "ShadowProductionVariants",
    "EnableNetworkIsolation",
)  # fmt: skip
_NAME_CHARACTERS = 63


def add_types(registry: Registry, plane: ControlPlane, endpoints: Endpoints, store: SageMakerStore) -> None:
    """Register the three types."""
    for noun, kind, replaced_by in (
        ("Model", "model", _MODEL_REPLACED_BY),
        ("EndpointConfig", "endpoint-config", _CONFIG_REPLACED_BY),
    ):
        _add_record_type(
            registry,
            store,
            create_action=plane.actions[f"Create{noun}"],
            noun=noun,
            kind=kind,
            replaced_by=replaced_by,
        )
    _add_endpoint_type(registry, plane, endpoints, store)


def _add_record_type(
    registry: Registry,
    store: SageMakerStore,
    *,
    create_action: Action,
    noun: str,
    kind: str,
    replaced_by: tuple[str, ...],
) -> None:
    def create(logical_id: str, properties: Properties, _stack: str) -> Provisioned:
        name = properties.get(f"{noun}Name") or _generated_name(logical_id)
        answer = create_action({**properties, f"{noun}Name": name})
        return answer[f"{noun}Arn"], {f"{noun}Name": name}

    def update(
        physical_id: str, old: Properties, new: Properties, _stack: str, _logical_id: str
    ) -> Provisioned:
        _retag(store, physical_id, old, new)
        return physical_id, {f"{noun}Name": _name_of(store, kind, noun, physical_id)}

    def delete(physical_id: str, _properties: Properties) -> None:
        store.remove(kind, _name_of(store, kind, noun, physical_id))

    registry.add_resource_type(
        f"AWS::SageMaker::{noun}",
        create=create,
        update=update,
        delete=delete,
        replaced_by=replaced_by,
        tags="list",
    )


def _add_endpoint_type(
    registry: Registry, plane: ControlPlane, endpoints: Endpoints, store: SageMakerStore
) -> None:
    def create(logical_id: str, properties: Properties, _stack: str) -> Provisioned:
        name = properties.get("EndpointName") or _generated_name(logical_id)
        answer = plane.create_endpoint(_request(name, properties))
        record = endpoints.settle(name)
        if record is None or record["EndpointStatus"] != "InService":
            reason = (record or {}).get("FailureReason", "it was deleted meanwhile")
            _remove(endpoints, store, name)
            raise ResourceFailed(f"endpoint {name} failed: {reason}")
        return answer["EndpointArn"], {"EndpointName": name}

    def update(
        physical_id: str, old: Properties, new: Properties, _stack: str, _logical_id: str
    ) -> Provisioned:
        name = _name_of(store, "endpoint", "Endpoint", physical_id)
        if old.get("EndpointConfigName") != new.get("EndpointConfigName"):
            plane.update_endpoint(_request(name, new))
            record = endpoints.settle(name) or {}
            if record.get("EndpointConfigName") != _request(name, new)["EndpointConfigName"]:
                raise ResourceFailed(
                    f"endpoint {name} kept its old configuration: {record.get('FailureReason')}"
                )
        _retag(store, physical_id, old, new)  # last: nobody sends back what failed halfway
        return physical_id, {"EndpointName": name}

    def delete(physical_id: str, _properties: Properties) -> None:
        _remove(endpoints, store, _name_of(store, "endpoint", "Endpoint", physical_id))

    registry.add_resource_type(
        "AWS::SageMaker::Endpoint",
        create=create,
        update=update,
        delete=delete,
        replaced_by=("EndpointName",),
        blocking=True,
        tags="list",
    )


def _request(name: str, properties: Properties) -> Request:
    """The API's request. A template may name the configuration by its Ref, which is an ARN."""
    config = str(properties["EndpointConfigName"]).rpartition("/")[2]
    return {**properties, "EndpointName": name, "EndpointConfigName": config}


def _remove(endpoints: Endpoints, store: SageMakerStore, name: str) -> None:
    endpoints.settle(name)
    if store.find("endpoint", name) is not None:
        endpoints.delete(name)
        endpoints.settle(name)


def _retag(store: SageMakerStore, identity: str, old: Properties, new: Properties) -> None:
    kept = {tag["Key"] for tag in new.get("Tags", [])}
    store.set_tags(
        identity, new.get("Tags", []), [tag["Key"] for tag in old.get("Tags", []) if tag["Key"] not in kept]
    )


def _name_of(store: SageMakerStore, kind: str, noun: str, identity: str) -> str:
    """The record's name: an ARN holds it in lower case only."""
    suffix = identity.rpartition("/")[2]
    names = [record[f"{noun}Name"] for record in store.all(kind)]
    return next((name for name in names if name.lower() == suffix), suffix)


def _generated_name(logical_id: str) -> str:
    """LogicalId-random, as CloudFormation names these types."""
    return f"{logical_id[: _NAME_CHARACTERS - 13]}-{uuid.uuid4().hex[:12]}"
