"""``traceship cost`` as a person and as a script use it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema

from artifact.schemas import schemas
from tests.kit.command import CHECKOUT, traceship

SETTINGS = ("--settings", str(CHECKOUT / "examples/inf1/traceship.toml"))


def test_the_bill_of_the_example_is_of_the_published_form(tmp_path: Path) -> None:
    """In two regions, of which one has fewer prices, and says so."""
    answer = traceship(
        *SETTINGS, "cost", "--region", "us-east-1", "--region", "ap-south-1",
        "--requests-per-second", "100", "--json", cwd=tmp_path,
    )  # fmt: skip

    assert answer.code == 0, answer.stderr
    jsonschema.validate(answer.json, json.loads(schemas()["cost-1.schema.json"]))
    first, second = answer.json["regions"]
    assert (first["region"], second["region"]) == ("us-east-1", "ap-south-1")
    assert first["missing"] == ["sagemaker/ml.inf1.xlarge"]
    assert "alb/hour" in second["missing"]
    assert {service["kind"] for service in first["services"]} == {"fleet", "endpoint"}
    assert any("taxes" in words for words in answer.json["not_included"])


def test_a_person_reads_quantity_price_sum_and_age(tmp_path: Path) -> None:
    """And what is estimated, missing, stale and left out."""
    answer = traceship(*SETTINGS, "cost", "--utilization", "50", cwd=tmp_path)

    assert answer.code == 0, answer.stderr
    for words in ("instance-hour", "x 0.228", "332.88", "at least", "STALE", "not included:", "used to 50 %"):
        assert words in answer.stdout, answer.stdout


def test_a_canary_is_paid_for_too(tmp_path: Path) -> None:
    """By its own lock, which stands beside the release's."""
    example = CHECKOUT / "examples/inf1"
    lock = (example / "release.lock.json").read_text(encoding="utf-8")
    text = (example / "traceship.toml").read_text(encoding="utf-8")
    (tmp_path / "traceship.toml").write_text(f"{text}\n[endpoint.canary]\ncount = 2\n", encoding="utf-8")
    (tmp_path / "release.lock.json").write_text(lock, encoding="utf-8")
    settings = ("--settings", str(tmp_path / "traceship.toml"))

    alone = traceship(*settings, "cost", "--json", cwd=tmp_path)
    (tmp_path / "release.canary.lock.json").write_text(lock, encoding="utf-8")
    answer = traceship(*settings, "cost", "--json", cwd=tmp_path)

    assert (alone.code, "canary-lock-missing" in alone.stderr) == (2, True)
    assert answer.code == 0, answer.stderr
    (canary,) = (line for line in answer.json["regions"][0]["lines"] if "second variant" in line["what"])
    assert canary["quantity"] == 2 * 730


def test_two_ways_to_say_the_load_contradict_each_other(tmp_path: Path) -> None:
    """Exit code 2."""
    answer = traceship(*SETTINGS, "cost", "--utilization", "50", "--requests-per-second", "1", cwd=tmp_path)

    assert (answer.code, "leave one of them out" in answer.stderr) == (2, True)


def test_a_region_without_prices_is_refused_before_anything_is_synthesised(tmp_path: Path) -> None:
    """In a moment, and with the command that reads them."""
    answer = traceship(*SETTINGS, "cost", "--region", "mars-north-1", cwd=tmp_path)

    assert answer.code == 2
    assert "synthesise" not in answer.stderr
    assert "--refresh --region mars-north-1" in answer.stderr


def test_help_loads_neither_the_cdk_nor_boto3() -> None:
    """So that it is there at once."""
    code = (
        "import sys\nfrom cli.__main__ import traceship\n"
        "try:\n    traceship(['cost', '--help'], standalone_mode=False)\nfinally:\n"
        "    print(sorted({'aws_cdk', 'boto3', 'botocore', 'torch', 'jsii'} & sys.modules.keys()))\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )

    assert found.stdout.splitlines()[-1] == "[]"


def test_the_command_starts_no_node_before_the_pinned_one_is_known() -> None:
    """jsii takes the Node that is named when the CDK is imported, and no later."""
    code = "import sys, cli.costing\nprint('aws_cdk' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )

    assert found.stdout.strip() == "False"
