"""Dashboards show what the servers write, under the names that they write it."""

from __future__ import annotations

import json

import pytest

from artifact import serving
from inference_code.emf import UNITS
from infra.replica_metrics import STAGES, replica_widgets
from settings.model import Serve
from tests.infra.worlds import World


def _board(world: World, stack: str) -> str:
    _, parts = world.properties(stack, "AWS::CloudWatch::Dashboard")["DashboardBody"]["Fn::Join"]
    return "".join(part if isinstance(part, str) else "a token" for part in parts)


@pytest.mark.parametrize("stack", ["fleet", "endpoint"])
def test_a_dashboard_reads_the_metrics_of_its_own_servers(cpu: World, stack: str) -> None:
    """Namespace, dimensions and names of the page's figures are those of the server's lines."""
    widgets = json.loads(_board(cpu, stack))["widgets"]
    rows = [row for widget in widgets for row in widget["properties"].get("metrics", [])]
    ours = [row for row in rows if row[0] == serving.METRICS_NAMESPACE]

    assert {row[1] for row in ours} <= set(UNITS)
    assert {row[1] for row in ours} >= {
        "RequestsInFlight",
        "QueueRows",
        "CoreUse",
        "RunLatency",
        "PaddingTokens",
    }
    for row in ours:
        assert dict(zip(row[2:6:2], row[3:6:2])) == {"Service": f"traceship-{stack}", "Model": "default"}


def test_every_stage_that_is_drawn_is_written() -> None:
    """A widget of a metric that nobody writes stays empty for ever."""
    assert {f"{stage}Latency" for stage in STAGES} <= set(UNITS)


def test_servers_without_metrics_have_no_widgets() -> None:
    """``metrics_seconds = 0`` also means no empty pictures."""
    assert replica_widgets(Serve(metrics_seconds=0), service="x") == []
    assert replica_widgets(Serve(), service="x") != []
