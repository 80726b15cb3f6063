"""The list of failpoints, read out of the source: it cannot lag behind the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec

from artifact.errors import TraceshipError

CHECKOUT = Path(__file__).resolve().parent.parent
PACKAGES = ("artifact", "cli", "compile")


class FailpointUnclear(TraceshipError):
    """A failpoint whose name is computed, or which two places share."""

    id = "failpoint-unclear"

    def __init__(self, *, where: str, why: str) -> None:
        super().__init__(
            what=f"the failpoint at {where} cannot be listed",
            why=why,
            fix="give it a literal name of its own, as in `failpoint('lock.write')`",
        )


class Failpoint(msgspec.Struct, frozen=True, order=True):
    """A name and the line that uses it."""

    name: str
    file: str
    line: int


def failpoints(root: Path = CHECKOUT) -> list[Failpoint]:
    """Every failpoint below ``root``, by name.

    Raises:
        FailpointUnclear: see there.
    """
    found = sorted(point for package in PACKAGES for point in _below(root, root / package))
    for one, next_one in pairwise(found):
        if one.name == next_one.name:
            raise FailpointUnclear(
                where=f"{next_one.file}:{next_one.line}", why=f"{one.file}:{one.line} has its name"
            )
    return found


def _below(root: Path, package: Path) -> Iterator[Failpoint]:
    for path in sorted(package.rglob("*.py")):
        file = path.relative_to(root).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", None) != "failpoint":
                continue
            name = node.args[0] if node.args else None
            if not isinstance(name, ast.Constant) or not isinstance(name.value, str):
                raise FailpointUnclear(where=f"{file}:{node.lineno}", why="its name is not a literal")
            yield Failpoint(name=name.value, file=file, line=node.lineno)
