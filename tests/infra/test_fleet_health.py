"""The fleet's alarms over samples: they ring when replicas are missing, and let people sleep."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.rhythm import EVALUATIONS
from infra.timing import launch_seconds, missing_minutes
from tests.infra.metric_math import Sample, rings, value
from tests.infra.worlds import World, lock_of

BOOT_MINUTES = launch_seconds(lock_of("cpu")) // 60


def _alarm(world: World, name: str) -> dict[str, Any]:
    alarms = world.all("fleet", "AWS::CloudWatch::Alarm")
    (found,) = [body["Properties"] for key, body in alarms.items() if key.startswith(f"{name}Alarm")]
    return dict(found)


def _sizes(*, least: int, wanted: int, serving: int, healthy: int | None) -> dict[str, Sample]:
    """A minute of a group. ``healthy`` None: no target is registered, so nothing is reported."""
    return {
        "GroupMinSize": least,
        "GroupDesiredCapacity": wanted,
        "GroupInServiceInstances": serving,
        "HealthyHostCount": healthy,
    }


ASLEEP = _sizes(least=0, wanted=0, serving=0, healthy=None)
WELL = _sizes(least=2, wanted=3, serving=3, healthy=3)


@pytest.mark.parametrize("name", ["HealthyHosts", "MissingHosts", "Errors"])
def test_nobody_is_woken_by_a_fleet_that_sleeps(spot: World, name: str) -> None:
    """Neither while it is empty, nor by callers that it refuses, nor on its way there."""
    refused = {**ASLEEP, "HTTPCode_ELB_5XX_Count": 50.0}
    leaving = _sizes(least=0, wanted=0, serving=1, healthy=1)

    assert not rings(_alarm(spot, name), [ASLEEP] * 60)
    assert not rings(_alarm(spot, name), [refused] * 60)
    assert not rings(_alarm(spot, name), [WELL] * 60 + [leaving] * 2 + [ASLEEP])


@pytest.mark.parametrize("name", ["HealthyHosts", "MissingHosts"])
def test_nobody_is_woken_while_the_fleet_gets_up(spot: World, name: str) -> None:
    """The smallest size is back at once, the replicas come one by one within their start-up."""
    coming = _sizes(least=2, wanted=3, serving=1, healthy=1)
    starting = _sizes(least=2, wanted=3, serving=0, healthy=None)
    minutes = [ASLEEP] * 60 + [starting] * (BOOT_MINUTES - 1) + [coming, WELL]

    alarm = _alarm(spot, name)
    assert not any(rings(alarm, minutes[: end + 1]) for end in range(59, len(minutes)))


def test_a_replica_that_falls_ill_below_the_floor_rings_within_two_minutes(spot: World) -> None:
    """Also when it is the last one, and the load balancer has nothing to report."""
    alarm = _alarm(spot, "HealthyHosts")

    for ill in (
        _sizes(least=2, wanted=3, serving=3, healthy=1),
        _sizes(least=2, wanted=2, serving=2, healthy=0),
        _sizes(least=2, wanted=2, serving=2, healthy=None),
    ):
        assert rings(alarm, [WELL, *[ill] * EVALUATIONS])
        assert not rings(alarm, [WELL, ill])


def test_replicas_that_never_come_ring_after_a_start_up(spot: World) -> None:
    """No capacity, or instances that are given up one after the other: none is in service to be ill."""
    gone = _sizes(least=2, wanted=3, serving=0, healthy=None)
    one_short = _sizes(least=2, wanted=6, serving=5, healthy=5)
    alarm, enough = _alarm(spot, "MissingHosts"), missing_minutes(lock_of("cpu"))

    assert enough > BOOT_MINUTES
    assert rings(alarm, [WELL] + [gone] * enough)
    assert rings(alarm, [WELL] + [one_short] * enough)
    assert not rings(alarm, [WELL] + [gone] * (enough - 1))


@pytest.mark.parametrize("name", ["HealthyHosts", "MissingHosts"])
def test_a_group_that_reports_nothing_rings(cpu: World, name: str) -> None:
    """Group metrics that somebody switched off must not look like a fleet that sleeps."""
    assert rings(_alarm(cpu, name), [{"HealthyHostCount": 2}] * 60)


def test_a_fleet_that_serves_is_well(cpu: World) -> None:
    """More than asked for is fine, too: a rollout starts the new one first."""
    ahead = _sizes(least=1, wanted=2, serving=3, healthy=3)

    for name in ("HealthyHosts", "MissingHosts", "Errors", "Latency"):
        assert not rings(_alarm(cpu, name), [{**ahead, "RequestCount": 100, "TargetResponseTime": 0.1}] * 60)


def test_errors_are_a_share_of_all_that_was_asked(cpu: World) -> None:
    """The load balancer counts a request that found no target as failed, and not as a request."""
    alarm = _alarm(cpu, "Errors")
    awake = {"GroupDesiredCapacity": 2.0}

    assert value(alarm, {**awake, "RequestCount": 200, "HTTPCode_Target_5XX_Count": 3}) == 1.5
    assert value(alarm, {**awake, "RequestCount": 100, "HTTPCode_ELB_5XX_Count": 4}) == 4
    assert value(alarm, {**awake, "HTTPCode_ELB_5XX_Count": 7}) == 100
    assert value(alarm, {"RequestCount": 100, "HTTPCode_Target_5XX_Count": 2}) == 2
    assert value(alarm, {**awake, "RequestCount": 100}) == 0
    assert value(alarm, awake) is None
    assert rings(alarm, [{**awake, "HTTPCode_ELB_5XX_Count": 7}] * 2)


def test_slow_alarms_do_not_hold_up_a_rollout(cpu: World) -> None:
    """Those that stop it react before it goes on; sizes that change are no fault at all."""
    group = cpu.only("fleet", "AWS::AutoScaling::AutoScalingGroup")
    preferences = group["UpdatePolicy"]["AutoScalingInstanceRefresh"]["Preferences"]
    named = {row["Ref"].partition("Alarm")[0] for row in preferences["AlarmSpecification"]["Alarms"]}

    assert named == {"Errors", "Latency", "HealthyHosts"}


def test_the_dashboard_is_one_picture_of_health(cpu: World) -> None:
    """Release, every alarm that wakes somebody, traffic, times, failures, replicas, cores, what is paid."""
    text = json.dumps(cpu.properties("fleet", "AWS::CloudWatch::Dashboard")["DashboardBody"])

    for part in (
        "abababababab",
        "RequestCount",
        "TargetResponseTime",
        "HTTPCode_Target_5XX_Count",
        "HTTPCode_ELB_5XX_Count",
        "HealthyHostCount",
        "GroupDesiredCapacity",
        "CoreUse",
        "RequestsInFlight",
        "GroupTotalInstances",
        "WarmPoolTotalCapacity",
    ):
        assert part in text, part
    woken = [name for name in cpu.all("fleet", "AWS::CloudWatch::Alarm") if not name.startswith("Scale")]
    assert len(woken) == 4
    assert all(f'"{name}", \\"Arn' in text or name in text for name in woken)
