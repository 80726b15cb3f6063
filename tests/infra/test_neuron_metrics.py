"""Alarms and dashboards show what the watch writes, under the names that it writes it."""

from __future__ import annotations

import json

from artifact import serving
from inference_code.host.cloudwatch import UNITS
from tests.infra.test_replica_metrics import _board
from tests.infra.worlds import World


def test_every_metric_of_the_watch_is_on_the_dashboard_of_its_fleet(inf1: World) -> None:
    """With its one dimension."""
    widgets = json.loads(_board(inf1, "fleet"))["widgets"]
    rows = [row for widget in widgets for row in widget["properties"].get("metrics", [])]
    ours = [row for row in rows if row[0] == serving.METRICS_NAMESPACE and row[1] in UNITS]

    assert {row[1] for row in ours} == set(UNITS)
    assert {tuple(row[2:4]) for row in ours} == {("Service", "traceship-fleet")}
    assert not any(row[4:5] == ["Model"] for row in ours)


def test_a_cpu_fleet_has_none_of_it(cpu: World) -> None:
    """Neither widgets nor alarms: there are no chips, and nobody would write."""
    assert "Neuron" not in _board(cpu, "fleet")
    assert not {"HostFault", "NeuronReports"} & _alarms(cpu)


def test_alarms_read_what_the_watch_writes(inf1: World) -> None:
    """Name, namespace, dimension."""
    for alarm in inf1.all("fleet", "AWS::CloudWatch::Alarm").values():
        properties = alarm["Properties"]
        if properties.get("Namespace") == serving.METRICS_NAMESPACE:
            assert properties["MetricName"] in UNITS
            assert properties["Dimensions"] == [{"Name": "Service", "Value": "traceship-fleet"}]
    assert {"HostFault", "NeuronReports"} <= _alarms(inf1)


def _alarms(world: World) -> set[str]:
    return {name.partition("Alarm")[0] for name in world.all("fleet", "AWS::CloudWatch::Alarm")}
