"""The size of a fleet follows its load: as far as it must, no further, and back again slowly."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifact.manifest import Bucket, graph_path
from artifact.release import Throughput
from infra.scaling_steps import Step, growing, shrinking
from infra.throughput import HEADROOM, per_replica_in_flight, per_replica_minute
from settings.fleet import Scaling
from tests.infra.metric_math import Sample, rings, value
from tests.infra.worlds import CPU, World, lock_of, settings_of, synthesise

POLICY = "AWS::AutoScaling::ScalingPolicy"
ALARM = "AWS::CloudWatch::Alarm"
FACTORS = st.fixed_dictionaries(
    {
        "max_out_factor": st.floats(1.01, 10),
        "max_in_factor": st.floats(0, 0.99),
        "out_tolerance": st.floats(0, 0.9),
        "in_tolerance": st.floats(0, 0.9),
    }
)
SCALING = FACTORS.map(lambda values: Scaling(**values))
SIZES = st.integers(1, 1000)


def _named(world: World, kind: str, name: str) -> dict[str, Any]:
    (found,) = [b["Properties"] for key, b in world.all("fleet", kind).items() if key.startswith(name)]
    return dict(found)


def _change(steps: tuple[Step, ...], percent: float) -> int | None:
    """Percent by which the fleet changes; None below the first step."""
    for step in steps:
        if step.lower <= percent and (step.upper is None or percent < step.upper):
            return step.change
    return None


def _after(size: int, change: int) -> int:
    """Auto Scaling's rounding: towards nothing, and at least one (PutScalingPolicy)."""
    share = size * change / 100
    moved = max(1, math.floor(round(abs(share), 9)))
    return size + (moved if change > 0 else -moved)


@given(SCALING)
def test_steps_leave_no_gap_and_go_one_way(scaling: Scaling) -> None:
    """What the API demands: adjacent intervals, the last one open, whole percents, at most 20."""
    for steps, sign in ((growing(scaling), 1), (shrinking(scaling), -1)):
        assert 1 <= len(steps) <= 20
        assert [step.upper for step in steps] == [*(step.lower for step in steps[1:]), None]
        assert all(step.upper is None or step.lower < step.upper for step in steps)
        assert all(sign * step.change >= 1 for step in steps)
        changes = [sign * step.change for step in steps]
        assert changes == sorted(changes)


@given(SCALING, SIZES, SIZES)
def test_a_fleet_grows_at_most_by_the_factor_and_never_stands_still(
    scaling: Scaling, size: int, needed: int
) -> None:
    """Replicas that are missing beyond the tolerance bring at least one; no step passes the factor."""
    percent = 100 * (needed - size) / size
    change = _change(growing(scaling), percent)

    if percent < max(1, 100 * scaling.out_tolerance) - 1e-6:
        assert change is None
    elif percent > max(1, 100 * scaling.out_tolerance) + 1e-6:
        assert change is not None
        grown = _after(size, change)
        assert size < grown <= max(size + 1, scaling.max_out_factor * size + 1e-6)


@given(SCALING, SIZES, st.integers(0, 1000))
def test_a_fleet_never_shrinks_below_what_is_needed(scaling: Scaling, size: int, needed: int) -> None:
    """Nor by more than the factor; the rounding of Auto Scaling included."""
    percent = 100 * (size - needed) / size
    change = _change(shrinking(scaling), percent)

    if change is not None:
        shrunk = _after(size, change)
        assert needed <= shrunk < size
        assert shrunk >= min(size - 1, scaling.max_in_factor * size - 1e-6)


@given(SCALING, SIZES, st.integers(0, 1000))
def test_under_steady_load_the_size_settles(scaling: Scaling, size: int, needed: int) -> None:
    """Step after step it comes to rest within the tolerances, and never goes back and forth."""
    sizes = [size]
    for _ in range(2000):
        now = sizes[-1]
        out = _change(growing(scaling), 100 * (needed - now) / now)
        back = _change(shrinking(scaling), 100 * (now - needed) / now)
        assert out is None or back is None
        change = out if out is not None else back
        if change is None or (now == 1 and change < 0) or _after(now, change) == 0:
            break
        sizes.append(_after(now, change))
    else:
        raise AssertionError("it never settles")
    turns = [a for a, b, c in zip(sizes, sizes[1:], sizes[2:]) if (b - a) * (c - b) < 0]
    assert len(turns) <= 1  # once: past the need by the width of a band, and back


def _load(*, wanted: int, serving: int, in_flight: float | None, requests: float | None) -> dict[str, Sample]:
    return {
        "GroupDesiredCapacity": wanted,
        "GroupInServiceInstances": serving,
        "RequestsInFlight": in_flight,
        "RequestCount": requests,
    }


def test_missing_replicas_are_counted_whole_and_against_what_is_wanted(cpu: World) -> None:
    """1.4 in flight is the target here: 4 replicas with 2 each need 6; those on their way count."""
    alarm = _named(cpu, ALARM, "ScaleOutAlarm")

    assert value(alarm, _load(wanted=4, serving=4, in_flight=2.0, requests=0)) == 50
    assert value(alarm, _load(wanted=6, serving=4, in_flight=2.0, requests=0)) == 0
    assert value(alarm, _load(wanted=4, serving=4, in_flight=1.4, requests=0)) == 0
    assert value(alarm, _load(wanted=0, serving=0, in_flight=None, requests=None)) is None


def test_replicas_are_idle_if_neither_measure_needs_them(cpu: World) -> None:
    """2,100 requests a minute is the other one; silence of the replicas takes nothing away."""
    alarm = _named(cpu, ALARM, "ScaleInAlarm")

    assert value(alarm, _load(wanted=4, serving=4, in_flight=0.1, requests=None)) == 75
    assert value(alarm, _load(wanted=4, serving=4, in_flight=0.1, requests=6301)) == 0
    assert value(alarm, _load(wanted=4, serving=4, in_flight=1.2, requests=10)) == 0
    assert value(alarm, _load(wanted=4, serving=4, in_flight=None, requests=10)) is None
    silent = _load(wanted=4, serving=4, in_flight=None, requests=None)
    assert not rings(alarm, [silent] * 60)


def test_the_fleet_shrinks_after_minutes_and_grows_after_less(cpu: World) -> None:
    """One busy minute in the window keeps what there is."""
    busy = _load(wanted=4, serving=4, in_flight=2.0, requests=100)
    quiet = _load(wanted=4, serving=4, in_flight=0.0, requests=0)
    out, back = _named(cpu, ALARM, "ScaleOutAlarm"), _named(cpu, ALARM, "ScaleInAlarm")

    assert rings(out, [quiet, busy, busy])
    assert not rings(out, [busy, quiet, busy])
    assert rings(back, [busy] + [quiet] * 10)
    assert not rings(back, [quiet] * 5 + [busy] + [quiet] * 9)


def test_alarms_of_the_scaling_wake_nobody(cpu: World) -> None:
    """They speak to their policy alone, and the policy's steps are those of the settings."""
    for name, steps in (("ScaleOut", growing(Scaling())), ("ScaleIn", shrinking(Scaling()))):
        alarm, policy = _named(cpu, ALARM, f"{name}Alarm"), cpu.all("fleet", POLICY)
        (key,) = [key for key in policy if key.startswith(name)]
        found = policy[key]["Properties"]
        assert alarm["AlarmActions"] == [{"Ref": key}]
        assert (found["AdjustmentType"], found["MinAdjustmentMagnitude"]) == ("PercentChangeInCapacity", 1)
        assert found["MetricAggregationType"] == "Minimum"
        rows = found["StepAdjustments"]
        assert [row["ScalingAdjustment"] for row in rows] == [step.change for step in steps]
        assert [row["MetricIntervalLowerBound"] + alarm["Threshold"] for row in rows] == [
            s.lower for s in steps
        ]


def test_requests_a_minute_are_the_back_up(cpu: World) -> None:
    """70 % of 50 requests a second, in requests a minute and replica; it only adds."""
    scaling = _named(cpu, POLICY, "GroupScalingPolicyRequests")["TargetTrackingConfiguration"]

    assert scaling["PredefinedMetricSpecification"]["PredefinedMetricType"] == "ALBRequestCountPerTarget"
    assert (scaling["TargetValue"], scaling["DisableScaleIn"]) == (2100, True)


def test_replicas_that_tell_nothing_leave_it_to_requests(tmp_path: Path) -> None:
    """metrics_seconds = 0: the back-up adds and takes away, no alarm waits for what never comes."""
    world = synthesise(tmp_path, settings_of(CPU, {"serve": {"metrics_seconds": 0}}), lock_of("cpu"))

    policy = world.properties("fleet", POLICY)
    assert policy["TargetTrackingConfiguration"]["DisableScaleIn"] is False
    assert not [name for name in world.all("fleet", ALARM) if name.startswith("Scale")]


@pytest.mark.parametrize(
    ("settings", "target", "types", "batches", "speed", "expected"),
    [
        ({}, "cpu", ["c5.large"], [1], 50.0, 1.4),  # 2 processors, 1 row: 0.7 * 2
        ({}, "cpu", ["c5.xlarge"], [1, 8], 500.0, 22.4),  # 4 processors, 8 rows: 0.7 * 32
        ({}, "cpu", ["c5.xlarge", "c5.large"], [8], 500.0, 11.2),  # the weakest type counts
        ({"serve": {"workers": 3}}, "cpu", ["c5.large"], [4], 500.0, 8.4),  # 0.7 * 12
        ({}, "inf1", ["inf1.6xlarge"], [8], 5000.0, 89.6),  # 16 cores, one a copy: 0.7 * 128
        ({}, "inf1", ["inf1.xlarge"], [8], 20.0, 14.0),  # 20 a second answer 20 in a second: 0.7 * 20
        ({"alarms": {"latency_p99_ms": 100}}, "cpu", ["c5.large"], [8], 50.0, 3.5),  # 5 in 100 ms
        ({"alarms": {"latency_p99_ms": 1}}, "cpu", ["c5.large"], [8], 50.0, 1.0),  # never below one
    ],
)
def test_the_target_is_what_batches_hold_and_what_is_answered_in_time(
    settings: dict[str, Any], target: str, types: list[str], batches: list[int], speed: float, expected: float
) -> None:
    """70 % of the smaller of the two, of a lock that was measured."""
    lock = lock_of(target, throughput=Throughput(per_second=speed, measured=True, source="a test"))
    buckets = tuple(Bucket(batch=batch, length=128, path=graph_path(batch, 128)) for batch in batches)
    lock = msgspec.structs.replace(lock, artifact=msgspec.structs.replace(lock.artifact, buckets=buckets))

    assert HEADROOM == 0.7
    assert per_replica_in_flight(settings_of(settings), lock, types) == pytest.approx(expected)
    assert per_replica_minute(lock) == math.floor(speed * 60 * 0.7)


def test_a_target_of_the_settings_is_taken() -> None:
    """And windows, factors and tolerances with it."""
    scaling = {
        "in_flight": 9.5,
        "out_minutes": 1,
        "in_minutes": 30,
        "max_out_factor": 2.0,
        "in_tolerance": 0.2,
    }
    fleet = {**CPU["fleet"], "scaling": scaling}
    with tempfile.TemporaryDirectory() as folder:
        world = synthesise(Path(folder), settings_of(CPU, {"fleet": fleet}), lock_of("cpu"))

    out, back = _named(world, ALARM, "ScaleOutAlarm"), _named(world, ALARM, "ScaleInAlarm")
    assert value(out, _load(wanted=2, serving=2, in_flight=19.0, requests=0)) == 100
    assert (out["EvaluationPeriods"], back["EvaluationPeriods"], back["Threshold"]) == (1, 30, 20)
    (policy,) = [b for name, b in world.all("fleet", POLICY).items() if name.startswith("ScaleOut")]
    assert policy["Properties"]["StepAdjustments"][-1]["ScalingAdjustment"] == 100
