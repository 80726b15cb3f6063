"""However many instances ask, and however: no more than the fleet's share goes in an hour."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shlex import quote
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifact.aws import AwsDenied, AwsUnreachable
from infra.replacements import MAX_SLOTS, slots, smallest
from settings.model import Fleet
from tests.host.asking import BUCKET, PREFIX, some
from tests.host.loopback_aws import Aws
from tests.kit.command import CHECKOUT

SCRIPT = CHECKOUT / "infra/data/traceship-host.sh"


def _at_once(work: list[Callable[[], Any]]) -> list[Any]:
    """Results of all, which begin together."""
    barrier = threading.Barrier(len(work))

    def run(one: Callable[[], Any]) -> Any:
        barrier.wait()
        return one()

    with ThreadPoolExecutor(len(work)) as pool:
        return list(pool.map(run, work))


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("old", [False, True])
def test_of_many_instances_at_once_as_many_win_as_there_are_slots(aws: Aws, count: int, old: bool) -> None:
    """Into empty slots and into those whose hour is over alike, and nobody wins a slot twice."""
    for slot in range(count if old else 0):
        aws.put(f"/{BUCKET}/{PREFIX}/{slot}", b"i-before\n", age=4000)
    askers = [some(aws, count) for _ in range(12)]

    taken = _at_once([lambda one=one, at=at: one.take(f"i-{at}\n") for at, one in enumerate(askers)])

    won = [key for key in taken if key is not None]
    assert sorted(won) == [f"{PREFIX}/{slot}" for slot in range(count)]
    assert some(aws, count).take("i-late\n") is None
    for key in won:
        assert aws.objects[f"/{BUCKET}/{key}"][0] == f"i-{taken.index(key)}\n".encode()


def test_script_and_watch_share_the_slots(aws: Aws, tmp_path: Path) -> None:
    """Six of each ask at once, for two slots."""
    askers: list[Callable[[], bool]] = [lambda: some(aws, 2).take("i-watch\n") is not None] * 4
    askers += [lambda at=at: _script_takes(aws, tmp_path / str(at), 2) == 0 for at in range(4)]

    assert sum(_at_once(askers)) == 2


@pytest.mark.parametrize(("denied", "answer"), [(set(), 0), ({"write"}, 2)])
def test_the_script_tells_a_refusal_from_no_answer(
    aws: Aws, tmp_path: Path, denied: set[str], answer: int
) -> None:
    """0: taken, 1: all in use, 2: could not be asked."""
    aws.denied |= denied

    assert _script_takes(aws, tmp_path / "a", 1) == answer
    assert _script_takes(aws, tmp_path / "b", 1) == answer + (answer == 0)


def _script_takes(aws: Aws, folder: Path, count: int) -> int:
    """Code of the script's own function, in a shell with the stand-in for ``aws``."""
    folder.mkdir()
    stand_in = CHECKOUT / "tests/host/standins.py"
    (folder / "aws").write_text(f'#!/bin/sh\nexec {quote(sys.executable)} {quote(str(stand_in))} aws "$@"\n')
    (folder / "aws").chmod(0o755)
    text = SCRIPT.read_text().replace("STATE=/run/traceship", f"STATE={folder}")
    functions = text[: text.index('mkdir -p "$STATE"')]
    environment = {
        "PATH": f"{folder}:/usr/bin:/bin",
        "PYTHONPATH": str(CHECKOUT),
        "AWS_ENDPOINT_URL": aws.url,
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "INSTANCE_ID": "i-script",
        "TRACESHIP_BUCKET": BUCKET,
        "TRACESHIP_BUCKET_OWNER": "111122223333",
        "TRACESHIP_SLOT_PREFIX": PREFIX,
        "TRACESHIP_SLOTS": str(count),
    }
    return subprocess.run(
        ["sh", "-c", f"{functions}\ntake_slot because"], env=environment, timeout=60, check=False
    ).returncode


@given(st.lists(st.tuples(st.integers(0, 7200), st.integers(1, 3)), max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
def test_in_no_hour_do_more_go_than_there_are_slots(aws: Aws, steps: list[tuple[int, int]]) -> None:
    """Whatever hour one counts from: time passes, somebody asks, and so on."""
    aws.objects.clear()
    asker = some(aws, 2)
    wins: list[int] = []
    passed = 0
    for pause, asks in steps:
        passed += pause
        for path, (content, changed) in list(aws.objects.items()):
            aws.objects[path] = (content, changed - pause)
        wins += [passed for _ in range(asks) if asker.take("i-one\n") is not None]

    for begin in wins:
        assert sum(begin <= win < begin + 3599 for win in wins) <= 2


def test_what_s3_does_not_answer_is_an_error_and_no_slot(aws: Aws) -> None:
    """Denied, or nobody there."""
    aws.denied.add("write")
    with pytest.raises(AwsDenied):
        some(aws, 1).take("i-1\n")

    aws.url = "http://127.0.0.1:1"
    with pytest.raises(AwsUnreachable):
        some(aws, 1).take("i-1\n")


def test_a_slot_is_aged_by_s3s_clock(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """An instance whose clock is wrong cannot take what is in use; the header Date decides."""
    aws.put(f"/{BUCKET}/{PREFIX}/0", b"i-before\n", age=60)
    assert abs(aws.objects[f"/{BUCKET}/{PREFIX}/0"][1] + 60 - time.time()) < 5

    assert some(aws, 1).take("i-1\n") is None


@pytest.mark.parametrize(("size", "share"), [(0, 1), (1, 1), (19, 1), (20, 2), (99, 9), (1000, MAX_SLOTS)])
def test_a_tenth_of_the_smallest_fleet_may_go_and_at_least_one(size: int, share: int) -> None:
    """Never more than a tenth of what is there, but one."""
    assert slots(size) == share


def test_the_script_and_the_watch_hold_a_slot_for_the_same_time() -> None:
    """Else one of them would take what the other holds."""
    from artifact.host import SLOT_SECONDS

    assert re.findall(r"^SLOT_SECONDS=(\d+)$", SCRIPT.read_text(), re.MULTILINE) == [str(SLOT_SECONDS)]


def test_a_fleet_that_sleeps_is_as_small_as_its_schedule_makes_it() -> None:
    """A tenth of the day's size could be all that is there at night."""
    night = {"name": "night", "cron": "0 20 * * *", "min": 10}
    morning = {"name": "morning", "cron": "0 6 * * *", "min": 100}
    by_day: dict[str, Any] = {"instance_types": ["inf1.xlarge"], "min_size": 100, "max_size": 200}

    assert smallest(Fleet.model_validate(by_day)) == 100
    assert smallest(Fleet.model_validate({**by_day, "schedule": [night, morning]})) == 10
