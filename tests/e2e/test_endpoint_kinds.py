"""A second release is tried and shifted to; then the endpoint answers by way of S3."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from infra.names import async_prefix, canary_variant
from local_aws.conformance import inventory
from tests.e2e.conftest import Demo

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

CANARY = """
[endpoint.canary]

[endpoint.capture]
percent = 100

[[endpoint.schedule]]
name = "night"
cron = "0 20 ? * * *"
timezone = "Europe/Paris"
min_count = 1
max_count = 1
"""
SHORTER = 'buckets = ["1x16"]'
"""Another artifact, quickly made."""


@pytest.fixture
def settings(demo: Demo) -> Iterator[str]:
    """The demo's own settings and lock, which are deployed again afterwards."""
    path, lock = demo.folder / "traceship.toml", demo.folder / "release.lock.json"
    before, release = path.read_text(), lock.read_bytes()
    yield before
    path.write_text(before)
    lock.write_bytes(release)
    (demo.folder / "release.canary.lock.json").unlink(missing_ok=True)
    _shift(demo, stable=1)
    _deploy(demo)


def _use(demo: Demo, text: str) -> None:
    (demo.folder / "traceship.toml").write_text(text)


def _deploy(demo: Demo) -> None:
    answer = demo.command("deploy", "artifacts", "endpoint", "--json")
    assert answer.code == 0, answer.stderr[-3000:]


def _variants(demo: Demo) -> dict[str, dict[str, Any]]:
    status = demo.command("status", "--json").json
    return {row["name"]: row for row in status["endpoint"]["variants"]}


def _settled(demo: Demo) -> dict[str, Any]:
    sagemaker, deadline = demo.aws.client("sagemaker"), time.monotonic() + 60
    while (found := sagemaker.describe_endpoint(EndpointName="demo"))["EndpointStatus"] != "InService":
        assert time.monotonic() < deadline, found
        time.sleep(0.1)  # SageMaker has no event to wait for
    settled: dict[str, Any] = found
    return settled


def _shift(demo: Demo, **weights: float) -> None:
    """Give each variant that is there its weight; the others none."""
    rows = [
        {"VariantName": name, "DesiredWeight": float(weights.get(name.partition("-")[0], 0))}
        for name in _variants(demo)
    ]
    demo.aws.client("sagemaker").update_endpoint_weights_and_capacities(
        EndpointName="demo", DesiredWeightsAndCapacities=rows
    )
    _settled(demo)


def _problems(demo: Demo) -> list[str]:
    """What the resources of the changed stacks have otherwise than their templates say."""
    names, out = ("demo-artifacts", "demo-endpoint"), demo.folder / ".traceship/cdk.out"
    templates = {name: json.loads((out / f"{name}.template.json").read_text()) for name in names}
    return list(inventory(demo.aws, names, templates).problems)


def test_a_canary_is_tried_and_shifted_to(demo: Demo, settings: str) -> None:
    """No request goes to a release that nobody chose, and no deploy leaves requests without one."""
    lock, second = demo.folder / "release.lock.json", demo.folder / "release.canary.lock.json"
    old = json.loads(lock.read_bytes())["digest"]
    with_canary = settings + CANARY

    _use(demo, _with_buckets(with_canary))
    shipped = demo.command("ship", "--canary", "--json")
    assert shipped.code == 0, shipped.stderr[-3000:]
    new = shipped.json["digest"]
    assert (json.loads(lock.read_bytes())["digest"], json.loads(second.read_bytes())["digest"]) == (old, new)
    _deploy(demo)
    beside = demo.command("status", "--json").json
    tried = demo.command("invoke", "--variant", canary_variant(new), "--json", "short text")
    refused = demo.command("invoke", "--variant", canary_variant(new), "--json", "word " * 40)

    assert _problems(demo) == []
    assert beside["healthy"] is True
    assert beside["endpoint"]["captured_percent"] == 100
    rows = {row["name"]: (row["weight"], row["digest"]) for row in beside["endpoint"]["variants"]}
    assert rows == {"stable": (1, old), canary_variant(new): (0, new)}
    assert tried.code == 0
    assert refused.error["id"] == "invocation-failed"  # only the canary has no longer bucket
    assert demo.command("invoke", "--json", "word " * 40).code == 0

    _shift(demo, canary=1)
    assert demo.command("invoke", "--json", "word " * 40).code != 0
    _use(demo, _with_buckets(settings))
    left = demo.command("deploy", "endpoint", "--json")
    assert (left.code, left.error["id"]) == (2, "no-traffic-left")


def test_an_async_endpoint_answers_by_way_of_s3(demo: Demo, settings: str) -> None:
    """The same server behind a queue; nothing answers at once any more, and it may be empty."""
    _use(demo, settings.replace("min_count = 1", "min_count = 0") + "\n[endpoint.async]\n")
    _deploy(demo)
    assert _problems(demo) == []
    s3, runtime = demo.aws.client("s3"), demo.aws.client("sagemaker-runtime")
    bucket = json.loads((demo.folder / "release.lock.json").read_bytes())["location"]["bucket"]
    key = f"{async_prefix('demo', 'input')}/one.json"
    s3.put_object(Bucket=bucket, Key=key, Body=json.dumps({"inputs": ["a text"]}))

    asked = runtime.invoke_endpoint_async(
        EndpointName="demo", InputLocation=f"s3://{bucket}/{key}", ContentType="application/json"
    )
    answer = json.loads(_awaited(s3, bucket, asked["OutputLocation"]))

    assert len(answer) == 1
    assert len(answer[0]) == 384
    assert demo.command("invoke", "--json", "a text").code != 0
    assert demo.command("status", "--json").json["healthy"] is True


def _awaited(s3: Any, bucket: str, url: str) -> bytes:
    key, deadline = url.removeprefix(f"s3://{bucket}/"), time.monotonic() + 60
    while not s3.list_objects_v2(Bucket=bucket, Prefix=key).get("Contents"):
        assert time.monotonic() < deadline, url
        time.sleep(0.1)  # what is written to S3 announces itself to topics only
    content: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    return content


def _with_buckets(text: str) -> str:
    lines = [SHORTER if line.startswith("buckets = ") else line for line in text.splitlines()]
    assert SHORTER in lines
    return "\n".join(lines) + "\n"
