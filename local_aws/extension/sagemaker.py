"""SageMaker hosting: the control plane, and what ties it to the runtime and to CloudFormation.

    sagemaker_store.py            records, tags, and what is refused
    sagemaker_endpoints.py        the states of an endpoint and the servers behind them
    sagemaker_archive.py          model.tar.gz from our S3 into a replica's folder
    sagemaker_runtime.py          InvokeEndpoint, InvokeEndpointAsync
    sagemaker_s3.py               captured requests; requests and answers of async endpoints
    sagemaker_cloudformation.py   the three resource types

A container image is recorded and never pulled: the server is ``python -m inference_code serve``
of this checkout, with the model's environment and the unpacked archive. Execution roles, VPC
settings and KMS keys are stored and not acted on.
"""

from __future__ import annotations

from typing import Any

from local_aws.extension import replicas, scaling
from local_aws.extension.json_protocol import Request, answer, required
from local_aws.extension.registry import Registry, Response
from local_aws.extension.sagemaker_archive import fetch_and_unpack
from local_aws.extension.sagemaker_cloudformation import add_types
from local_aws.extension.sagemaker_endpoints import RETAINABLE, Endpoints
from local_aws.extension.sagemaker_runtime import Runtime
from local_aws.extension.sagemaker_s3 import Writer
from local_aws.extension.sagemaker_store import Record, SageMakerStore, arn, new_config, new_model, truth

PATTERNS = {
    "target_prefixes": ["SageMaker."],
    "host_patterns": [r"^api\.sagemaker\.", r"^runtime\.sagemaker\."],
}


class ControlPlane:
    """The actions of the SageMaker API that hosting needs."""

    def __init__(self, store: SageMakerStore, endpoints: Endpoints) -> None:
        self._store = store
        self._endpoints = endpoints
        self.actions = {
            "CreateModel": self.create_model,
            "CreateEndpointConfig": self.create_config,
            "CreateEndpoint": self.create_endpoint,
            "UpdateEndpoint": self.update_endpoint,
            "UpdateEndpointWeightsAndCapacities": self.scale_endpoint,
            "DeleteEndpoint": self.delete_endpoint,
            "AddTags": self.add_tags,
            "DeleteTags": self.delete_tags,
            "ListTags": self.list_tags,
            **self._reading("model", "Model", "Models"),
            **self._reading("endpoint-config", "EndpointConfig", "EndpointConfigs"),
            **self._reading("endpoint", "Endpoint", "Endpoints"),
        }
        self.actions["DeleteModel"] = self._deleting("model", "ModelName")
        self.actions["DeleteEndpointConfig"] = self._deleting("endpoint-config", "EndpointConfigName")

    def create_model(self, request: Request) -> dict[str, Any]:
        """CreateModel."""
        (name,) = required(request, "ModelName")
        identity = self._store.add("model", name, new_model(request), request.get("Tags", []))
        return {"ModelArn": identity}

    def create_config(self, request: Request) -> dict[str, Any]:
        """CreateEndpointConfig: its models must exist."""
        (name,) = required(request, "EndpointConfigName")
        record = new_config(self._store, request)
        return {
            "EndpointConfigArn": self._store.add("endpoint-config", name, record, request.get("Tags", []))
        }

    def create_endpoint(self, request: Request) -> dict[str, Any]:
        """CreateEndpoint: returns while it is Creating."""
        name, config = required(request, "EndpointName", "EndpointConfigName")
        answer = {"EndpointArn": self._endpoints.create(name, config, request.get("Tags", []))}
        self._keep_deployment(name, request)
        return answer

    def update_endpoint(self, request: Request) -> dict[str, Any]:
        """UpdateEndpoint: DeploymentConfig is accepted and does nothing (see sagemaker_endpoints)."""
        name, config = required(request, "EndpointName", "EndpointConfigName")
        excluded = {one["VariantPropertyType"] for one in request.get("ExcludeRetainedVariantProperties", [])}
        retained = RETAINABLE - excluded if truth(request.get("RetainAllVariantProperties")) else frozenset()
        answer = {"EndpointArn": self._endpoints.update(name, config, retained)}
        self._keep_deployment(name, request)
        return answer

    def scale_endpoint(self, request: Request) -> dict[str, Any]:
        """UpdateEndpointWeightsAndCapacities."""
        name, wanted = required(request, "EndpointName", "DesiredWeightsAndCapacities")
        return {
            "EndpointArn": self._endpoints.scale(name, {change["VariantName"]: change for change in wanted})
        }

    def _keep_deployment(self, name: str, request: Request) -> None:
        """DescribeEndpoint tells how the last deployment was to go."""
        record = self._store.get("endpoint", name)
        record.pop("LastDeploymentConfig", None)
        if request.get("DeploymentConfig"):
            record["LastDeploymentConfig"] = request["DeploymentConfig"]

    def delete_endpoint(self, request: Request) -> dict[str, Any]:
        """DeleteEndpoint: returns while it is Deleting."""
        (name,) = required(request, "EndpointName")
        self._endpoints.delete(name)
        return {}

    def add_tags(self, request: Request) -> dict[str, Any]:
        """AddTags."""
        identity, tags = required(request, "ResourceArn", "Tags")
        return {"Tags": self._store.set_tags(identity, tags, [])}

    def delete_tags(self, request: Request) -> dict[str, Any]:
        """DeleteTags."""
        identity, keys = required(request, "ResourceArn", "TagKeys")
        self._store.set_tags(identity, [], keys)
        return {}

    def list_tags(self, request: Request) -> dict[str, Any]:
        """ListTags."""
        (identity,) = required(request, "ResourceArn")
        return {"Tags": self._store.tags(identity)}

    def _reading(self, kind: str, noun: str, plural: str) -> dict[str, Any]:
        """Describe and List of one kind."""

        def describe(request: Request) -> dict[str, Any]:
            (name,) = required(request, f"{noun}Name")
            found = {**self._store.get(kind, name), f"{noun}Arn": arn(kind, name)}
            return _described_endpoint(found) if kind == "endpoint" else found

        def list_all(request: Request) -> dict[str, Any]:
            wanted, status = request.get("NameContains", ""), request.get("StatusEquals")
            records = [
                record
                for record in self._store.all(kind)
                if wanted in record[f"{noun}Name"] and status in (None, record.get("EndpointStatus"))
            ]
            return {plural: [_summary(record, kind, noun) for record in records]}

        return {f"Describe{noun}": describe, f"List{plural}": list_all}

    def _deleting(self, kind: str, member: str) -> Any:
        def delete(request: Request) -> dict[str, Any]:
            (name,) = required(request, member)
            self._store.get(kind, name)
            self._store.remove(kind, name)
            return {}

        return delete


def register(registry: Registry) -> None:
    """Add the service, its runtime, its CloudFormation types and its state."""
    store = SageMakerStore()
    processes = replicas.of(registry)
    endpoints = Endpoints(
        store,
        processes,
        lambda url, replica: fetch_and_unpack(registry.server, url, replica.model_dir),
        scaling.of(registry).scales,
    )
    writer = Writer(registry.server)
    registry.on_shutdown(writer.close)
    plane, runtime = ControlPlane(store, endpoints), Runtime(store, endpoints, writer)

    async def handle(
        _method: str, path: str, headers: dict[str, str], body: bytes, _query: dict[str, list[str]]
    ) -> Response:
        if "x-amz-target" in headers:
            return answer(plane.actions, headers, body)
        return await runtime.handle(path, headers, body)

    registry.add_service("sagemaker", handle, PATTERNS)
    registry.add_state("sagemaker", save=store.save, restore=store.restore, reset=endpoints.reset)
    registry.on_startup(endpoints.resume)
    add_types(registry, plane, endpoints, store)


def _described_endpoint(record: Record) -> Record:
    """DescribeEndpoint shows less of what is captured than the configuration does."""
    if "DataCaptureConfig" not in record:
        return record
    capture = record["DataCaptureConfig"]
    shown = ("EnableCapture", "CaptureStatus", "CurrentSamplingPercentage", "DestinationS3Uri", "KmsKeyId")
    return {**record, "DataCaptureConfig": {name: capture[name] for name in shown if name in capture}}


def _summary(record: Record, kind: str, noun: str) -> dict[str, Any]:
    name = record[f"{noun}Name"]
    members = ("CreationTime", "LastModifiedTime", "EndpointStatus")
    return {
        f"{noun}Name": name,
        f"{noun}Arn": arn(kind, name),
        **{member: record[member] for member in members if member in record},
    }
