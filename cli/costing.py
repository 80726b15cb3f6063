"""``traceship cost``: settings, lock and prices → the bill, and the bill as lines for a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from fractions import Fraction
from pathlib import Path

from artifact.bill import Cost, Line, RegionCost, ServiceCost
from cli.console import step
from cli.project import Project
from infra.cost.bill import Question, Run, region_cost
from infra.cost.capacity import Load
from infra.cost.coverage import not_included
from infra.cost.prices import FILE, MAX_AGE_DAYS, PriceFile, Prices, prices_of, read_prices
from infra.cost.refresh import PRICE_LIST_REGION, fetch, keys_to_ask, merged, write
from infra.cost.synth import templates_of
from infra.names import service_roles, stack_name

LEAST_SHOWN = 0.005
"""US dollars; lines below it are shown as one."""


def cost(
    project: Project,
    load: Load,
    *,
    regions: Sequence[str],
    spot_percent: Fraction | None,
    today: date,
    refresh: bool = False,
    file: Path = FILE,
) -> Cost:
    """The bill of the project's services in each of ``regions``, or where the release is.

    Args:
        refresh: ask AWS for the prices first and write them to ``file``.

    Raises:
        LockMissing, LockInvalid, CanaryLockMissing: see infra/lock.py and infra/canary.py.
        RegionUnpriced, PricesInvalid, PriceListPartial …: see infra/cost/errors.py.
        What ``infra.app.add_stacks`` does.
    """
    services = [(each.settings, each.lock(), each.canary_lock()) for each in project.services]
    runs = {
        stack_name(settings, role): Run(lock=lock, serve=settings.serve)
        for settings, lock, _ in services
        for role in service_roles(settings)
    }
    place = project.shared.project.region or services[0][1].location.region
    wanted = list(dict.fromkeys(regions or [place]))
    known = read_prices(file)
    if not refresh:
        for region in wanted:
            prices_of(known, region)
    with step("synthesise the stacks"):
        templates = templates_of(services)
    question = Question(templates=templates, runs=runs, load=load, today=today)
    if refresh:
        known = _refreshed(project, question, wanted, known)
        write(known, file)
    return Cost(
        project=project.shared.project.name,
        releases={stack: run.lock.digest for stack, run in runs.items()},
        load=load.spoken(),
        max_age_days=MAX_AGE_DAYS,
        regions=tuple(
            region_cost(question, prices_of(known, region, spot_percent=spot_percent)) for region in wanted
        ),
        not_included=not_included(templates),
    )


def _refreshed(project: Project, question: Question, regions: Sequence[str], file: PriceFile) -> PriceFile:
    """The file with today's prices of all ``regions``; of none if one of them is incomplete."""
    pricing = project.client("pricing", region=PRICE_LIST_REGION)
    for region in regions:
        asked = region_cost(question, Prices(region=region, known={}))
        must, may = keys_to_ask(asked.missing)
        with step(f"read the prices of {region}"):
            ec2 = project.client("ec2", region=region)
            found = fetch(region, must, may, pricing=pricing, ec2=ec2)
        file = merged(file, region, found, question.today)
    return file


def cost_text(found: Cost) -> str:
    """Every line with quantity and unit price, the sums, and what they leave out."""
    lines = [f"{found.project}: US dollars a month of 730 hours", found.load]
    lines += [f"{stack} runs release {digest[:12]}" for stack, digest in found.releases.items()]
    for region in found.regions:
        lines += ["", *_region(region, found.max_age_days)]
    return "\n".join([*lines, "", "not included:", *(f"  {words}" for words in found.not_included)])


def _region(region: RegionCost, max_age_days: int) -> Iterator[str]:
    yield f"{region.region}"
    for stack in dict.fromkeys(line.stack for line in region.lines):
        own = [line for line in region.lines if line.stack == stack]
        yield f"  {stack}"
        yield from _lines([line for line in own if line.usd is None or line.usd >= LEAST_SHOWN])
        small = [line for line in own if line.usd is not None and line.usd < LEAST_SHOWN]
        if small:
            rest = sum(line.usd or 0.0 for line in small)
            yield f"    {len(small)} more, less than a cent each{'':>44}{rest:>12.2f}"
    at_least = "at least " if region.missing else ""
    most = f"with every service at its most instances {at_least}{region.usd_at_most:,.2f}"
    yield f"  sum: {at_least}{region.usd:,.2f}; {most}"
    for service in region.services:
        yield _service(service)
    yield f"  everything, per million requests: {_known(region.usd_per_million)}"
    hour = _known(region.usd_per_compile_hour, digits=4)
    yield f"  an hour of a compile job, on-demand and as yet without more memory: {hour}"
    notes = [(line.what, line.note) for line in region.lines if line.estimate and line.note]
    yield from (f"  ~ {what}: {note}" for what, note in dict.fromkeys(notes))
    yield from _ages(region, max_age_days)


def _lines(lines: Sequence[Line]) -> Iterator[str]:
    for line in lines:
        mark = "~" if line.estimate else " "
        price = "price not known" if line.usd_per_unit is None else f"x {line.usd_per_unit:.6g}"
        usd = "?" if line.usd is None else f"{line.usd:,.2f}"
        yield f"   {mark}{line.what:<40} {line.quantity:>12,.2f} {line.unit:<20}{price:>16}{usd:>12}"


def _service(service: ServiceCost) -> str:
    words = (
        f"  {service.stack}: {service.usd:,.2f} with {service.instances:.4g} instances on average, "
        f"{service.served_per_second:.4g} requests/s; per million requests {_known(service.usd_per_million)}"
    )
    if service.unserved:
        words += f"; {service.unserved:.1%} of the load is more than the most instances can do"
    return words


def _known(usd: float | None, *, digits: int = 2) -> str:
    return "not known (prices are missing, or there are no requests)" if usd is None else f"{usd:,.{digits}f}"


def _ages(region: RegionCost, max_age_days: int) -> Iterator[str]:
    if region.missing:
        yield f"  no price is known of {', '.join(region.missing)}: `traceship cost --refresh` asks AWS"
    if region.stale:
        yield (
            f"  STALE: the oldest price is of {region.oldest}, more than {max_age_days} days ago; "
            "`traceship cost --refresh` asks AWS"
        )
    sources = sorted({(line.as_of, line.source) for line in region.lines if line.as_of and line.source})
    yield from (f"  prices of {as_of}: {source}" for as_of, source in sources)
