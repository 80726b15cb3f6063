"""Every failpoint of the source is listed, so that every one is crossed."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.failpoints import PACKAGES, FailpointUnclear
from cli.failpoints import failpoints as in_the_source
from tests.kit.command import CHECKOUT, traceship


def test_the_list_is_printed_out_of_the_source(tmp_path: Path) -> None:
    """Every ``failpoint("…")`` of the code, with its line."""
    listed = traceship("debug", "failpoints", "--json", cwd=tmp_path).json
    sources = [path for package in PACKAGES for path in (CHECKOUT / package).rglob("*.py")]
    written = sum(path.read_text(encoding="utf-8").count('failpoint("') for path in sources)

    assert len(listed) == written >= 15
    for point in listed:
        line = (CHECKOUT / point["file"]).read_text(encoding="utf-8").splitlines()[point["line"] - 1]
        assert f'failpoint("{point["name"]}")' in line


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("with failpoint(name): pass\n", "literal"),
        ("with failpoint('a'): pass\nwith failpoint('a'): pass\n", "has its name"),
    ],
)
def test_a_failpoint_that_cannot_be_crossed_is_refused(tmp_path: Path, source: str, why: str) -> None:
    """A computed or shared name would leave a step without its tests."""
    for package in ("artifact", "cli", "compile"):
        (tmp_path / package).mkdir()
    (tmp_path / "cli/x.py").write_text(source)

    with pytest.raises(FailpointUnclear, match=why):
        in_the_source(tmp_path)
