"""One local AWS for the tests that need an S3 which checks what it is given."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from artifact.aws import client_config
from compile.cut import MIN_PART_BYTES
from compile.publish import Destination
from local_aws import names
from local_aws.launcher import LocalAws
from tests.kit.fault_proxy import FaultProxy, fault_proxy
from tests.kit.folders import CONTENT, write_folder
from tests.local_aws.emulator import running

KEY = f"arn:aws:kms:{names.REGION}:{names.ACCOUNT}:alias/minilm"
PUBLISHER = f"arn:aws:iam::{names.ACCOUNT}:user/first"


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """A running server, stopped at the end; no test may have made it fail inside."""
    with running(tmp_path_factory.mktemp("local-aws")) as emulator:
        server = LocalAws(state=emulator.state, port=emulator.port, pid=emulator.process.pid)
        yield server
    assert "Traceback" not in server.log.read_text()


@pytest.fixture(scope="module")
def running_proxy(aws: LocalAws) -> Iterator[FaultProxy]:
    with fault_proxy(aws.port) as proxy:
        yield proxy


@pytest.fixture
def proxy(running_proxy: FaultProxy) -> Iterator[FaultProxy]:
    """A proxy before the local S3 that spoils nothing yet."""
    running_proxy.heal()
    yield running_proxy
    running_proxy.heal()


@pytest.fixture
def to(aws: LocalAws) -> Destination:
    """A bucket of this test's own."""
    bucket = f"releases-{uuid.uuid4().hex[:12]}"
    aws.client("s3").create_bucket(Bucket=bucket)
    return Destination(
        account=names.ACCOUNT,
        region=names.REGION,
        bucket=bucket,
        name="minilm",
        kms_key=KEY,
        publisher=PUBLISHER,
    )


def client_for(endpoint: str, **more: Any) -> Any:
    """An S3 client with the command's own configuration, with two attempts as for a local AWS.

    Args:
        more: changes to the configuration, such as a shorter wait for an answer.
    """
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=names.REGION,
        aws_access_key_id=names.ACCESS_KEY,
        aws_secret_access_key=names.ACCESS_KEY,
        config=client_config(local=True).merge(Config(**more)),
    )


@pytest.fixture
def s3(proxy: FaultProxy) -> Any:
    """A client through the proxy."""
    return client_for(proxy.endpoint)


def large_content(parts: int, *, part: int = MIN_PART_BYTES, last: int = 1000) -> dict[str, bytes]:
    """Files of an artifact whose weights take ``parts`` parts, each unlike the others."""
    made = random.Random(7)
    block = made.randbytes(1 << 16)
    whole = bytearray()
    for number in range(parts - 1):
        whole += (number.to_bytes(8, "big") + block[8:]) * (part // len(block))
    return {**CONTENT, "weights.safetensors": bytes(whole) + made.randbytes(last)}


def folder_of(path: Path, content: dict[str, bytes]) -> Path:
    """An artifact of ``content`` below ``path``."""
    write_folder(path, content)
    return path
