"""AWS's two cron syntaxes, and the moments at which an expression fires.

EC2 Auto Scaling takes five fields (minute, hour, day of month, month, day of week; 0 and 7 are Sunday),
Application Auto Scaling ``cron(…)`` with six (a year at the end, ``?`` for "any day", 1 is Sunday).
Sources: EC2 Auto Scaling user guide, "Scheduled scaling"; Application Auto Scaling user guide, "Schedule
scaling actions using cron expressions". ``L``, ``W`` and ``#`` of the second are refused.

Daylight saving: a local time that the clock skips does not fire, and one that comes twice fires once, the
first time. Source: EventBridge Scheduler user guide, "Daylight savings time"; the two services here say
only that they adjust.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from infra.cost.errors import ScheduleUnreadable

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_ANY = {"*", "?"}
_STEP = re.compile(r"(\*|[0-9A-Z]+(?:-[0-9A-Z]+)?)(?:/([1-9][0-9]*))?")
_FIVE, _SIX = 5, 6


@dataclass(frozen=True)
class Cron:
    """The values that each field allows. ``weekdays``: 0 is Sunday.

    ``either_day``: both days are restricted, and one of them is enough (crontab(5)).
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    years: frozenset[int]
    either_day: bool

    def on(self, day: date) -> bool:
        """Whether it fires at all on this local day."""
        if day.month not in self.months or day.year not in self.years:
            return False
        by_date, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
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


def zone_of(name: str | None) -> ZoneInfo:
    """The time zone by its IANA name; None is UTC, as for both services.

    Raises:
        ScheduleUnreadable: there is no such zone.
    """
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        raise ScheduleUnreadable(expression=str(name), why="it is no time zone of the IANA list") from None


def parse(expression: str) -> Cron:
    """Read either syntax.

    Raises:
        ScheduleUnreadable: neither service would take it.
    """
    text = expression.strip().upper()
    six = re.fullmatch(r"CRON\((.*)\)", text)
    fields = (six[1] if six else text).split()
    wanted = _SIX if six else _FIVE
    if len(fields) != wanted:
        raise ScheduleUnreadable(expression=expression, why=f"it has {len(fields)} fields, not {wanted}")
    try:
        return _cron(fields, six=bool(six))
    except ValueError as error:
        raise ScheduleUnreadable(expression=expression, why=str(error)) from None


def _cron(fields: list[str], *, six: bool) -> Cron:
    minute, hour, day, month, weekday, *rest = fields
    if six and (day == "?") == (weekday == "?"):
        raise ValueError("exactly one of its two day fields must be `?`")
    if not six and "?" in fields:
        raise ValueError("`?` is not known to the five fields of a fleet's schedule")
    shift = 1 if six else 0
    named = {name: at + shift for at, name in enumerate(_DAYS)}
    weekdays = _values(weekday, 1 if six else 0, 7, named)
    return Cron(
        minutes=_values(minute, 0, 59),
        hours=_values(hour, 0, 23),
        days=_values(day, 1, 31),
        months=_values(month, 1, 12, {name: at for at, name in enumerate(_MONTHS, 1)}),
        weekdays=frozenset((value - shift) % 7 for value in weekdays),
        years=_values(rest[0] if rest else "*", 1970, 2199),
        either_day=not six and not day.startswith("*") and not weekday.startswith("*"),
    )


def _values(field: str, low: int, high: int, names: dict[str, int] | None = None) -> frozenset[int]:
    """Every value of a field: lists of values, ranges and steps.

    Raises:
        ValueError: a value that the field cannot have.
    """
    found: set[int] = set()
    for part in field.split(","):
        if part in _ANY:
            found |= set(range(low, high + 1))
            continue
        match = _STEP.fullmatch(part)
        if match is None:
            raise ValueError(f"{part!r} is not a value, a range or a step")
        first, last = _bounds(match[1], low, high, names or {}, stepped=match[2] is not None)
        found |= set(range(first, last + 1, int(match[2] or 1)))
    return frozenset(found)


def _bounds(text: str, low: int, high: int, names: dict[str, int], *, stepped: bool) -> tuple[int, int]:
    if text == "*":
        return low, high
    begin, dash, end = text.partition("-")
    first = _number(begin, names)
    last = _number(end, names) if dash else (high if stepped else first)
    if not low <= first <= last <= high:
        raise ValueError(f"{text} is not within {low} to {high}")
    return first, last


def _number(text: str, names: dict[str, int]) -> int:
    if text in names:
        return names[text]
    if not text.isdigit():
        raise ValueError(f"{text!r} is no number and no name that the field knows")
    return int(text)
