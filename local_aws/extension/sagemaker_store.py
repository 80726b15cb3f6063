"""Models, endpoint configurations, endpoints and tags: what SageMaker knows, and what it refuses."""

from __future__ import annotations

import re
from typing import Any

from ministack.core.responses import AccountRegionScopedDict, get_account_id, get_region

from local_aws.extension.json_protocol import AwsError, Request, now, required

Record = dict[str, Any]
_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_INSTANCE_TYPE = re.compile(r"ml\.[a-z0-9-]+\.[a-z0-9]+")
_KINDS = {"model": "model", "endpoint-config": "endpoint configuration", "endpoint": "endpoint"}
MAX_VARIABLES = 100
MAX_VARIABLE_CHARACTERS = 1024
"""Source of both: SageMaker API reference, ContainerDefinition.Environment."""
TIMEOUT_SECONDS = range(60, 3601)
"""Source: API reference, ProductionVariant.ContainerStartupHealthCheckTimeoutInSeconds."""
_VARIANT_TIMEOUTS = (
    "ModelDataDownloadTimeoutInSeconds",
    "ContainerStartupHealthCheckTimeoutInSeconds",
)


class SageMakerStore:
    """Every record by kind and name, per account and region."""

    def __init__(self) -> None:
        self._records: dict[str, AccountRegionScopedDict] = {
            kind: AccountRegionScopedDict() for kind in _KINDS
        }
        self._tags = AccountRegionScopedDict()

    def save(self) -> dict[str, Any]:
        """JSON data for ``Registry.add_state``."""
        return {**self._records, "tags": self._tags}

    def restore(self, data: dict[str, Any]) -> None:
        """The reverse of ``save``."""
        for kind, records in self._records.items():
            records.update(data[kind])
        self._tags.update(data["tags"])

    def clear(self) -> None:
        """Forget everything."""
        for records in (*self._records.values(), self._tags):
            records.clear()

    def get(self, kind: str, name: str) -> Record:
        """A record.

        Raises:
            AwsError: ValidationException, as the service says it.
        """
        record: Record | None = self._records[kind].get(name)
        if record is None:
            raise AwsError("ValidationException", f'Could not find {_KINDS[kind]} "{arn(kind, name)}".')
        return record

    def find(self, kind: str, name: str) -> Record | None:
        """A record, or None."""
        record: Record | None = self._records[kind].get(name)
        return record

    def add(self, kind: str, name: str, record: Record, tags: list[dict[str, str]]) -> str:
        """Store a new record and return its ARN.

        Raises:
            AwsError: ValidationException: a bad name, or one that is taken.
        """
        if not _NAME.fullmatch(name):
            raise _invalid(f"Value '{name}' at '{kind}Name' failed to satisfy constraint: Member must "
                           f"satisfy regular expression pattern: {_NAME.pattern}")  # fmt: skip
        identity = arn(kind, name)
        if name in self._records[kind]:
            raise AwsError(
                "ValidationException", f'Cannot create already existing {_KINDS[kind]} "{identity}".'
            )
        self._records[kind][name] = record
        self._tags[identity] = list(tags)
        return identity

    def remove(self, kind: str, name: str) -> None:
        """Forget a record; one that is not there is no error."""
        self._records[kind].pop(name, None)
        self._tags.pop(arn(kind, name), None)

    def all(self, kind: str) -> list[Record]:
        """Every record of a kind in this account and region."""
        return list(self._records[kind].values())

    def scopes(self) -> list[tuple[str, str]]:
        """Account and region pairs that have an endpoint."""
        return sorted({(account, region) for account, region, _ in self._records["endpoint"].to_dict()})

    def tags(self, identity: str) -> list[dict[str, str]]:
        """The tags of an ARN.

        Raises:
            AwsError: ValidationException: no such resource.
        """
        found: list[dict[str, str]] | None = self._tags.get(identity)
        if found is None:
            raise AwsError("ValidationException", f"Could not find resource {identity}")
        return found

    def set_tags(
        self, identity: str, added: list[dict[str, str]], removed: list[str]
    ) -> list[dict[str, str]]:
        """Add, change and remove tags by key; returns what the resource carries then."""
        dropped = {*removed, *(tag["Key"] for tag in added)}
        tags = [tag for tag in self.tags(identity) if tag["Key"] not in dropped] + added
        self._tags[identity] = tags
        return tags


def arn(kind: str, name: str) -> str:
    """The ARN in the caller's account and region; SageMaker lower-cases names in it."""
    return f"arn:aws:sagemaker:{get_region()}:{get_account_id()}:{kind}/{name.lower()}"


def new_model(request: Request) -> Record:
    """A model's record.

    Raises:
        AwsError: ValidationException: no container, several, or an impossible environment.
    """
    (role,) = required(request, "ExecutionRoleArn")
    container = _only_container(request)
    environment = container.get("Environment", {})
    if len(environment) > MAX_VARIABLES:
        raise _invalid(
            f"the container has {len(environment)} environment variables, at most {MAX_VARIABLES} fit"
        )
    for name, value in environment.items():
        if max(len(name), len(str(value))) > MAX_VARIABLE_CHARACTERS:
            raise _invalid(
                f"environment variable {name[:64]} is longer than {MAX_VARIABLE_CHARACTERS} characters"
            )
    return {
        "ModelName": request["ModelName"],
        "PrimaryContainer": container,
        "ExecutionRoleArn": role,
        "CreationTime": now(),
        "EnableNetworkIsolation": truth(request.get("EnableNetworkIsolation", False)),
        **({"VpcConfig": request["VpcConfig"]} if request.get("VpcConfig") else {}),
    }


def model_data(container: Record) -> str:
    """``s3://`` URL of the archive, wherever the container names it."""
    source = container.get("ModelDataSource", {}).get("S3DataSource", {})
    return str(container.get("ModelDataUrl") or source.get("S3Uri", ""))


def new_config(store: SageMakerStore, request: Request) -> Record:
    """An endpoint configuration's record.

    Raises:
        AwsError: ValidationException: an unknown model, no variant, or values out of range.
    """
    (variants,) = required(request, "ProductionVariants")
    names = [variant.get("VariantName") for variant in variants]
    if len(set(names)) != len(names):
        raise _invalid(f"duplicate variant names in {names}")
    later = request.get("AsyncInferenceConfig")
    if later and not str(later.get("OutputConfig", {}).get("S3OutputPath", "")).startswith("s3://"):
        raise _invalid("AsyncInferenceConfig needs an OutputConfig with an s3:// URL as S3OutputPath")
    return {
        "EndpointConfigName": request["EndpointConfigName"],
        "ProductionVariants": [_variant(store, variant) for variant in variants],
        "CreationTime": now(),
        **{
            name: request[name]
            for name in ("DataCaptureConfig", "AsyncInferenceConfig", "KmsKeyId", "ExecutionRoleArn")
            if request.get(name)
        },
    }


def _variant(store: SageMakerStore, variant: Record) -> Record:
    if variant.get("ServerlessConfig"):
        raise _invalid("the local AWS runs instance-based variants only; ServerlessConfig is not there")
    _, model, instance_type = required(variant, "VariantName", "ModelName", "InstanceType")
    store.get("model", model)
    if not _INSTANCE_TYPE.fullmatch(instance_type):
        raise _invalid(f"Value '{instance_type}' at 'instanceType' is not an ml. instance type")
    count = int(variant.get("InitialInstanceCount", 1))
    weight = float(variant.get("InitialVariantWeight", 1.0))
    if count < 1 or weight < 0:
        raise _invalid(
            f"variant {variant['VariantName']}: the count must be at least 1 and the weight at least 0"
        )
    timeouts = {name: int(variant[name]) for name in _VARIANT_TIMEOUTS if variant.get(name)}
    for name, seconds in timeouts.items():
        if seconds not in TIMEOUT_SECONDS:
            raise _invalid(f"{name} is {seconds}, it must be between 60 and 3600")
    return {**variant, "InitialInstanceCount": count, "InitialVariantWeight": weight, **timeouts}


def _only_container(request: Request) -> Record:
    containers = (
        [request["PrimaryContainer"]] if request.get("PrimaryContainer") else request.get("Containers", [])
    )
    if len(containers) != 1:
        raise _invalid(
            f"the local AWS runs models with exactly one container, this one has {len(containers)}"
        )
    container: Record = containers[0]
    required(container, "Image")
    url = model_data(container)
    if not url.startswith("s3://"):
        raise _invalid(f"ModelDataUrl must be an s3:// URL, not {url!r}")
    if container.get("ModelDataSource", {}).get("S3DataSource", {}).get("CompressionType", "Gzip") != "Gzip":
        raise _invalid("the local AWS unpacks Gzip archives only; uncompressed model data is not there")
    return container


def truth(value: object) -> bool:
    """A boolean that a template may carry as a word."""
    return str(value).lower() == "true"


def _invalid(why: str) -> AwsError:
    return AwsError("ValidationException", f"1 validation error detected: {why}")
