"""Which public keys a command holds an artifact to: those of the command line, else the settings'."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from artifact.errors import UsageError
from artifact.keys import read_key

if TYPE_CHECKING:
    from artifact.keys import PublicKey


class KeyFileUnreadable(UsageError):
    """A public key's file cannot be read."""

    id = "key-file-unreadable"

    def __init__(self, *, path: str, why: str) -> None:
        super().__init__(
            what=f"the public key in {path} cannot be read",
            why=why,
            fix="give a PEM file that `traceship key show KEY --pem` wrote, of a key that "
            "`traceship key create --out KEY` made",
        )


def pinned_lines(ctx: click.Context) -> tuple[str, ...]:
    """The settings' keys as they stand there; none where there is no settings file.

    Raises:
        SettingsInvalid: a file that cannot be read might have pinned one.
        ServiceNeeded: its services pin different ones, and none of them was named.
    """
    path = Path(ctx.find_root().obj["settings"])
    if not path.is_file():
        return ()
    from cli.project import Project

    project = Project.of(ctx)
    if len({settings.signing.trusted_keys for settings in project.all_settings}) == 1:
        return project.shared.signing.trusted_keys
    return project.settings.signing.trusted_keys


def pinned_keys(ctx: click.Context, files: Sequence[str]) -> tuple[PublicKey, ...]:
    """The keys in ``files``, or the settings'.

    Raises:
        KeyFileUnreadable, KeyUnusable: see there.
    """
    if files:
        return tuple(read_key(_text(file), name=file) for file in files)
    return tuple(read_key(line, name="signing.trusted_keys") for line in pinned_lines(ctx))


def _text(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise KeyFileUnreadable(path=file, why=error.strerror or str(error)) from None
    except UnicodeDecodeError:
        raise KeyFileUnreadable(path=file, why="it is not text") from None
