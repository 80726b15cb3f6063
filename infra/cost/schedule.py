"""A schedule of scaling actions → the share of the time that each pair of bounds is in force."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from fractions import Fraction
from zoneinfo import ZoneInfo

from settings.cron import Cron

HOURS_A_MONTH = 730
"""A twelfth of a year of 8,760 hours: what AWS's own price examples count."""
LOOK_BACK = timedelta(days=366)
"""The schedule is taken to be this old when the year begins, so that each entry has fired by then."""


@dataclass(frozen=True)
class Bounds:
    """Fewest and most instances that scaling may have."""

    least: int
    most: int


@dataclass(frozen=True)
class Entry:
    """A scheduled action. A bound that is None stays as it is.

    A desired capacity is where scaling begins to move from, within minutes, so it costs nothing of note
    and is not kept here.
    """

    cron: Cron
    zone: ZoneInfo
    least: int | None
    most: int | None

    def applied_to(self, bounds: Bounds) -> Bounds:
        """The bounds after it fired; the most is never below the fewest."""
        least = bounds.least if self.least is None else self.least
        most = bounds.most if self.most is None else self.most
        return replace(bounds, least=least, most=max(least, most))


def shares(entries: Sequence[Entry], base: Bounds, begin: datetime, end: datetime) -> dict[Bounds, Fraction]:
    """Share of the time from ``begin`` to ``end`` (aware, whole minutes) of each pair of bounds.

    Entries that fire in the same minute apply in their order. The shares add up to 1.
    """
    moments = sorted(
        (moment, at)
        for at, entry in enumerate(entries)
        for moment in entry.cron.firings(begin - LOOK_BACK, end, entry.zone)
    )
    bounds, since, spent = base, begin, dict[Bounds, timedelta]()
    for moment, at in moments:
        if moment > since:
            spent[bounds] = spent.get(bounds, timedelta()) + (moment - since)
            since = moment
        bounds = entries[at].applied_to(bounds)
    spent[bounds] = spent.get(bounds, timedelta()) + (end - since)
    minute = timedelta(minutes=1)
    whole = (end - begin) // minute
    return {each: Fraction(time // minute, whole) for each, time in spent.items() if time}


def hours_a_month(entries: Sequence[Entry], base: Bounds, year: int) -> dict[Bounds, Fraction]:
    """Hours of a mean month of ``year``, 730 together, that each pair of bounds is in force."""
    begin, end = (datetime(each, 1, 1, tzinfo=timezone.utc) for each in (year, year + 1))
    return {bounds: share * HOURS_A_MONTH for bounds, share in shares(entries, base, begin, end).items()}
