"""The real server behind endpoint and fleet: published artifact in, the model's own answers out."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from compile.publish import Destination, publish
from local_aws import names
from tests.kit import handmade
from tests.local_aws import fleet_stack
from tests.local_aws.emulator import Emulator, deployed, running

BUCKET = "artifacts-of-the-test"
TEXT = "w1 w2 w3"


@dataclass
class Release:
    """A published artifact: its ``s3://`` prefix, and the answers that are right."""

    url: str
    artifact: handmade.World


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with running(tmp_path_factory.mktemp("aws"), Path(sys.executable)) as emulator:
        emulator.client("s3").create_bucket(Bucket=BUCKET)
        yield emulator


@pytest.fixture(scope="module")
def release(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Release:
    artifact = handmade.build(
        tmp_path_factory.mktemp("made") / "artifact", handmade.Recipe(buckets=((1, 8),))
    )
    to = Destination(account=names.ACCOUNT, region=names.REGION, bucket=BUCKET, name="tiny")
    published = publish(artifact.root, to, emulator.client("s3"), report=lambda _: None)
    return Release(url=f"s3://{BUCKET}/{published.prefix}", artifact=artifact)


def deploy(emulator: Emulator, stack: str, template: dict[str, Any]) -> tuple[str, str]:
    client = emulator.client("cloudformation")
    client.create_stack(StackName=stack, TemplateBody=json.dumps(template))
    return deployed(client, stack)


def test_an_endpoint_answers_as_the_untraced_model_does(emulator: Emulator, release: Release) -> None:
    """model.tar.gz from S3, verified, golden set replayed, then /invocations."""
    template = fleet_stack.endpoint(release.url, release.artifact.digest, name="real")
    status, reasons = deploy(emulator, "endpoint", template)

    answer = emulator.client("sagemaker-runtime").invoke_endpoint(
        EndpointName="real", Body=json.dumps({"inputs": TEXT}), ContentType="application/json"
    )

    assert (status, reasons) == ("CREATE_COMPLETE", "")
    assert flat(json.loads(answer["Body"].read())) == pytest.approx(release.artifact.answer(TEXT), abs=1e-5)


def test_an_instance_answers_as_the_untraced_model_does(emulator: Emulator, release: Release) -> None:
    """Blobs from S3 by ``fetch``, and the answer comes through the load balancer."""
    template = fleet_stack.fleet(release.url, release.artifact.digest)
    status, reasons = deploy(emulator, "fleet", template)

    url = f"http://127.0.0.1:{emulator.port}/_alb/tiny/invocations"
    request = urllib.request.Request(
        url, data=json.dumps({"inputs": TEXT}).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        found = json.loads(answer.read())

    assert (status, reasons) == ("CREATE_COMPLETE", "")
    assert flat(found) == pytest.approx(release.artifact.answer(TEXT), abs=1e-5)


def test_another_digest_than_the_published_one_is_never_served(emulator: Emulator, release: Release) -> None:
    """What the stack pins decides, not what lies in the bucket."""
    status, reasons = deploy(emulator, "forged", fleet_stack.endpoint(release.url, "0" * 64, name="forged"))

    assert status == "ROLLBACK_COMPLETE"
    assert "the server refused the artifact (exit 3)" in reasons


def flat(answer: Any) -> list[float]:
    """The one embedding in an answer, whatever brackets are around it."""
    while isinstance(answer[0], list):
        (answer,) = answer
    values: list[float] = answer
    return values
