"""Folders for what is half-made, on the file system where it gets its name; gone however the work ends."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from artifact.errors import TraceshipError
from artifact.signals import held_back


class OutputNotWritable(TraceshipError):
    """The artifact cannot be written where it was asked for."""

    id = "output-not-writable"

    def __init__(self, *, path: str, why: str) -> None:
        super().__init__(
            what=f"nothing can be written to {path}",
            why=why,
            fix="give an `--out` below a folder that you may write to, with space left",
        )


@contextmanager
def draft_in(parent: Path, *, prefix: str, suffix: str = "") -> Iterator[Path]:
    """A new folder in ``parent``, removed at the end with whatever is left in it.

    An interrupt can come neither between its making and the promise to remove it nor into the
    removal: a folder that nobody knows of would stay for good.

    Raises:
        OSError: the file system refuses.
    """
    folder: Path | None = None
    try:
        with held_back():
            folder = Path(tempfile.mkdtemp(prefix=prefix, suffix=suffix, dir=parent))
        yield folder
    finally:
        if folder is not None:
            with held_back():
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def beside(out: Path, *, suffix: str = ".partial") -> Iterator[Path]:
    """A new folder beside ``out``, hidden, on its file system so that a rename suffices; gone afterwards.

    Raises:
        OutputNotWritable: the file system refuses.
    """
    with ExitStack() as stack:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(draft_in(out.parent, prefix=f".{out.name}.", suffix=suffix))
        except OSError as error:
            raise OutputNotWritable(path=str(out.parent), why=error.strerror or str(error)) from error
        yield folder
