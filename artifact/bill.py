"""What ``traceship cost --json`` prints, as types. Made by ``infra/cost/bill.py``.

Money is in US dollars without taxes, a month is 730 hours (a twelfth of a year). A price that is not
known is null, and so is the line's cost: a sum is then that of the lines that have one.
"""

from __future__ import annotations

from typing import Literal

from artifact.manifest import NonNegative, Record

SCHEMA: Literal["traceship.cost/1"] = "traceship.cost/1"


class Line(Record, frozen=True, kw_only=True):
    """One thing that is paid for: quantity x unit price.

    ``stack``: the one that has the resource. ``price``: the price's key in the price file, ``unit``: what
    ``quantity`` counts. ``estimate``: the quantity or the price is an assumption, ``note`` says which.
    ``as_of`` and ``source``: of the price.
    """

    stack: str
    what: str
    price: str
    quantity: float
    unit: str
    usd_per_unit: float | None
    usd: float | None
    estimate: bool
    note: str
    as_of: str | None
    source: str | None


class ServiceCost(Record, frozen=True, kw_only=True):
    """A fleet or an endpoint: its own lines, without the stacks that all share.

    ``instances``: mean over the month. ``served_per_second``: requests, mean over the month; ``unserved``
    is the share of the load, 0 to 1, for which even the most instances are too few.
    """

    stack: str
    kind: Literal["fleet", "endpoint"]
    instances: float
    served_per_second: float
    unserved: float
    usd: float
    usd_at_most: float
    usd_per_million: float | None


class RegionCost(Record, frozen=True, kw_only=True):
    """The bill in one region. ``usd_at_most``: every service at its most instances all month.

    ``usd_per_million``: everything, divided by the requests of all services. ``missing``: keys of prices
    that the file does not have; the sums lack their lines. ``stale``: at least one price that was used is
    older than ``max_age_days``.
    """

    region: str
    lines: tuple[Line, ...]
    compile_hour: tuple[Line, ...]
    services: tuple[ServiceCost, ...]
    usd: float
    usd_at_most: float
    usd_per_million: float | None
    usd_per_compile_hour: float | None
    missing: tuple[str, ...]
    oldest: str | None
    stale: bool


class Cost(Record, frozen=True, kw_only=True):
    """The bill of a project in one region or several, and what it leaves out.

    ``releases``: digest of the release by the stack that runs it.
    """

    schema: Literal["traceship.cost/1"] = SCHEMA
    project: str
    releases: dict[str, str]
    load: str
    max_age_days: NonNegative
    regions: tuple[RegionCost, ...]
    not_included: tuple[str, ...]
