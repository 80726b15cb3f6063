"""What an endpoint leaves in S3: captured requests, and the answers of an async endpoint; real ones."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.local_aws.emulator import BUCKET, ROLE, Emulator, refusal, running, until

DESTINATION = f"s3://{BUCKET}/captured"
CAPTURE = {
    "EnableCapture": True,
    "InitialSamplingPercentage": 100,
    "DestinationS3Uri": DESTINATION,
    "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
    "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
}


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with running(tmp_path_factory.mktemp("aws")) as emulator:
        yield emulator


class Endpoint:
    """An endpoint of the fake server. ``configure`` makes another configuration for it."""

    def __init__(self, emulator: Emulator, name: str, **extras: Any) -> None:
        self.emulator, self.name, self.number = emulator, name, 0
        self.control, self.runtime = emulator.client("sagemaker"), emulator.client("sagemaker-runtime")
        self.control.create_model(
            ModelName=name,
            ExecutionRoleArn=ROLE,
            PrimaryContainer={
                "Image": "serving",
                "ModelDataUrl": emulator.publish("aaaa") + "/model.tar.gz",
                "Environment": {"TRACESHIP_DIGEST": "aaaa"},
            },
        )
        config = self.configure(**extras)
        self.control.create_endpoint(EndpointName=name, EndpointConfigName=config)
        self.settled()

    def configure(self, instance_type: str = "ml.c5.large", variant: str = "stable", **extras: Any) -> str:
        self.number += 1
        config = f"{self.name}-{self.number}"
        row = {
            "VariantName": variant, "ModelName": self.name, "InstanceType": instance_type,
            "InitialInstanceCount": 1,
        }  # fmt: skip
        self.control.create_endpoint_config(EndpointConfigName=config, ProductionVariants=[row], **extras)
        return config

    def update(self, config: str, **how: Any) -> dict[str, Any]:
        self.control.update_endpoint(EndpointName=self.name, EndpointConfigName=config, **how)
        return self.settled()

    def settled(self) -> dict[str, Any]:
        def ended() -> Any:
            found = self.control.describe_endpoint(EndpointName=self.name)
            return found if found["EndpointStatus"] == "InService" else None

        found: dict[str, Any] = until(ended, f"{self.name} is in service")
        return found

    def invoke(self, body: bytes, kind: str = "application/json") -> None:
        self.runtime.invoke_endpoint(EndpointName=self.name, Body=body, ContentType=kind)

    def captured(self, count: int) -> list[dict[str, Any]]:
        s3, prefix = self.emulator.client("s3"), f"captured/{self.name}/stable/"

        def there() -> Any:
            keys = [
                row["Key"] for row in s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
            ]
            return keys if len(keys) >= count else None

        keys = until(there, f"{count} captured requests")
        assert len(keys) == count
        texts = [s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys]
        return [json.loads(line) for text in texts for line in text.splitlines()]

    def delete(self) -> None:
        self.control.delete_endpoint(EndpointName=self.name)
        until(lambda: not self.control.list_endpoints(NameContains=self.name)["Endpoints"], "it is gone")


def test_a_captured_request_lies_below_endpoint_variant_and_hour(emulator: Emulator) -> None:
    """Both sides in one line, JSON as JSON and the rest in base64; the endpoint says that it captures."""
    endpoint = Endpoint(emulator, "captures", DataCaptureConfig=CAPTURE)

    endpoint.invoke(b'{"a": 1}')
    (line,) = endpoint.captured(1)
    endpoint.invoke(b'{"b": 2}', "text/strange")
    lines = endpoint.captured(2)

    sent, answered = line["captureData"]["endpointInput"], line["captureData"]["endpointOutput"]
    assert (sent["data"], sent["encoding"], sent["mode"]) == ('{"a": 1}', "JSON", "INPUT")
    assert json.loads(answered["data"])["digest"] == "aaaa"
    (other,) = [row for row in lines if row != line]
    assert other["captureData"]["endpointInput"]["encoding"] == "BASE64"
    assert base64.b64decode(other["captureData"]["endpointInput"]["data"]) == b'{"b": 2}'
    shown = endpoint.control.describe_endpoint(EndpointName="captures")["DataCaptureConfig"]
    assert (shown["CaptureStatus"], shown["CurrentSamplingPercentage"]) == ("Started", 100)
    endpoint.delete()


def test_an_update_that_retains_everything_retains_capture(emulator: Emulator) -> None:
    """Also when the new configuration has none; only the exclusion ends it. So ours excludes it."""
    endpoint = Endpoint(emulator, "retains", DataCaptureConfig=CAPTURE)
    excluded = {"ExcludeRetainedVariantProperties": [{"VariantPropertyType": "DataCaptureConfig"}]}

    kept = endpoint.update(endpoint.configure(), RetainAllVariantProperties=True)
    endpoint.invoke(b'"while it is kept"')
    ended = endpoint.update(endpoint.configure(), RetainAllVariantProperties=True, **excluded)
    endpoint.invoke(b'"after it ended"')
    again = endpoint.configure(DataCaptureConfig=CAPTURE)
    endpoint.update(again, RetainAllVariantProperties=True, **excluded)
    endpoint.invoke(b'"after it began again"')

    assert kept["DataCaptureConfig"]["CaptureStatus"] == "Started"
    assert "DataCaptureConfig" not in ended
    said = {line["captureData"]["endpointInput"]["data"] for line in endpoint.captured(2)}
    assert said == {'"while it is kept"', '"after it began again"'}
    endpoint.delete()


@pytest.fixture(scope="module")
def later(emulator: Emulator) -> Iterator[Endpoint]:
    """An async endpoint with two topics, each heard by a queue."""
    sns, sqs = emulator.client("sns"), emulator.client("sqs")
    topics = {}
    for name in ("answers", "failures"):
        topics[name] = sns.create_topic(Name=name)["TopicArn"]
        queue = sqs.create_queue(QueueName=name)["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=topics[name], Protocol="sqs", Endpoint=arn)
    output = {
        "S3OutputPath": f"s3://{BUCKET}/async/later/output",
        "S3FailurePath": f"s3://{BUCKET}/async/later/failed",
        "NotificationConfig": {"SuccessTopic": topics["answers"], "ErrorTopic": topics["failures"]},
    }
    endpoint = Endpoint(emulator, "later", AsyncInferenceConfig={"OutputConfig": output})
    yield endpoint
    endpoint.delete()


def _ask(endpoint: Endpoint, body: bytes | None) -> dict[str, Any]:
    key = f"async/later/input/{endpoint.number}-{len(body or b'')}"
    if body is not None:
        endpoint.emulator.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body)
    answer: dict[str, Any] = endpoint.runtime.invoke_endpoint_async(
        EndpointName="later", InputLocation=f"s3://{BUCKET}/{key}", ContentType="application/json"
    )
    return answer


def _object(emulator: Emulator, url: str) -> bytes:
    s3, key = emulator.client("s3"), url.removeprefix(f"s3://{BUCKET}/")

    def there() -> Any:
        return s3.list_objects_v2(Bucket=BUCKET, Prefix=key).get("Contents")

    until(there, f"{url} is written")
    content: bytes = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return content


def _message(emulator: Emulator, queue: str) -> dict[str, Any]:
    sqs = emulator.client("sqs")
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    found = until(lambda: sqs.receive_message(QueueUrl=url).get("Messages"), f"{queue} hears something")
    sqs.delete_message(QueueUrl=url, ReceiptHandle=found[0]["ReceiptHandle"])
    message: dict[str, Any] = json.loads(json.loads(found[0]["Body"])["Message"])
    return message


def test_an_async_request_is_answered_in_s3_and_told(emulator: Emulator, later: Endpoint) -> None:
    """The caller gets the place at once; the answer is the server's own."""
    asked = _ask(later, b'{"inputs": "a"}')

    answer = json.loads(_object(emulator, asked["OutputLocation"]))
    message = _message(emulator, "answers")

    assert asked["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert "/async/later/output/" in asked["OutputLocation"]
    assert (answer["digest"], answer["content_type"]) == ("aaaa", "application/json")
    assert (message["invocationStatus"], message["inferenceId"]) == ("Completed", asked["InferenceId"])
    assert message["responseParameters"]["outputLocation"] == asked["OutputLocation"]


@pytest.mark.parametrize(
    ("body", "why"),
    [(b'{"status": 400, "say": "inputs is missing"}', "inputs is missing"), (None, "NoSuchKey")],
)
def test_an_async_request_that_fails_leaves_its_reason(
    emulator: Emulator, later: Endpoint, body: bytes | None, why: str
) -> None:
    """What the server refused, and what was never there."""
    asked = _ask(later, body)

    assert why in _object(emulator, asked["FailureLocation"]).decode()
    message = _message(emulator, "failures")
    assert (message["invocationStatus"], message["inferenceId"]) == ("Failed", asked["InferenceId"])
    assert why in message["failureReason"]


def test_an_endpoint_takes_one_kind_of_invocation(emulator: Emulator, later: Endpoint) -> None:
    """Source: SageMaker guide, "Asynchronous inference"."""
    code, message = refusal(later.runtime.invoke_endpoint, EndpointName="later", Body=b"{}")
    assert (code, "asynchronous invocations only" in message) == ("ValidationError", True)

    at_once = Endpoint(emulator, "at-once")
    code, message = refusal(
        at_once.runtime.invoke_endpoint_async, EndpointName="at-once", InputLocation=f"s3://{BUCKET}/x"
    )
    assert (code, "takes no asynchronous" in message) == ("ValidationError", True)
    at_once.delete()


def test_an_async_configuration_says_where_answers_go(emulator: Emulator, later: Endpoint) -> None:
    """And is described as it was given."""
    row = {"VariantName": "v", "ModelName": "later", "InstanceType": "ml.c5.large", "InitialInstanceCount": 1}

    code, message = refusal(
        emulator.client("sagemaker").create_endpoint_config,
        EndpointConfigName="nowhere",
        ProductionVariants=[row],
        AsyncInferenceConfig={"OutputConfig": {}},
    )

    assert (code, "S3OutputPath" in message) == ("ValidationException", True)
    found = later.control.describe_endpoint_config(EndpointConfigName="later-1")["AsyncInferenceConfig"]
    assert found["OutputConfig"]["S3OutputPath"].endswith("/async/later/output")


@pytest.mark.parametrize("change", [{"instance_type": "ml.c5.xlarge"}, {"variant": "another"}])
def test_a_variant_that_is_scaled_keeps_its_type_and_stays(
    emulator: Emulator, change: dict[str, str]
) -> None:
    """In AWS's words, before anything is started; without the registration it goes through."""
    name = f"scaled-{next(iter(change)).replace('_', '-')}"
    endpoint, scaling = Endpoint(emulator, name), emulator.client("application-autoscaling")
    target = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{name}/variant/stable",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    scaling.register_scalable_target(**target, MinCapacity=1, MaxCapacity=2)
    config = endpoint.configure(**change)

    code, message = refusal(endpoint.control.update_endpoint, EndpointName=name, EndpointConfigName=config)
    same = endpoint.update(endpoint.configure())
    scaling.deregister_scalable_target(**target)
    changed = endpoint.update(config)

    assert code == "ValidationException"
    assert "must be deregistered as scalable target" in message
    assert same["EndpointConfigName"] == f"{name}-3"
    assert changed["EndpointConfigName"] == config
    endpoint.delete()
