"""docs/observability.md names everything that a server tells of itself, and nothing else."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from artifact.manifest import Bucket
from inference_code import log
from inference_code.emf import UNITS
from inference_code.exposition import Exposition
from inference_code.identity import ATTRIBUTES, INFERENCE_ID, identity_of
from inference_code.log import RequestLog
from inference_code.log_writer import LineWriter
from inference_code.metrics import Metrics
from inference_code.recorder import Recorder
from inference_code.trace import AMAZON, TRACEPARENT
from inference_code.trail import STAGES, Trail
from tests.kit.command import CHECKOUT

PAGE = (CHECKOUT / "docs/observability.md").read_text(encoding="utf-8")


def _rows(heading: str) -> list[list[str]]:
    """Cells of the first table under ``heading``, without its head."""
    part = PAGE.split(f"\n## {heading}", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def _page() -> list[tuple[str, str, set[str]]]:
    """Name, kind and labels of every family of a server with a model, a bucket and a worker."""
    metrics = Metrics()
    metrics.describe(dict.fromkeys(_labels_of_build(), "x"), [Bucket(batch=1, length=8, path="x")])
    metrics.worker("0").started(os.getpid())
    metrics.began()
    metrics.finished(500, Trail(error="x"), 1e9)
    exposition = Exposition(refused=lambda: {"bad-http": 1})
    exposition.add(metrics)
    found = []
    for family in text_string_to_metric_families(exposition.page()[0].decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"model", "le"}
        found.append((name, family.type, labels))
    return found


def _labels_of_build() -> set[str]:
    source = (CHECKOUT / "inference_code/build.py").read_text(encoding="utf-8")
    return set(re.findall(r'^        "(\w+)":', source, flags=re.MULTILINE))


def test_every_family_is_in_the_table_with_its_kind_and_labels() -> None:
    """And the table has no other."""
    told = {row[0].strip("`"): row for row in _rows("Prometheus: `GET /metrics`")}
    families = _page()

    assert {name for name, _, _ in families} == set(told)
    for name, kind, labels in families:
        assert told[name][1].split(",")[0] == kind, name
        assert set(re.findall(r"`(\w+)`", told[name][2])) == labels, name


def test_queries_ask_for_what_is_there() -> None:
    """Names, and the labels that they choose by."""
    part = PAGE.split("### Queries")[1].split("\n## ")[0]
    families = {name: labels for name, _, labels in _page()}
    asked = re.findall(r"(traceship_\w+?)(?:_bucket|_count|_sum)?(?:\{([^}]*)\})?\[", part)

    assert len(asked) > 10
    for name, chosen in asked:
        assert name in families
        assert set(re.findall(r"(\w+)=", chosen)) <= families[name] | {"le"}


def test_every_metric_of_cloudwatch_is_in_its_table() -> None:
    """With its unit, and their number in the text."""
    told = {row[0].strip("`"): row[1] for row in _rows("CloudWatch")}

    assert told == UNITS
    assert f"are {len(UNITS)}." in " ".join(PAGE.split())


def test_stages_are_those_of_the_server() -> None:
    """In their order."""
    assert [row[0].strip("`") for row in _rows("A request's time")] == list(STAGES)


def test_every_field_of_a_line_is_in_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a request that has them all."""
    monkeypatch.setattr(log, "_origin", {})
    log.come_from(instance="i-0123456789abcdef0", digest="ab" * 32)
    path = tmp_path / "log"
    lines = LineWriter(os.open(path, os.O_WRONLY | os.O_CREAT), log._notice)
    recorder = Recorder(RequestLog(lines))
    metrics = recorder.metrics("default", deadline=20.0)
    metrics.began()
    sent = [
        (TRACEPARENT, b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        (AMAZON, b"Root=1-67891233-abcdef012345678912345678"),
        (INFERENCE_ID, b"x"),
        (ATTRIBUTES, b"x"),
    ]
    trail = Trail(read=1.0, error="x", inputs=1, tokens=1, buckets=("b1_s8",), workers=("0",))
    recorder.request(metrics, identity_of(sent), trail, method="POST", route="/invocations", status=500)
    lines.close(10)

    told = {name for row in _rows("The log") for name in re.findall(r"`(\w+)`", row[0])}
    assert set(json.loads(path.read_bytes())) == told
