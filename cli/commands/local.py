"""``traceship local up | down | env | status``"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from local_aws.launcher import LocalAws

_state = click.option(
    "--state",
    type=click.Path(path_type=Path),
    default=Path(".traceship/local"),
    show_default=True,
    help="Folder of everything that the local AWS remembers.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


@click.group()
def command() -> None:
    """The AWS on this machine: an emulator on loopback, with real server processes behind it."""


@command.command()
@_state
@_json
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on; unset: a free one.")
def up(state: Path, as_json: bool, port: int | None) -> None:
    """Start it, or find it running, with its state of last time."""
    from cli.console import data, step
    from local_aws import launcher

    with step("start the local AWS"):
        running = launcher.up(state, port=port)
    data(
        {
            "endpoint": running.endpoint,
            "pid": running.pid,
            "state": str(running.state),
            "log": str(running.log),
        },
        as_json=as_json,
        text=f"the local AWS answers at {running.endpoint}\n"
        'point this shell at it: eval "$(traceship local env)"',
    )


@command.command()
@_state
@_json
def env(state: Path, as_json: bool) -> None:
    """Print the variables that point AWS clients at it, for `eval`."""
    from cli.console import data
    from local_aws import launcher, names

    variables = launcher.require(state).environment()
    lines = [f"unset {' '.join(names.FOREIGN)}"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    data(variables, as_json=as_json, text="\n".join(lines))


@command.command()
@_state
@_json
def status(state: Path, as_json: bool) -> None:
    """Say whether it runs, and where."""
    from cli.console import data
    from local_aws import launcher

    running = launcher.require(state)
    data(
        {
            "endpoint": running.endpoint,
            "pid": running.pid,
            "state": str(running.state),
            "log": str(running.log),
        },
        as_json=as_json,
        text=f"the local AWS answers at {running.endpoint} (pid {running.pid}, log {running.log})",
    )


@command.command()
@_state
@_json
def down(state: Path, as_json: bool) -> None:
    """Stop it and every server it started; its state stays for the next `up`."""
    from cli.console import data
    from local_aws import launcher

    stopped = launcher.down(state)
    data({"stopped": stopped}, as_json=as_json, text="stopped" if stopped else "it was not running")


def _facts(running: LocalAws) -> dict[str, str | int]:
    return {
        "endpoint": running.endpoint,
        "pid": running.pid,
        "state": str(running.state),
        "log": str(running.log),
    }
