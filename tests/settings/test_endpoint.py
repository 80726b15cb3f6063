"""[endpoint] and below: what goes together, and schedules."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from settings.cron import parse_six
from settings.endpoint import Endpoint
from settings.load import SettingsInvalid, load
from settings.timezone import check_zone


def _endpoint(**values: Any) -> Endpoint:
    return Endpoint.model_validate({"instance_type": "ml.c5.large", **values})


NIGHT = {"name": "night", "cron": "0 20 ? * * *", "min_count": 0, "max_count": 1}


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"min_count": 0}, "cannot be empty"),
        ({"schedule": [NIGHT]}, "schedule night is 0"),
        ({"async": {}, "min_count": 0, "scaling": {"enabled": False}}, "nothing would start an instance"),
        ({"schedule": [{**NIGHT, "min_count": 1}], "scaling": {"enabled": False}}, "needs scaling.enabled"),
        ({"async": {}, "schedule": [NIGHT, NIGHT]}, "two actions of schedule are called night"),
        ({"async": {}, "schedule": [{**NIGHT, "min_count": 2}]}, "min_count 2 is above max_count 1"),
        ({"async": {}, "canary": {}}, "cannot name a variant"),
        ({"async": {}, "capture": {"percent": 1}}, "in S3 anyway"),
        ({"canary": {}, "deployment": {}}, "both shift traffic"),
        ({"capture": {"percent": 0}}, "to keep nothing, remove"),
        ({"capture": {"percent": 101}}, "from 1 to 100"),
        ({"capture": {"percent": 1, "json_types": ["json"]}}, "should match pattern"),
        ({"capture": {"percent": 1, "kms_key": "alias/mine"}}, "should match pattern"),
        ({"canary": {"count": 0}}, "greater than or equal to 1"),
        ({"deployment": {"canary_percent": 51}}, "less than or equal to 50"),
    ],
)
def test_what_does_not_go_together_is_refused_with_the_reason(values: dict[str, Any], why: str) -> None:
    """In the file, before anything is synthesised."""
    with pytest.raises(ValidationError, match=why):
        _endpoint(**values)


def test_an_async_endpoint_may_be_empty_by_night() -> None:
    """And begins with one instance, because SageMaker makes none with fewer."""
    endpoint = _endpoint(**{"async": {}, "min_count": 0, "schedule": [NIGHT]})

    assert endpoint.schedule[0].min_count == 0
    assert endpoint.initial_count == 1


@pytest.mark.parametrize(
    "text",
    [
        "0 20 ? * MON-FRI *",
        "*/5 * * * ? *",
        "0,30 8-18 1 JAN,JUL ? 2026-2030",
        "0 0 L * ? *",
        "15 7 ? * 2 *",
    ],
)
def test_a_schedule_as_aws_writes_it_is_taken(text: str) -> None:
    """It goes on as it is."""
    assert parse_six(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0 20 * * 1-5", "has 5 fields"),
        ("0 20 * * * *", "write [?] for one of"),
        ("0 20 ? * ? *", "write [?] for one of"),
        ("60 20 ? * * *", "no minute"),
        ("0 24 ? * * *", "no hour"),
        ("0 20 0 * ? *", "no day of month"),
        ("0 20 ? 13 * *", "no month"),
        ("0 20 ? * 8 *", "no day of week"),
        ("0 20 ? * FRI-MON *", "no day of week"),
        ("0 20 ? * mon *", "no day of week"),
        ("0 20 ? * * 1969", "no year"),
        ("0/0 20 ? * * *", "no minute"),
        ("0  20 ? * * *", "has 7 fields"),
        ("0 20 ? * L *", "no day of week"),
        ("? 20 1 * ? *", "no minute"),
        ("1-2-3 20 1 * ? *", "no minute"),
    ],
)
def test_a_schedule_that_would_never_or_always_fire_is_refused(text: str, why: str) -> None:
    """CloudFormation would say so minutes later, in the middle of a deploy."""
    with pytest.raises(ValueError, match=why):
        parse_six(text)


@given(
    st.tuples(st.integers(0, 59), st.integers(0, 23), st.integers(1, 31), st.integers(1, 12)),
    st.integers(1970, 2199),
)
def test_every_single_moment_can_be_written(moment: tuple[int, ...], year: int) -> None:
    """By day of the month."""
    minute, hour, day, month = moment

    assert parse_six(f"{minute} {hour} {day} {month} ? {year}")


@given(st.text(alphabet="0123456789 */,-?LMONFRI", max_size=30))
def test_any_text_is_taken_or_refused(text: str) -> None:
    """Never another error than the one that is worded for the author."""
    with contextlib.suppress(ValueError):
        assert parse_six(text)


def test_a_time_zone_is_one_of_the_data_base() -> None:
    """A misspelt one would be refused by CloudFormation only."""
    assert check_zone("Europe/Paris") == "Europe/Paris"
    with pytest.raises(ValueError, match="no time zone"):
        check_zone("Europe/Pari")


@pytest.mark.parametrize(
    ("text", "place", "nearest"),
    [
        ("[endpoint.capture]\npercnt = 5\n", "endpoint.capture.percnt", "percent"),
        ("[endpoint.async]\nmax_age_minute = 5\n", "endpoint.async.max_age_minute", "max_age_minutes"),
        ("[endpoint.asynch]\n", "endpoint.asynch", "async"),
        ('[[endpoint.schedule]]\nname = "a"\nzone = 1\n', "endpoint.schedule.0.zone", "timezone"),
    ],
)
def test_a_misspelt_key_below_a_table_is_refused_with_the_nearest_valid_one(
    tmp_path: Path, text: str, place: str, nearest: str
) -> None:
    """Also in a list of tables, and where a key is a word of Python's."""
    path = tmp_path / "traceship.toml"
    path.write_text(f'[endpoint]\ninstance_type = "ml.c5.large"\n{text}', encoding="utf-8")

    with pytest.raises(SettingsInvalid, match=place) as refused:
        load(path)

    assert f"did you mean `{nearest}`?" in refused.value.fix
