"""``traceship key create | show``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from artifact.keys import PublicKey


@click.group()
def command() -> None:
    """Keys that releases are signed with: ECDSA on P-256."""


@command.command()
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The private key's file.")
@click.option("--json", "as_json", is_flag=True, help="Print the public half as JSON.")
def create(out: Path, as_json: bool) -> None:
    """Make a key file and print its public half. Never overwrites one.

    Encrypted with the passphrase in TRACESHIP_KEY_PASSPHRASE, if that is set.
    """
    from cli.signers import create_key

    _print(create_key(out).public_key, as_json=as_json)


@command.command()
@click.argument("key")
@click.option("--pem", is_flag=True, help="Print the PEM alone, for a file.")
@click.option("--json", "as_json", is_flag=True, help="Print id, line and PEM as JSON.")
@click.pass_context
def show(ctx: click.Context, key: str, pem: bool, as_json: bool) -> None:
    """Print the public half of KEY: a private key's file, awskms:ALIAS-OR-ARN, or a public key's file.

    The line goes into signing.trusted_keys of the settings.
    """
    from cli.console import data
    from cli.project import Project
    from cli.signing import public_key_of

    found = public_key_of(key, Project.of(ctx))
    if pem and not as_json:
        data(None, as_json=False, text=found.pem.rstrip("\n"))
    else:
        _print(found, as_json=as_json)


def _print(key: PublicKey, *, as_json: bool) -> None:
    from cli.console import data

    data(
        {"id": key.id, "line": key.line, "pem": key.pem},
        as_json=as_json,
        text=f"id {key.id}\nline {key.line}",
    )
