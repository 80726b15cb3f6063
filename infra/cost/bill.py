"""Quantities x unit prices: the bill of a project in one region."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

from artifact.bill import Line, RegionCost, ServiceCost
from artifact.release import ReleaseLock
from infra.cost.capacity import Load, Work, at_most, work
from infra.cost.catalogue import unit_of
from infra.cost.prices import MAX_AGE_DAYS, Prices
from infra.cost.schedule import hours_a_month
from infra.cost.services import Service, Template, resources, services
from infra.cost.usage import Usage, of_compile_hour, of_release, of_service, of_stack
from settings.model import Serve

BUCKET = "AWS::S3::Bucket"
"""The first stack that has one holds the releases."""
MILLION = 1_000_000
DIGITS = 6
"""Of a figure in the answer, after the point; sums are made before."""


@dataclass(frozen=True)
class Run:
    """What the stack of a service runs: its release, and how it serves it."""

    lock: ReleaseLock
    serve: Serve

    @property
    def throughput(self) -> Fraction:
        """Requests a second of one instance."""
        return Fraction(self.lock.throughput.per_second)


@dataclass(frozen=True)
class Question:
    """What a bill is asked for. ``today`` decides what is stale, and its year the days of a schedule.

    ``runs``: by stack, of every stack with a fleet or an endpoint.
    """

    templates: Mapping[str, Template]
    runs: Mapping[str, Run]
    load: Load
    today: date


def region_cost(question: Question, prices: Prices) -> RegionCost:
    """The bill with the prices of one region."""
    found = [each for stack, template in question.templates.items() for each in services(stack, template)]
    year = question.today.year
    hours = {service: hours_a_month(service.entries, service.base, year) for service in found}
    speeds = {each: question.runs[each.stack].throughput for each in found}
    now = {each: work(hours[each], question.load, speeds[each]) for each in found}
    most = {each: at_most(hours[each], question.load, speeds[each]) for each in found}
    usages = list(_usages(question, now))
    lines = [_line(usage, prices) for usage in usages]
    total, total_at_most = _sum(usages, prices), _sum(_usages(question, most), prices)
    requests = sum((each.requests for each in now.values()), Fraction())
    compile_hour = [
        usage for stack, template in question.templates.items() for usage in of_compile_hour(stack, template)
    ]
    oldest = min((line.as_of for line in lines if line.as_of is not None), default=None)
    return RegionCost(
        region=prices.region,
        lines=tuple(lines),
        compile_hour=tuple(_line(usage, prices) for usage in compile_hour),
        services=tuple(_service(each, now[each], most[each], question, prices) for each in found),
        usd=_rounded(total),
        usd_at_most=_rounded(total_at_most),
        usd_per_million=_per_million(usages, requests, prices),
        usd_per_compile_hour=_rounded(_sum(compile_hour, prices))
        if _all_priced(compile_hour, prices)
        else None,
        missing=tuple(sorted({u.price for u in (*usages, *compile_hour) if prices.find(u.price) is None})),
        oldest=oldest,
        stale=oldest is not None and (question.today - date.fromisoformat(oldest)).days > MAX_AGE_DAYS,
    )


def _usages(question: Question, works: Mapping[Service, Work]) -> Iterable[Usage]:
    holder = next((s for s, t in question.templates.items() if any(resources(t, BUCKET))), None)
    for stack, template in question.templates.items():
        here = {service: each for service, each in works.items() if service.stack == stack}
        for service, each in here.items():
            yield from of_service(service, each, question.runs[service.stack].serve)
        answered = sum((each.per_second for each in here.values()), Fraction())
        yield from of_stack(stack, template, answered, question.load)
        if stack == holder:
            locks = {run.lock.digest: run.lock for run in question.runs.values()}
            for lock in locks.values():
                yield from of_release(stack, lock)


def _service(service: Service, now: Work, most: Work, question: Question, prices: Prices) -> ServiceCost:
    """A service with all that its own stack has."""

    def own(works: Work) -> list[Usage]:
        template = question.templates[service.stack]
        return [
            *of_service(service, works, question.runs[service.stack].serve),
            *of_stack(service.stack, template, works.per_second, question.load),
        ]

    return ServiceCost(
        stack=service.stack,
        kind=service.kind,
        instances=_rounded(now.instances),
        served_per_second=_rounded(now.per_second),
        unserved=_rounded(now.unserved),
        usd=_rounded(_sum(own(now), prices)),
        usd_at_most=_rounded(_sum(own(most), prices)),
        usd_per_million=_per_million(own(now), now.requests, prices),
    )


def _line(usage: Usage, prices: Prices) -> Line:
    price = prices.find(usage.price)
    return Line(
        stack=usage.stack,
        what=usage.what,
        price=usage.price,
        quantity=_rounded(usage.quantity),
        unit=unit_of(usage.price) or "",
        usd_per_unit=None if price is None else float(price.usd),
        usd=None if price is None else _rounded(usage.quantity * price.usd),
        estimate=usage.estimate or (price is not None and price.estimate),
        note=usage.note,
        as_of=None if price is None else price.as_of.isoformat(),
        source=None if price is None else price.source,
    )


def _sum(usages: Iterable[Usage], prices: Prices) -> Fraction:
    """Of the lines that have a price."""
    priced = ((usage.quantity, prices.find(usage.price)) for usage in usages)
    return sum((quantity * price.usd for quantity, price in priced if price is not None), Fraction())


def _all_priced(usages: Iterable[Usage], prices: Prices) -> bool:
    return all(prices.find(usage.price) is not None for usage in usages)


def _per_million(usages: Iterable[Usage], requests: Fraction, prices: Prices) -> float | None:
    """None without requests, and where a price is missing: the figure would be too low to compare."""
    used = list(usages)
    if not requests or not _all_priced(used, prices):
        return None
    return _rounded(_sum(used, prices) / requests * MILLION)


def _rounded(value: Fraction) -> float:
    return round(float(value), DIGITS)
