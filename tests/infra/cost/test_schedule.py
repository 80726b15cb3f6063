"""A schedule's hours are those that a clock would count, minute by minute."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from infra.cost.cron import parse, zone_of
from infra.cost.errors import ScheduleUnreadable
from infra.cost.schedule import LOOK_BACK, Bounds, Entry, hours_a_month, shares
from settings.cron import FIVE, SIX
from settings.endpoint import ScheduledScaling
from settings.schedule import Schedule

MINUTE = timedelta(minutes=1)
BASE = Bounds(1, 4)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")
CHANGES = (datetime(2026, 3, 28), datetime(2026, 10, 24), datetime(2026, 3, 7), datetime(2026, 4, 4),
           datetime(2026, 6, 1))  # fmt: skip
"""A day before the clocks change in one of the zones, and an ordinary one."""


def _by_the_clock(
    entries: list[Entry], begin: datetime, end: datetime, bounds: Bounds
) -> dict[Bounds, Fraction]:
    """Look at the clock on every wall each minute; a local time that comes again does not count."""
    spent: dict[Bounds, int] = {}
    moment = begin - timedelta(days=8)
    while moment < end:
        for entry in entries:
            local = moment.astimezone(entry.zone)
            if local.fold == 0 and entry.cron.at(local.replace(tzinfo=None)):
                bounds = entry.applied_to(bounds)
        if moment >= begin:
            spent[bounds] = spent.get(bounds, 0) + 1
        moment += MINUTE
    whole = (end - begin) // MINUTE
    return {each: Fraction(minutes, whole) for each, minutes in spent.items()}


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    """Entries that fire at least weekly, so that a week before the window is enough to know the state."""
    minute = draw(st.sampled_from(["0", "30", "*/20", "59", "5,45"]))
    hour = draw(st.sampled_from(["0", "2", "1-3", "*/6", "22", "*"]))
    weekday = draw(st.sampled_from(["*", "MON-FRI", "0", "7", "6"]))
    return Entry(
        cron=parse(f"{minute} {hour} * * {weekday}"),
        zone=ZoneInfo(draw(st.sampled_from(ZONES))),
        least=draw(st.none() | st.integers(0, 3)),
        most=draw(st.none() | st.integers(0, 5)),
    )


@settings(max_examples=25, deadline=None)
@given(st.lists(entries(), max_size=3), st.sampled_from(CHANGES), st.integers(1, 3))
@example([Entry(parse("30 2 * * *"), ZoneInfo("Europe/Berlin"), 0, 0)], CHANGES[0], 2)
@example([Entry(parse("30 2 * * *"), ZoneInfo("Europe/Berlin"), 0, 0),
          Entry(parse("0 3 * * *"), ZoneInfo("Europe/Berlin"), 2, 2)], CHANGES[1], 2)  # fmt: skip
def test_shares_are_those_of_a_clock(found: list[Entry], day: datetime, days: int) -> None:
    """Over daylight saving in both directions, by an hour and by half of one."""
    begin = day.replace(tzinfo=timezone.utc)
    end = begin + timedelta(days=days)
    # What fired more than a week ago was overwritten, bound by bound, or set the same again.
    before = _state_at(found, begin - timedelta(days=8))

    assert shares(found, BASE, begin, end) == _by_the_clock(found, begin, end, before)


def _state_at(found: list[Entry], when: datetime) -> Bounds:
    bounds = BASE
    moments = sorted(
        (moment, at)
        for at, entry in enumerate(found)
        for moment in entry.cron.firings(when - LOOK_BACK, when, entry.zone)
    )
    for _, at in moments:
        bounds = found[at].applied_to(bounds)
    return bounds


def test_no_schedule_is_730_hours_of_the_base() -> None:
    """In a leap year, too."""
    assert hours_a_month([], BASE, 2026) == {BASE: 730} == hours_a_month([], BASE, 2028)


def test_office_hours_in_a_zone_with_daylight_saving() -> None:
    """08:00 to 18:00 from Monday to Friday: 261 such days in 2026, ten hours each whatever the season."""
    berlin = ZoneInfo("Europe/Berlin")
    found = hours_a_month(
        [
            Entry(parse("0 8 * * MON-FRI"), berlin, 2, 6),
            Entry(parse("0 18 * * MON-FRI"), berlin, 0, 0),
        ],
        BASE,
        2026,
    )

    assert found == {Bounds(2, 6): Fraction(261 * 10, 12), Bounds(0, 0): 730 - Fraction(261 * 10, 12)}


@pytest.mark.parametrize(
    ("five", "six"),
    [
        ("0 8 * * 1-5", "cron(0 8 ? * MON-FRI *)"),
        ("0 8 * * 0", "cron(0 8 ? * 1 *)"),
        ("0 8 * * 7", "cron(0 8 ? * SUN *)"),
        ("*/15 0-6/2 1,15 JAN,JUL *", "cron(0/15 0-6/2 1,15 1,7 ? *)"),
    ],
)
def test_both_syntaxes_say_the_same(five: str, six: str) -> None:
    """A fleet's five fields and an endpoint's six."""
    assert parse(five) == parse(six)


def test_a_day_of_the_month_or_of_the_week_is_enough_where_both_are_named() -> None:
    """crontab(5): the 13th, and every Friday."""
    cron = parse("0 0 13 * FRI")
    days = [moment.day for moment in cron.firings(_utc(2026, 11, 1), _utc(2026, 12, 1), ZoneInfo("UTC"))]

    assert days == [6, 13, 20, 27]
    sixteenth = parse("0 0 16 * FRI").firings(_utc(2026, 11, 1), _utc(2026, 11, 21), ZoneInfo("UTC"))
    assert [moment.day for moment in sixteenth] == [6, 13, 16, 20]


def _utc(year: int, month: int, day: int) -> datetime:
    return datetime(year, month, day, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "expression",
    [
        "", "0 8 * *", "0 8 * * * *", "60 8 * * *", "0 24 * * *", "0 8 0 * *", "0 8 * 13 *", "0 8 * * 8",
        "0 8 * * MOON", "0 8-6 * * *", "*/0 8 * * *", "0 8 ? * *", "cron(0 8 * * * *)", "cron(0 8 ? * ? *)",
        "cron(0 8 L,3 * ? *)", "cron(0 8 ? * L *)", "cron(0 8 ? * 6#3 *)", "rate(1 hour)", "0 8 * * 1--5",
    ],
)  # fmt: skip
def test_what_aws_would_refuse_is_refused(expression: str) -> None:
    """With the expression and the reason."""
    with pytest.raises(ScheduleUnreadable) as refused:
        parse(expression)

    assert expression in refused.value.what


def test_the_last_day_of_a_month_is_the_last_one() -> None:
    """In a leap year, too."""
    cron = parse("cron(0 8 L * ? *)")
    days = [m.date().isoformat() for m in cron.firings(_utc(2028, 1, 1), _utc(2028, 5, 1), ZoneInfo("UTC"))]

    assert days == ["2028-01-31", "2028-02-29", "2028-03-31", "2028-04-30"]


ITEMS = {
    field.name: st.sampled_from(["*", str(field.low), str(field.high), f"{field.low}-{field.high}/2", "*/3"])
    for field in (*FIVE, *SIX)
}


@given(st.tuples(*(ITEMS[field.name] for field in SIX)), st.sampled_from(["L", "?", "1,15"]))
def test_what_the_settings_take_the_bill_can_read(fields: tuple[str, ...], day: str) -> None:
    """One grammar for both: a schedule that deploys must not end the cost command."""
    words = list(fields)
    words[2], words[4] = day, (words[4] if day == "?" else "?")
    entry = {"name": "night", "cron": " ".join(words), "min_count": 1, "max_count": 2}
    five = {"name": "night", "cron": " ".join([*fields[:2], "1,15", *fields[3:5]]), "min": 1}

    assert parse(f"cron({ScheduledScaling.model_validate(entry).cron})")
    assert parse(Schedule.model_validate(five).cron)


def test_a_zone_that_nobody_knows_is_refused() -> None:
    """No zone at all is UTC."""
    assert zone_of(None).key == "UTC"
    with pytest.raises(ScheduleUnreadable, match="Mars/Olympus"):
        zone_of("Mars/Olympus")
