"""``traceship report RESULT``"""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("result", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The HTML page to write.")
@click.option("--json", "as_json", is_flag=True, help="Print the page's place as JSON.")
def command(result: Path, out: Path, as_json: bool) -> None:
    """Draw the report of a compile from RESULT, the file that `compile --json` was sent to.

    One page that needs nothing beside it: gates, differences, padding, sizes, times and waivers.
    """
    from cli.console import data
    from cli.reporting import load_result
    from compile.report import write

    compiled = load_result(result)
    write(compiled, out)
    data({"path": str(out), "digest": compiled.digest}, as_json=as_json, text=f"{out}")
