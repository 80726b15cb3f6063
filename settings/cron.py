"""AWS's two cron syntaxes, and the moments at which an expression fires.

EC2 Auto Scaling takes five fields (minute, hour, day of month, month, day of week; 0 and 7 are Sunday),
Application Auto Scaling six (a year at the end, ``?`` in one of the two days, 1 is Sunday, ``L`` is the last
day of the month). What either of them would refuse at the end of a deploy is refused here.
Sources: EC2 Auto Scaling user guide, "Scheduled scaling", and crontab(5); Application Auto Scaling user
guide, "Schedule recurring scaling actions using cron expressions". ``W`` and ``#`` are not taken.

Daylight saving: a local time that the clock skips does not fire, and one that comes twice fires once, the
first time. Source: EventBridge Scheduler user guide, "Daylight savings time"; the two services here say
only that they adjust.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_ITEM = re.compile(r"(?:(?P<all>\*)|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>[1-9][0-9]{0,3}))?")
_DAY_OF_MONTH, _DAY_OF_WEEK = 2, 4


@dataclass(frozen=True)
class Field:
    """One field: its least and largest value, and the names that stand for values from the least on."""

    name: str
    low: int
    high: int
    words: tuple[str, ...] = ()


_FIELDS = (Field("minute", 0, 59), Field("hour", 0, 23), Field("day of month", 1, 31))
FIVE = (*_FIELDS, Field("month", 1, 12, _MONTHS), Field("day of week", 0, 7, _DAYS))
SIX = (
    *_FIELDS,
    Field("month", 1, 12, _MONTHS),
    Field("day of week", 1, 7, _DAYS),
    Field("year", 1970, 2199),
)


@dataclass(frozen=True)
class Cron:
    """The values that each field allows. ``weekdays``: 0 is Sunday.

    ``last_day``: of the month, in place of ``days``. ``either_day``: both days are restricted, and one of
    them is enough (crontab(5)).
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    years: frozenset[int]
    either_day: bool
    last_day: bool = False

    def on(self, day: date) -> bool:
        """Whether it fires at all on this local day."""
        if day.month not in self.months or day.year not in self.years:
            return False
        by_date = (day + timedelta(days=1)).day == 1 if self.last_day else day.day in self.days
        by_weekday = day.isoweekday() % 7 in self.weekdays
        return (by_date or by_weekday) if self.either_day else (by_date and by_weekday)

    def at(self, local: datetime) -> bool:
        """Whether it fires in this local minute."""
        return local.minute in self.minutes and local.hour in self.hours and self.on(local.date())

    def firings(self, begin: datetime, end: datetime, zone: ZoneInfo) -> Iterator[datetime]:
        """Moments in UTC from ``begin`` up to, and without, ``end``, in their order."""
        day = begin.astimezone(zone).date() - timedelta(days=1)
        last = end.astimezone(zone).date()
        while day <= last:
            if self.on(day):
                moments = sorted(
                    moment
                    for hour in self.hours
                    for minute in self.minutes
                    if (moment := _moment(day, hour, minute, zone)) is not None
                )
                yield from (moment for moment in moments if begin <= moment < end)
            day += timedelta(days=1)


def _moment(day: date, hour: int, minute: int, zone: ZoneInfo) -> datetime | None:
    """The first moment with this local time; None where the clock skips it."""
    local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
    moment = local.astimezone(timezone.utc)
    return moment if moment.astimezone(zone).replace(tzinfo=None) == local.replace(tzinfo=None) else None


def parse_five(text: str) -> Cron:
    """Read the fields of EC2 Auto Scaling, names of days and months in either case.

    Raises:
        ValueError: they are not; the message names the field.
    """
    fields = text.upper().split()
    _check_number(text, fields, FIVE)
    minute, hour, day, month, weekday = (
        _values(each, field, open_steps=False) for each, field in zip(fields, FIVE)
    )
    return Cron(
        minutes=minute,
        hours=hour,
        days=day,
        months=month,
        weekdays=frozenset(value % 7 for value in weekday),
        years=frozenset(range(SIX[-1].low, SIX[-1].high + 1)),
        either_day=not fields[_DAY_OF_MONTH].startswith("*") and not fields[_DAY_OF_WEEK].startswith("*"),
    )


def parse_six(text: str) -> Cron:
    """Read the fields of Application Auto Scaling, without ``cron(…)`` around them; names in upper case.

    Raises:
        ValueError: they are not, or both days (or neither) are left open; the message names the field.
    """
    fields = text.split(" ")
    _check_number(text, fields, SIX)
    if (fields[_DAY_OF_MONTH] == "?") == (fields[_DAY_OF_WEEK] == "?"):
        raise ValueError("write ? for one of day of month and day of week, and only for one")
    last_day = fields[_DAY_OF_MONTH] == "L"
    for at in (_DAY_OF_MONTH, _DAY_OF_WEEK):
        if fields[at] == "?" or (at == _DAY_OF_MONTH and last_day):
            fields[at] = "*"
    minute, hour, day, month, weekday, year = (
        _values(each, field, open_steps=True) for each, field in zip(fields, SIX)
    )
    return Cron(
        minutes=minute,
        hours=hour,
        days=day,
        months=month,
        weekdays=frozenset(value - 1 for value in weekday),
        years=year,
        either_day=False,
        last_day=last_day,
    )


def _check_number(text: str, fields: list[str], wanted: tuple[Field, ...]) -> None:
    if len(fields) != len(wanted):
        names = ", ".join(field.name for field in wanted)
        raise ValueError(f"{text!r} has {len(fields)} fields of cron; here it has {len(wanted)}: {names}")


def _values(text: str, field: Field, *, open_steps: bool) -> frozenset[int]:
    """Every value of a field: lists of values, ranges and steps.

    ``open_steps``: a value with a step begins a range to the largest one, which crontab(5) does not know.
    """
    found: set[int] = set()
    for item in text.split(","):
        match = _ITEM.fullmatch(item)
        if match is None or (match["first"] and match["step"] and not (match["last"] or open_steps)):
            raise ValueError(f"{item!r} is no {field.name} of cron")
        first, last = field.low, field.high
        if match["first"]:
            first = _number(match["first"], field)
            if match["last"]:
                last = _number(match["last"], field)
            elif not match["step"]:
                last = first
        if last < first:
            raise ValueError(f"{item!r} is no {field.name} of cron: it ends before it begins")
        found.update(range(first, last + 1, int(match["step"] or 1)))
    return frozenset(found)


def _number(text: str, field: Field) -> int:
    if text in field.words:
        return field.low + field.words.index(text)
    if not re.fullmatch(r"[0-9]{1,4}", text) or not field.low <= int(text) <= field.high:
        raise ValueError(f"{text!r} is no {field.name} of cron: it lies between {field.low} and {field.high}")
    return int(text)
