"""``traceship cost``"""

from __future__ import annotations

import click

from cli.numbers import Finite


@click.command()
@click.option(
    "--requests-per-second",
    type=Finite(min=0, min_open=True),
    help="Requests that each service gets, all month long; decides how many instances run.",
)
@click.option(
    "--utilization",
    type=Finite(min=0, max=100, min_open=True),
    help="Instead: how far the fewest instances are used, in percent of the measured throughput.  [70]",
)
@click.option(
    "--request-bytes",
    type=click.IntRange(1, 12_582_912),
    default=4096,
    show_default=True,
    help="Of a request and its answer together.",
)
@click.option(
    "--spot-percent",
    type=Finite(min=0, max=100, min_open=True),
    help="What Spot costs, in percent of on-demand; goes before a price of the file.",
)
@click.option("--region", "regions", multiple=True, metavar="REGION", help="Compare regions; repeat.")
@click.option("--refresh", is_flag=True, help="First ask AWS for today's prices and write them to the file.")
@click.option("--json", "as_json", is_flag=True, help="Print the bill as JSON (docs/schemas).")
@click.pass_context
def command(
    ctx: click.Context,
    requests_per_second: float | None,
    utilization: float | None,
    request_bytes: int,
    spot_percent: float | None,
    regions: tuple[str, ...],
    refresh: bool,
    as_json: bool,
) -> None:
    """Show what the settings and the lock cost a month, and a million requests (docs/cost.md).

    Prices are those of a dated file; what it lacks is named, never guessed. Nothing is deployed.
    """
    from datetime import datetime, timezone
    from fractions import Fraction

    from cli.console import data
    from cli.costing import cost, cost_text
    from cli.failure import Misuse
    from cli.project import Project
    from infra.cost.capacity import Load

    if requests_per_second is not None and utilization is not None:
        raise Misuse(
            what="--requests-per-second and --utilization cannot both be given",
            why="the first says how much the instances have to do, and so does the second",
            fix="leave one of them out",
        )
    load = Load(request_bytes=request_bytes)
    if requests_per_second is not None:
        load = Load(per_second=Fraction(str(requests_per_second)), request_bytes=request_bytes)
    elif utilization is not None:
        load = Load(utilization=Fraction(str(utilization)) / 100, request_bytes=request_bytes)
    found = cost(
        Project.of(ctx),
        load,
        regions=regions,
        spot_percent=None if spot_percent is None else Fraction(str(spot_percent)),
        today=datetime.now(timezone.utc).date(),
        refresh=refresh,
    )
    data(found, as_json=as_json, text=cost_text(found))
