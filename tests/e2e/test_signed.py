"""A release that the deployed KMS key signed is served by a fleet and an endpoint that pin that key."""

from __future__ import annotations

import base64
import json

import pytest

from artifact import serving
from artifact.canonical import encode
from artifact.keys import read_key
from artifact.trust import check_signature
from tests.e2e.conftest import Demo
from tests.kit.keys import Key

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

ALIAS = "awskms:alias/demo-signing"


def test_what_the_deployed_key_signed_is_served_and_nothing_else_is_deployed(
    demo: Demo,
) -> None:
    """Show the key, pin it, ship, deploy, ask. Comes last: it changes the demo's stacks."""
    path, lock_path = demo.folder / "traceship.toml", demo.folder / "release.lock.json"
    before = demo.command("invoke", "A sentence.", "--json").json
    line = demo.command("key", "show", ALIAS, "--json").json["line"]
    path.write_text(f'{path.read_text()}\n[signing]\nkey = "{ALIAS}"\ntrusted_keys = ["{line}"]\n')

    shipped = demo.command("ship", "--json")
    deployed = demo.command("deploy", "--json")
    after = demo.command("invoke", "A sentence.", "--json")
    lock = json.loads(lock_path.read_bytes())
    stranger = {**lock["signed"], "envelope": _base64(Key().release(lock["digest"]))}
    lock_path.write_bytes(encode({**lock, "signed": stranger}))
    refused = demo.command("deploy", "--json")

    assert (shipped.code, deployed.code, after.code) == (0, 0, 0), shipped.stderr + deployed.stderr
    assert after.json == before
    container = _container(demo)
    assert container[serving.ENV_PUBLIC_KEYS] == line
    assert container[serving.ENV_SIGNATURE] == lock["signed"]["envelope"]
    where = lock["location"]
    s3 = demo.aws.client("s3")
    envelope = s3.get_object(Bucket=where["bucket"], Key=f"{where['prefix']}/manifest.dsse.json")[
        "Body"
    ].read()
    key = read_key(line, name="the deployed key")
    assert check_signature(lock["digest"], envelope, [key]) == key
    assert (refused.code, refused.error["id"]) == (3, "wrong-key")
    assert demo.command("invoke", "A sentence.", "--json").json == before


def _published(demo: Demo, where: dict[str, str]) -> bytes:
    """The envelope beside the manifest in S3."""
    key = f"{where['prefix']}/manifest.dsse.json"
    data: bytes = demo.aws.client("s3").get_object(Bucket=where["bucket"], Key=key)["Body"].read()
    return data


def _container(demo: Demo) -> dict[str, str]:
    """The environment of the container that the endpoint runs now."""
    sagemaker = demo.aws.client("sagemaker")
    config = sagemaker.describe_endpoint(EndpointName="demo")["EndpointConfigName"]
    variants = sagemaker.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"]
    model = sagemaker.describe_model(ModelName=variants[0]["ModelName"])
    found: dict[str, str] = model["PrimaryContainer"]["Environment"]
    return found


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
