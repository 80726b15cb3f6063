"""What SageMaker reads from and writes to S3 around an invocation: captured requests, async ones.

A captured request is one line of JSON below DESTINATION/ENDPOINT/VARIANT/yyyy/mm/dd/hh/. An async
request waits in a queue, is read from S3, and its answer (or the failure) is written there and told to a
topic. Sources: SageMaker guide, "Capture data" and "Check prediction results".
"""

from __future__ import annotations

import base64
import json
import logging
import random
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from botocore import exceptions

from local_aws.extension.own_clients import client
from local_aws.extension.registry import Server
from local_aws.extension.sagemaker_store import Record

THREADS = 4
SIDES = {"Input": "endpointInput", "Output": "endpointOutput"}

logger = logging.getLogger("traceship.sagemaker")


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A request and its answer: each a content type and bytes."""

    endpoint: str
    variant: str
    sent: tuple[str, bytes]
    answered: tuple[str, bytes]


class Writer:
    """Reads and writes S3 and publishes to topics, on threads of its own."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="sagemaker-s3")

    def submit(self, work: Any, *arguments: Any) -> None:
        """Run ``work`` later; what it raises is logged."""
        self._threads.submit(self._guarded, work, *arguments)

    def close(self) -> None:
        """Begin nothing more; what has begun ends."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def capture(self, config: Mapping[str, Any], exchange: Exchange) -> None:
        """Keep a copy of the exchange, if the dice of the sampling percentage say so."""
        if random.random() * 100 < float(config["InitialSamplingPercentage"]):  # noqa: S311 - no secret
            self.submit(self._capture, config, exchange)

    def read(self, url: str) -> bytes:
        """The object at an ``s3://`` URL.

        Raises:
            ClientError, BotoCoreError: it cannot be read.
        """
        parts = urlsplit(url)
        answer = client(self._server, "s3").get_object(Bucket=parts.netloc, Key=parts.path.lstrip("/"))
        content: bytes = answer["Body"].read()
        return content

    def write(self, url: str, content: bytes, *, key: str | None) -> None:
        """Put an object at an ``s3://`` URL, encrypted with the KMS key ``key``."""
        parts = urlsplit(url)
        encrypted = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key} if key else {}
        client(self._server, "s3").put_object(
            Bucket=parts.netloc, Key=parts.path.lstrip("/"), Body=content, **encrypted
        )

    def tell(self, topic: str | None, message: Record) -> None:
        """Publish ``message``; nothing where there is no topic."""
        if topic:
            client(self._server, "sns").publish(TopicArn=topic, Message=json.dumps(message))

    def _capture(self, config: Mapping[str, Any], exchange: Exchange) -> None:
        now = datetime.now(UTC)
        modes = [option["CaptureMode"] for option in config["CaptureOptions"]]
        sides = {"Input": exchange.sent, "Output": exchange.answered}
        wanted = [mode for mode in SIDES if mode in modes or "InputAndOutput" in modes]
        line = {
            "captureData": {SIDES[mode]: _side(mode, sides[mode], config) for mode in wanted},
            "eventMetadata": {"eventId": str(uuid.uuid4()), "inferenceTime": now.isoformat()},
            "eventVersion": "0",
        }
        place = (
            f"{exchange.endpoint}/{exchange.variant}/{now:%Y/%m/%d/%H}/{now:%M-%S-%f}-{uuid.uuid4()}.jsonl"
        )
        url = f"{config['DestinationS3Uri'].rstrip('/')}/{place}"
        self.write(url, json.dumps(line).encode() + b"\n", key=config.get("KmsKeyId"))

    def _guarded(self, work: Any, *arguments: Any) -> None:
        try:
            work(*arguments)
        except (exceptions.ClientError, exceptions.BotoCoreError):
            logger.exception("what SageMaker writes could not be written")


def _side(mode: str, content: tuple[str, bytes], config: Mapping[str, Any]) -> Record:
    kind, data = content
    encoding = _encoding(kind, config.get("CaptureContentTypeHeader", {}))
    text = base64.b64encode(data).decode() if encoding == "BASE64" else data.decode()
    return {"observedContentType": kind, "mode": mode.upper(), "data": text, "encoding": encoding}


def _encoding(kind: str, types: Mapping[str, Any]) -> str:
    bare = kind.partition(";")[0].strip()
    if bare in types.get("JsonContentTypes", ()):
        return "JSON"
    return "CSV" if bare in types.get("CsvContentTypes", ()) else "BASE64"
