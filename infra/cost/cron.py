"""A schedule as a template has it, read by the rules that the settings were held to (settings/cron.py)."""

from __future__ import annotations

import re
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from infra.cost.errors import ScheduleUnreadable
from settings.cron import Cron, parse_five, parse_six


def parse(expression: str) -> Cron:
    """Read ``cron(…)`` of Application Auto Scaling, or the bare fields of EC2 Auto Scaling.

    Raises:
        ScheduleUnreadable: neither service would take it.
    """
    six = re.fullmatch(r"cron\((.*)\)", expression.strip())
    try:
        return parse_six(six[1]) if six else parse_five(expression)
    except ValueError as error:
        raise ScheduleUnreadable(expression=expression, why=str(error)) from None


def zone_of(name: str | None) -> ZoneInfo:
    """The time zone by its IANA name; None is UTC, as for both services.

    Raises:
        ScheduleUnreadable: there is no such zone.
    """
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        raise ScheduleUnreadable(expression=str(name), why="it is no time zone of the IANA list") from None
