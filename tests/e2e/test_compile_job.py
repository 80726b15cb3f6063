"""The compile stack at work: a state machine hands rows to Batch, whose jobs are real compiles."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from artifact.verify import verify
from tests.e2e.conftest import Demo
from tests.kit.models import tiny_model

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

FINISHED = {"SUCCEEDED", "FAILED", "ABORTED", "TIMED_OUT"}


def _execute(demo: Demo, items: list[dict[str, Any]]) -> dict[str, Any]:
    """Start the state machine and return the finished execution."""
    cloudformation = demo.aws.client("cloudformation")
    outputs = cloudformation.describe_stacks(StackName="demo-compile")["Stacks"][0]["Outputs"]
    machine = next(o["OutputValue"] for o in outputs if o["OutputKey"] == "StateMachineArn")
    states = demo.aws.client("stepfunctions")
    run = states.start_execution(stateMachineArn=machine, input=json.dumps({"items": items}))["executionArn"]
    pause = threading.Event()
    while (found := states.describe_execution(executionArn=run))["status"] not in FINISHED:
        pause.wait(0.5)  # Step Functions tells nobody when it is done
    return dict(found)


def _item(bucket: str, name: str, model: str) -> dict[str, Any]:
    words = ["--model", f"s3://{bucket}/models/{model}", "--task", "feature-extraction", "--target", "cpu"]
    words += ["--bucket", "1x16", "--bucket", "2x8", "--pooling", "mean", "--normalize"]
    return {"name": name, "arguments": [*words, "--out", f"s3://{bucket}/compiled/{name}"]}


@pytest.fixture(scope="module")
def bucket(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The artifacts bucket, with a tiny model below ``models/``."""
    name = "demo-artifacts-000000000000-us-east-1"
    model = tiny_model(tmp_path_factory.mktemp("model") / "tiny")
    for path in model.iterdir():
        demo.aws.client("s3").upload_file(str(path), name, f"models/tiny/{path.name}")
    return name


def test_a_row_becomes_an_artifact_in_the_bucket(demo: Demo, bucket: str, tmp_path: Path) -> None:
    """Model out of S3, compiled and proven in a job's process, artifact back in S3, whole."""
    found = _execute(demo, [_item(bucket, "first", "tiny")])

    assert found["status"] == "SUCCEEDED", found
    s3 = demo.aws.client("s3")
    for row in s3.list_objects_v2(Bucket=bucket, Prefix="compiled/first/")["Contents"]:
        target = tmp_path / row["Key"].removeprefix("compiled/first/")
        target.parent.mkdir(parents=True, exist_ok=True)
        s3.download_file(bucket, row["Key"], str(target))
    manifest = verify(tmp_path).manifest
    assert [(b.batch, b.length) for b in manifest.buckets] == [(2, 8), (1, 16)]
    assert manifest.outputs[0].name == "sentence_embedding"


def test_a_row_that_fails_does_not_stop_the_others(demo: Demo, bucket: str) -> None:
    """The run ends as failed, and the good row's artifact is there."""
    found = _execute(demo, [_item(bucket, "bad", "nothing-there"), _item(bucket, "good", "tiny")])

    assert found["status"] == "FAILED"
    keys = {o["Key"] for o in demo.aws.client("s3").list_objects_v2(Bucket=bucket)["Contents"]}
    assert "compiled/good/manifest.json" in keys
    assert not any(key.startswith("compiled/bad/") for key in keys)
