"""When a schedule of Application Auto Scaling fires: six fields, and a time zone.

Source: Application Auto Scaling user guide, "Schedule recurring scaling actions using cron
expressions": minutes, hours, day of month, month, day of week, year; one of the two days is ``?``.
"""

from __future__ import annotations

import re

FIELDS = ("minute", "hour", "day of month", "month", "day of week", "year")
_MONTHS = "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC"
_DAYS = "SUN|MON|TUE|WED|THU|FRI|SAT"
_LIMITS = ((0, 59), (0, 23), (1, 31), (1, 12), (1, 7), (1970, 2199))
_WORDS = ("", "", "", _MONTHS, _DAYS, "")
_DAY_OF_MONTH, _DAY_OF_WEEK = 2, 4


def check_cron(text: str) -> str:
    """Return ``text`` as it is, such as ``0 20 ? * MON-FRI *``.

    Raises:
        ValueError: not six fields, a value out of range, or both days (or neither) left open.
    """
    fields = text.split(" ")
    if len(fields) != len(FIELDS):
        raise ValueError(f"a cron expression has the fields {', '.join(FIELDS)}; this one has {len(fields)}")
    if (fields[_DAY_OF_MONTH] == "?") == (fields[_DAY_OF_WEEK] == "?"):
        raise ValueError("write ? for one of day of month and day of week, and only for one")
    for at, (name, field) in enumerate(zip(FIELDS, fields)):
        if not _fits(at, field):
            low, high = _LIMITS[at]
            raise ValueError(f"{field!r} is no {name}: from {low} to {high}, with , - / and *")
    return text


def _fits(at: int, field: str) -> bool:
    if field == "?":
        return at in (_DAY_OF_MONTH, _DAY_OF_WEEK)
    if at == _DAY_OF_MONTH and field == "L":
        return True
    return all(_part_fits(at, part) for part in field.split(","))


def _part_fits(at: int, part: str) -> bool:
    """One of ``*``, ``N``, ``N-M``, and each with ``/STEP``."""
    span, slash, step = part.partition("/")
    if slash and not re.fullmatch(r"[1-9][0-9]{0,3}", step):
        return False
    if span == "*":
        return True
    ends = span.split("-")
    values = [_value(at, end) for end in ends]
    return len(ends) <= 2 and None not in values and values == sorted(v for v in values if v is not None)


def _value(at: int, text: str) -> int | None:
    words = _WORDS[at].split("|") if _WORDS[at] else []
    if text in words:
        return words.index(text) + 1
    low, high = _LIMITS[at]
    return int(text) if re.fullmatch(r"[0-9]{1,4}", text) and low <= int(text) <= high else None
