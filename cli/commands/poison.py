"""``traceship poison``"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

if TYPE_CHECKING:
    from compile.batch.given_up import GivenUp


@click.command()
@click.option("--clear", "cleared", multiple=True, metavar="KEY", help="Forget a row's failures; repeat.")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
@click.pass_context
def command(ctx: click.Context, cleared: tuple[str, ...], as_json: bool) -> None:
    """List the rows that the batch runner does not try again, with the reason; try some again.

    A row is given up after compile.aws.give_up_after failures for a reason that repeating cannot mend.
    Its key holds the weights, the options and the image: with another of these it is another row.
    """
    from cli.cloud import find_deployment
    from cli.console import data, talk
    from cli.project import Project
    from compile.batch.given_up import all_given_up, clear

    at = find_deployment(Project.of(ctx))
    for key in cleared:
        talk(f"forgot {clear(at, key)} attempts at {key}")
    found = all_given_up(at)
    rows = [
        {"key": row.key, "failures": row.failures, "last": msgspec.to_builtins(row.last)} for row in found
    ]
    data(rows, as_json=as_json, text="\n".join(_line(row) for row in found) or "nothing is given up")


def _line(row: GivenUp) -> str:
    reason = f"{row.last.what}: {row.last.why}" if row.last.what else "killed with the most memory there is"
    return f"{row.key}: {row.failures} failures, the last: {reason}"
