"""InvokeEndpoint: a request goes to a live replica of a variant over HTTP, the answer comes back.

InvokeEndpointAsync: the request waits in S3, and the answer goes there (sagemaker_s3.py). An endpoint takes
one of them, never both.


Weights and TargetVariant choose the variant, replicas take turns. What the container refuses
reaches the caller as ModelError with the container's own status and words.
"""

from __future__ import annotations

import asyncio
import contextvars
import http.client
import itertools
import json
import random
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from botocore import exceptions
from ministack.core.responses import get_account_id, get_region

from artifact import serving
from local_aws.extension.json_protocol import AwsError
from local_aws.extension.registry import Response
from local_aws.extension.replicas import Replica
from local_aws.extension.sagemaker_endpoints import Endpoints
from local_aws.extension.sagemaker_s3 import Exchange, Writer
from local_aws.extension.sagemaker_store import Record, SageMakerStore

PATH = re.compile(r"/endpoints/([^/]+)/(invocations|async-invocations)")
_TARGET_VARIANT = "x-amzn-sagemaker-target-variant"
_CUSTOM_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
_INPUT = "x-amzn-sagemaker-inputlocation"
_INFERENCE_ID = "x-amzn-sagemaker-inference-id"
_CONTENT_TYPE = "content-type"
"""In lower case: under that name ministack leaves it alone, else it becomes JSON 1.1."""
_FORWARDED = (_CONTENT_TYPE, "accept", _CUSTOM_ATTRIBUTES)
_TIMED_OUT = (
    "Your invocation timed out while waiting for a response from container primary. Review the latency "
    "metrics for each container in Amazon CloudWatch, resolve the issue, and try again."
)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the container said."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Job:
    """An async request: ``s3://`` URLs of what was asked, and of what becomes of it."""

    id: str
    source: str
    answer: str
    failure: str
    headers: Mapping[str, str]


class ContainerSilent(Exception):
    """The container took the request and did not answer it."""


class ContainerGone(Exception):
    """Nobody listens at the replica's address."""


class Runtime:
    """Routes invocations to the replicas that ``Endpoints`` runs."""

    def __init__(self, store: SageMakerStore, endpoints: Endpoints, writer: Writer) -> None:
        self._store = store
        self._writer = writer
        self._endpoints = endpoints
        self._turn = itertools.count()

    async def handle(self, path: str, headers: dict[str, str], body: bytes) -> Response:
        """Answer one request to ``/endpoints/NAME/invocations``."""
        match = PATH.fullmatch(path)
        if match is None:
            return _error("UnknownOperationException", f"the local AWS does not answer {path}", 404)
        try:
            name = unquote(match[1])
            if match[2] == "async-invocations":
                return self._invoke_later(name, headers)
            return await self._invoke(name, headers, body)
        except AwsError as error:
            return _error(error.code, error.message, error.status)

    async def _invoke(self, name: str, headers: dict[str, str], body: bytes) -> Response:
        record = self._record(name)
        if self._later(record) is not None:
            raise AwsError("ValidationError", f"Endpoint {name} takes asynchronous invocations only.")
        if len(body) > serving.MAX_BODY_BYTES:
            return _too_large()
        variant = self._variant(record, headers.get(_TARGET_VARIANT))
        for replica in self._candidates(name, variant):
            try:
                answer = await asyncio.to_thread(_forward, replica, headers, body)
            except ContainerGone:
                continue
            except ContainerSilent as silence:
                return _model_error(name, 0, str(silence))
            if answer.status >= 400:
                return _model_error(name, answer.status, answer.body.decode(errors="replace"))
            self._capture(record, variant, headers, body, answer)
            return _passed(answer, variant)
        raise AwsError("ServiceUnavailable", "The service is unavailable. Try your call again.", 503)

    def _capture(
        self, record: Record, variant: str, headers: Mapping[str, str], body: bytes, answer: Answer
    ) -> None:
        config = record.get("DataCaptureConfig")
        if config is not None:
            exchange = Exchange(
                endpoint=record["EndpointName"],
                variant=variant,
                sent=(headers.get(_CONTENT_TYPE, ""), body),
                answered=(answer.headers.get(_CONTENT_TYPE, ""), answer.body),
            )
            self._writer.capture(config, exchange)

    def _later(self, record: Record) -> Record | None:
        config = self._store.get("endpoint-config", record["EndpointConfigName"])
        found: Record | None = config.get("AsyncInferenceConfig")
        return found

    def _invoke_later(self, name: str, headers: Mapping[str, str]) -> Response:
        """202 with the place where the answer will be."""
        record = self._record(name)
        later = self._later(record)
        if later is None:
            raise AwsError("ValidationError", f"Endpoint {name} takes no asynchronous invocations.")
        if not headers.get(_INPUT, "").startswith("s3://"):
            raise AwsError("ValidationError", "InputLocation must be an s3:// URL")
        output = later["OutputConfig"]
        good, bad = output["S3OutputPath"], output.get("S3FailurePath", output["S3OutputPath"])
        job = Job(
            id=headers.get(_INFERENCE_ID) or str(uuid.uuid4()),
            source=headers[_INPUT],
            answer=f"{good.rstrip('/')}/{uuid.uuid4()}.out",
            failure=f"{bad.rstrip('/')}/{uuid.uuid4()}-error.out",
            headers={
                _CONTENT_TYPE: headers.get("x-amzn-sagemaker-content-type", "application/octet-stream"),
                "accept": headers.get("x-amzn-sagemaker-accept", "*/*"),
            },
        )
        context = contextvars.copy_context()
        self._writer.submit(context.run, self._work_off, record, output, job)
        told = {
            "X-Amzn-SageMaker-OutputLocation": job.answer,
            "X-Amzn-SageMaker-FailureLocation": job.failure,
        }
        status, shown, content = _json(202, "", {"InferenceId": job.id})
        return status, {_CONTENT_TYPE: shown[_CONTENT_TYPE], **told}, content

    def _work_off(self, record: Record, output: Record, job: Job) -> None:
        topics = output.get("NotificationConfig", {})
        try:
            answer = self._answer_to(record, job)
        except (ContainerSilent, exceptions.ClientError) as error:
            answer = Answer(status=500, headers={}, body=str(error).encode())
        failed = answer.status >= 400
        place, key = job.failure if failed else job.answer, output.get("KmsKeyId")
        self._writer.write(place, answer.body, key=key)
        message = {
            "awsRegion": get_region(),
            "eventSource": "aws:sagemaker",
            "eventName": "InferenceResult",
            "invocationStatus": "Failed" if failed else "Completed",
            "inferenceId": job.id,
            "requestParameters": {
                "endpointName": record["EndpointName"],
                "inputLocation": job.source,
                "contentType": job.headers[_CONTENT_TYPE],
            },
            **({"failureReason": answer.body.decode(errors="replace")} if failed else {}),
            **({} if failed else {"responseParameters": {"outputLocation": job.answer}}),
        }
        self._writer.tell(topics.get("ErrorTopic" if failed else "SuccessTopic"), message)

    def _answer_to(self, record: Record, job: Job) -> Answer:
        """What the first live replica says to the request in S3.

        Raises:
            ClientError: the request is not there.
            ContainerSilent: nobody answered it.
        """
        content = self._writer.read(job.source)
        name = record["EndpointName"]
        for replica in self._candidates(name, self._variant(record, None)):
            try:
                return _forward(replica, job.headers, content)
            except ContainerGone:
                continue
        raise ContainerSilent("no instance is there to answer")

    def _record(self, name: str) -> Record:
        record = self._store.find("endpoint", name)
        if record is None or not record.get("ProductionVariants") or record["EndpointStatus"] == "Failed":
            raise AwsError("ValidationError", f"Endpoint {name} of account {get_account_id()} not found.")
        return record

    def _variant(self, record: Record, target: str | None) -> str:
        weights = {
            variant["VariantName"]: variant["CurrentWeight"] for variant in record["ProductionVariants"]
        }
        if target is not None:
            if target not in weights:
                raise AwsError(
                    "ValidationError", f"Variant {target} not found for endpoint {record['EndpointName']}"
                )
            return target
        names: list[str] = list(weights)
        if not any(weights.values()):
            raise AwsError("ServiceUnavailable", "every production variant has weight 0", 503)
        return random.choices(names, weights=[weights[name] for name in names])[0]  # noqa: S311 - no secret

    def _candidates(self, name: str, variant: str) -> list[Replica]:
        """The serving replicas of a variant, whose turn it is first.

        A dead one is not tried: by now its port may be somebody else's.
        """
        alive = [one for one in self._endpoints.fleet(name).get(variant, []) if one.state == "serving"]
        if not alive:
            return []
        first = next(self._turn) % len(alive)
        return alive[first:] + alive[:first]


def _forward(replica: Replica, headers: Mapping[str, str], body: bytes) -> Answer:
    """POST to the container.

    Raises:
        ContainerGone, ContainerSilent: see there.
    """
    connection = http.client.HTTPConnection("127.0.0.1", replica.port, timeout=serving.ANSWER_TIMEOUT_SECONDS)
    try:
        connection.connect()
    except OSError as error:
        raise ContainerGone(str(error)) from error
    try:
        passed = {name: headers[name] for name in _FORWARDED if name in headers}
        connection.request("POST", serving.INVOCATIONS, body, passed)
        response = connection.getresponse()
        content = response.read()
        return Answer(
            status=response.status,
            headers={key.lower(): value for key, value in response.getheaders()},
            body=content,
        )
    except TimeoutError as error:
        raise ContainerSilent(_TIMED_OUT) from error
    except (OSError, http.client.HTTPException) as error:
        raise ContainerSilent(f"the container closed the connection: {error}") from error
    finally:
        connection.close()


def _passed(answer: Answer, variant: str) -> Response:
    headers = {
        _CONTENT_TYPE: answer.headers.get(_CONTENT_TYPE, "application/octet-stream"),
        "x-Amzn-Invoked-Production-Variant": variant,
    }
    if _CUSTOM_ATTRIBUTES in answer.headers:
        headers["X-Amzn-SageMaker-Custom-Attributes"] = answer.headers[_CUSTOM_ATTRIBUTES]
    return 200, headers, answer.body


def _model_error(name: str, status: int, said: str) -> Response:
    """424, with the members that boto3 puts beside ``Error`` in the exception's response."""
    region, account = get_region(), get_account_id()
    group = f"/aws/sagemaker/Endpoints/{name}"
    side = "client" if 400 <= status < 500 else "server"
    where = f"https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}#logEventViewer:group={group}"
    return _json(
        424,
        "ModelError",
        {
            "Message": f'Received {side} error ({status}) from primary with message "{said}". '
            f"See {where} in account {account} for more information.",
            "OriginalStatusCode": status,
            "OriginalMessage": said,
            "LogStreamArn": f"arn:aws:logs:{region}:{account}:log-group:{group}",
        },
    )


def _too_large() -> Response:
    """The gateway's own refusal: it has no error type, so boto3 shows the status as the code."""
    message = {"Message": f"HTTP content length exceeded {serving.MAX_BODY_BYTES} bytes."}
    return 413, {_CONTENT_TYPE: "application/json"}, json.dumps(message).encode()


def _error(code: str, message: str, status: int) -> Response:
    return _json(status, code, {"Message": message})


def _json(status: int, code: str, payload: dict[str, object]) -> Response:
    return (
        status,
        {_CONTENT_TYPE: "application/json", "x-amzn-ErrorType": code},
        json.dumps(payload).encode(),
    )
