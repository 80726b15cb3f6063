"""``traceship debug failpoints``"""

from __future__ import annotations

import click


@click.group()
def command() -> None:
    """For people who work on traceship itself."""


@command.command()
@click.option("--json", "as_json", is_flag=True, help="Print name, file and line of each as JSON.")
def failpoints(as_json: bool) -> None:
    """List the places at which the tests let a ship fail. They do nothing outside the tests."""
    from cli.console import data
    from cli.failpoints import failpoints as found_in_source

    found = found_in_source()
    lines = [f"{point.name:<20} {point.file}:{point.line}" for point in found]
    data(found, as_json=as_json, text="\n".join(lines))
