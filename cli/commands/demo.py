"""``traceship demo``"""

from __future__ import annotations

import click


@click.command()
@click.option("--keep", is_flag=True, help="Leave the local AWS and its servers running.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def command(keep: bool, as_json: bool) -> None:
    """Run the whole path on this machine, from a real model to answers from an endpoint.

    Needs no AWS account, no container engine and no Neuron device. Leaves nothing running.
    """
    from dataclasses import asdict

    from cli.console import data
    from cli.demo import demonstrate

    found = demonstrate(keep=keep)
    text = f"answers differ from the untraced model by at most {found.largest_difference:.1e}"
    data(asdict(found), as_json=as_json, text=text)
