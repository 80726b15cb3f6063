"""``traceship demo``"""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path(".traceship/demo"),
    show_default=True,
    help="Where the demo's project lies; an earlier demo there is removed.",
)
@click.option("--keep", is_flag=True, help="Leave the local AWS and its servers running.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def command(folder: Path, keep: bool, as_json: bool) -> None:
    """Run the whole path on this machine, from a real model to answers from an endpoint.

    Needs no AWS account, no container engine and no Neuron device. Leaves nothing running.
    """
    from dataclasses import asdict

    from cli.console import data
    from cli.demo import demonstrate

    found = demonstrate(folder.absolute(), keep=keep)
    text = f"answers differ from the untraced model by at most {found.largest_difference:.1e}"
    data(asdict(found), as_json=as_json, text=text)
