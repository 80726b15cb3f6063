"""Schedules: what AWS would refuse at the end of a deploy is refused by the settings."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from settings.cron import parse_five
from settings.schedule import Schedule, check_returns

RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def _item(least: int, largest: int) -> st.SearchStrategy[str]:
    numbers = st.integers(least, largest)
    ranges = st.tuples(numbers, numbers).map(lambda pair: f"{min(pair)}-{max(pair)}")
    every = st.integers(1, 30).map(lambda step: f"*/{step}")
    stepped = st.tuples(ranges, st.integers(1, 30)).map(lambda pair: f"{pair[0]}/{pair[1]}")
    return st.one_of(st.just("*"), numbers.map(str), ranges, every, stepped)


CRON = st.tuples(*(st.lists(_item(*limits), min_size=1, max_size=3).map(",".join) for limits in RANGES)).map(
    " ".join
)


def _entry(**keys: Any) -> Schedule:
    return Schedule.model_validate({"name": "night", "cron": "0 20 * * *", "min": 0, **keys})


@given(CRON)
def test_what_crontab_allows_is_let_through(cron: str) -> None:
    """Numbers, ranges, steps and lists of them in every field."""
    parse_five(cron)


@given(CRON, st.integers(0, 4), st.integers(32, 99))
def test_a_number_out_of_its_range_is_refused(cron: str, at: int, extra: int) -> None:
    """Whatever the other fields say."""
    fields = cron.split()
    fields[at] = str(RANGES[at][1] + extra)

    with pytest.raises(ValueError, match="of cron"):
        parse_five(" ".join(fields))


@given(st.text(max_size=30))
def test_any_other_text_is_refused_in_our_words(text: str) -> None:
    """Never with an error of another kind."""
    try:
        parse_five(text)
    except ValueError as error:
        assert "cron" in str(error)  # noqa: PT017 - most texts are refused, a few are cron


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("0 20 * *", "has 4 fields"),
        ("0 20 * * * *", "has 6 fields"),
        ("cron(0 20 * * ? *)", "has 6 fields"),
        ("@daily", "has 1 fields"),
        ("0 24 * * *", "'24' is no hour"),
        ("60 0 * * *", "'60' is no minute"),
        ("0 0 0 * *", "'0' is no day of month"),
        ("0 0 * 13 *", "'13' is no month"),
        ("0 0 * * 8", "'8' is no day of week"),
        ("0 0 * * ?", "no day of week"),
        ("0 0 * * fri-mon", "ends before it begins"),
        ("0 5/10 * * *", "no hour"),
        ("0 */0 * * *", "no hour"),
        ("0 1,,2 * * *", "no hour"),
        ("0 0 * * L", "no day of week"),
        ("0 0 * mon *", "no month"),
    ],
)
def test_what_is_wrong_with_a_time_is_said(cron: str, words: str) -> None:
    """The field and what may stand in it."""
    with pytest.raises(ValidationError, match=words):
        _entry(cron=cron)


def test_names_of_days_and_months_are_understood() -> None:
    """Upper or lower case; spaces between fields do not matter."""
    assert _entry(cron="0  7 * JAN-mar   MON-fri").cron == "0 7 * JAN-mar MON-fri"


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"timezone": "Berlin"}, "no time zone"),
        ({"timezone": "CEST"}, "no time zone"),
        ({"min": None}, "changes nothing"),
        ({"min": 3, "max": 2}, "must rise"),
        ({"min": 1, "desired": 0}, "must rise"),
        ({"desired": 4, "max": 3, "min": 0}, "must rise"),
        ({"name": "At night"}, "name"),
        ({"min": -1}, "min"),
    ],
)
def test_an_entry_that_could_not_work_is_refused(keys: dict[str, Any], words: str) -> None:
    """Each with its reason."""
    with pytest.raises(ValidationError, match=words):
        _entry(**keys)


def test_a_bound_that_is_set_is_set_back() -> None:
    """Nothing else ever does: a deploy leaves the live bounds alone."""
    night, morning = _entry(max=0), _entry(name="morning", cron="0 7 * * *", min=2, max=4)

    check_returns([night, morning])
    check_returns([_entry(min=None, desired=5)])
    check_returns([])
    with pytest.raises(ValueError, match="night sets max and no other entry"):
        check_returns([night, _entry(name="morning", min=2)])
    with pytest.raises(ValueError, match="same name"):
        check_returns([night, night])
