"""Time-outs stand in the right order, whatever the settings say."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifact import serving
from infra.compatibility import check
from infra.endpoint_compatibility import LONGEST_DEADLINE_SECONDS
from infra.endpoint_limits import MAX_TIMEOUT_SECONDS, MIN_TIMEOUT_SECONDS, startup_timeout
from infra.incompatible import CheckpointTooShort, StartsTooSlowly
from infra.rhythm import EVALUATIONS, PERIOD_SECONDS, REACTION_SECONDS
from infra.timing import (
    CONTAINER_STOP_SECONDS,
    MAX_HOOK_SECONDS,
    PULL_AND_FETCH_SECONDS,
    SPOT_NOTICE_SECONDS,
    UNIT_STOP_SECONDS,
    drain_seconds,
    grace_seconds,
    hook_seconds,
    idle_seconds,
    launch_seconds,
    missing_minutes,
    start_seconds,
)
from settings.model import Serve
from tests.infra.worlds import CERTIFICATE, CPU, MORNING, NIGHT, lock_of, settings_of, synthesise

DEADLINES = st.floats(min_value=0.01, max_value=60)
AN_ENDPOINTS = st.floats(min_value=0.01, max_value=LONGEST_DEADLINE_SECONDS)
SERVE = DEADLINES.map(lambda seconds: Serve(deadline_seconds=seconds))
MINUTES = st.integers(1, 2880)


@given(SERVE)
def test_a_leaving_instance_outlasts_its_slowest_request(serve: Serve) -> None:
    """Ten seconds more for the target, and Auto Scaling waits for that and for the unit's stop."""
    drain = drain_seconds(serve)

    assert serve.deadline_seconds + 10 <= drain <= math.ceil(serve.deadline_seconds) + 10
    assert drain <= hook_seconds(serve)
    assert hook_seconds(serve) >= UNIT_STOP_SECONDS


@given(SERVE)
def test_a_spot_instance_has_time_to_drain(serve: Serve) -> None:
    """AWS takes it two minutes after its notice, whatever still runs."""
    assert hook_seconds(serve) < SPOT_NOTICE_SECONDS


@given(st.integers(min_value=0, max_value=10_000))
def test_a_new_instance_is_given_up_only_after_its_longest_start(startup: int) -> None:
    """Pull and fetch within the unit's limit, then loading within the grace; longer is refused."""
    lock = lock_of("cpu", startup_seconds=startup)
    fleet = {"fleet": {"instance_types": ["c5.large"]}}

    launch = launch_seconds(lock)
    assert launch == PULL_AND_FETCH_SECONDS + grace_seconds(lock) > grace_seconds(lock)
    assert missing_minutes(lock) * 60 >= launch + REACTION_SECONDS
    if launch <= MAX_HOOK_SECONDS:
        check(settings_of(fleet), lock)
    else:
        with pytest.raises(StartsTooSlowly):
            check(settings_of(fleet), lock)


@given(SERVE)
def test_the_server_keeps_a_connection_longer_than_the_load_balancer(serve: Serve) -> None:
    """And the load balancer longer than a request may take."""
    assert serve.deadline_seconds < idle_seconds(serve) < serving.KEEP_ALIVE_SECONDS


def test_stopping_is_draining() -> None:
    """Server, container, unit: each waits for the one inside it."""
    assert serving.DRAIN_SECONDS <= CONTAINER_STOP_SECONDS < UNIT_STOP_SECONDS
    assert serving.DRAIN_SECONDS < serving.STOP_TIMEOUT_SECONDS


@given(MINUTES)
def test_an_alarm_can_fire_before_a_rollout_goes_on(minutes: int) -> None:
    """Period times evaluations is less than the pause, or the settings are refused."""
    fleet = {"fleet": {"instance_types": ["c5.large"], "checkpoint_delay_minutes": minutes}}

    assert REACTION_SECONDS == PERIOD_SECONDS * EVALUATIONS
    if minutes * 60 > REACTION_SECONDS:
        check(settings_of(fleet), lock_of("cpu"))
    else:
        with pytest.raises(CheckpointTooShort):
            check(settings_of(fleet), lock_of("cpu"))


@given(st.integers(min_value=0, max_value=3000))
def test_a_boot_may_take_twice_what_the_lock_says(startup: int) -> None:
    """At least five minutes; within the platform's limits on an endpoint."""
    lock = lock_of("cpu", startup_seconds=startup)

    assert grace_seconds(lock) == max(300, 2 * startup)
    assert MIN_TIMEOUT_SECONDS <= 300
    assert startup_timeout(lock) == min(max(300, 2 * startup), MAX_TIMEOUT_SECONDS)


TABLES = st.fixed_dictionaries(
    {
        "serve": st.fixed_dictionaries(
            {"deadline_seconds": AN_ENDPOINTS, "queue_limit": st.integers(1, 10_000)}
        ),
        "fleet": st.fixed_dictionaries(
            {
                "instance_types": st.lists(
                    st.sampled_from(["c5.large", "m5.xlarge"]), min_size=1, unique=True
                ),
                "min_size": st.integers(0, 3),
                "max_size": st.integers(3, 9),
                "on_demand_base": st.integers(0, 3),
                "schedule": st.sampled_from([[], [NIGHT, MORNING]]),
                "max_lifetime_days": st.integers(1, 365),
                "scaling": st.fixed_dictionaries(
                    {
                        "in_flight": st.none() | st.floats(0.1, 1000),
                        "out_minutes": st.integers(1, 60),
                        "in_minutes": st.integers(60, 240),
                        "max_out_factor": st.floats(1.01, 10),
                        "max_in_factor": st.floats(0.01, 0.99),
                        "out_tolerance": st.floats(0, 0.99),
                        "in_tolerance": st.floats(0, 0.99),
                    }
                ),
                "certificate_arn": st.sampled_from([None, CERTIFICATE]),
                "bake_minutes": MINUTES,
                "checkpoint_delay_minutes": st.integers(3, 2880),
                "checkpoints_percent": st.sampled_from([[1, 100], [10, 50, 100], [100]]),
            }
        ),
        "project": st.fixed_dictionaries({"retain_data": st.booleans()}),
    }
)
RESERVES = st.sampled_from(
    [{"spot_percent": 0}, {"spot_percent": 40}, {"spot_percent": 100}, {"warm_pool": {}},
     {"warm_pool": {"max_prepared": 4}}]
)  # fmt: skip


@given(tables=TABLES, reserve=RESERVES, startup=st.integers(0, 3000))
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_the_settings_the_templates_break_no_rule(
    tables: dict[str, Any], reserve: dict[str, Any], startup: int
) -> None:
    """The rules on templates ask the same of what was written: a synthesis that passes has them all."""
    with tempfile.TemporaryDirectory() as folder:
        chosen = settings_of(CPU, tables, {"fleet": reserve})
        world = synthesise(Path(folder), chosen, lock_of("cpu", startup_seconds=startup))

    assert "fleet" in world.templates


@given(st.integers(0, 3600))
def test_a_start_may_take_twice_what_was_measured(seconds: int) -> None:
    """And a quarter of an hour at least."""
    limit = start_seconds(lock_of("cpu", startup_seconds=seconds))

    assert limit == max(900, 2 * seconds)
    assert limit < launch_seconds(lock_of("cpu", startup_seconds=seconds))
