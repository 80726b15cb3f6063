"""A file is there whole or not at all, and an error of the disk says which file it was."""

from __future__ import annotations

import errno
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.failure import report
from cli.journal import Journal
from cli.signers import create_key
from compile.archive import Member, write_archive
from compile.durable import no_room, write_whole

LIMIT = 100
DATA = b"x" * 10_000


@pytest.fixture
def full() -> Iterator[None]:
    """A disk with room for ``LIMIT`` bytes of a file: the kernel refuses the rest as it does a full one's."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


WRITERS: dict[str, Callable[[Path], object]] = {
    "a file": lambda path: write_whole(path, DATA),
    "an archive": lambda path: write_archive([Member("a", len(DATA), lambda: [DATA])], path),
    "the journal": lambda path: Journal(path.parent).record("step", "of", {"data": "x" * 1000}),
    "a key": create_key,
}


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("what", WRITERS)
def test_a_full_disk_names_the_file_and_leaves_no_half_of_it(
    tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The kernel's own words name none."""
    path = tmp_path / ("ship.journal" if what == "the journal" else "file")

    with pytest.raises(OSError) as failed:  # noqa: PT011 - the kernel's
        WRITERS[what](path)

    told = no_room(failed.value, place="nobody knows")
    assert told is not None
    assert str(path) in told.what
    assert report(failed.value, as_json=False, debug=False) == 1
    assert str(path) in capsys.readouterr().err
    assert [left for left in tmp_path.iterdir() if left.name != "ship.journal"] == []
    assert list(Journal(tmp_path).records()) == []


def test_a_file_that_cannot_be_replaced_stays_as_it_was(full: None, tmp_path: Path) -> None:
    """A reader sees the old bytes or the new ones."""
    (tmp_path / "file").write_bytes(b"old")

    with pytest.raises(OSError) as failed:  # noqa: PT011 - the kernel's
        write_whole(tmp_path / "file", DATA)

    assert failed.value.errno == errno.EFBIG
    assert (tmp_path / "file").read_bytes() == b"old"


def test_other_errors_are_no_full_disk() -> None:
    """Of a file that says its name, and of the network, which has none."""
    assert no_room(PermissionError(errno.EACCES, "no", "file"), place="x") is None
    assert no_room(ConnectionError("reset"), place="x") is None
    assert no_room(ValueError("no"), place="x") is None
