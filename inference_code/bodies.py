"""Bytes of a body in, the JSON values of its requests out: one, or one a line.

JSON Lines: a line is a request, {"inputs": …}, or one input alone. CSV: a row is one input, its
columns those of the task; no header row unless the Content-Type says ``header=present`` (RFC 4180,
and what SageMaker's own algorithms expect).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from artifact.serving import MAX_BODY_BYTES
from inference_code import media, strict_json
from inference_code.errors import NotCsv, NotJson, RequestError, TooManyInputs
from inference_code.media import Content

Columns = Sequence[Sequence[str]]
MANY = "choices"
"""The column that may stand more than once."""

csv.field_size_limit(MAX_BODY_BYTES)
"""Of this process. The default, 128 KiB, would refuse what JSON may send."""


def values(body: bytes, content: Content, columns: Columns, *, most: int) -> list[Any]:
    """The requests of a body as JSON values, in order.

    Args:
        columns: what the columns of a row may be called, see ``Task``.
        most: lines that are read.

    Raises:
        NotJson, NotCsv: with the line, where there are lines.
        TooManyInputs: more lines than ``most``.
    """
    if content.kind == media.JSON:
        return [strict_json.decode(body)]
    read = _lines(body, most) if content.kind == media.LINES else _rows(body, content.header, columns)
    found: list[Any] = []
    for value in read:
        if len(found) == most:
            raise _too_many(most)
        found.append(value)
    return found


def _lines(body: bytes, most: int) -> Iterator[Any]:
    # Each line is an input at least; millions of empty ones are not even cut apart.
    if body.count(b"\n") > most:
        raise _too_many(most)
    lines = body.split(b"\n")
    if len(lines) > 1 and not lines[-1].strip():
        lines.pop()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise NotJson(why=f"line {number} is empty")
        yield _as_request(_decoded(line, number))


def _decoded(line: bytes, number: int) -> Any:
    try:
        return strict_json.decode(line)
    except RequestError as error:
        raise error.at(f"line {number}") from None


def _as_request(value: Any) -> Any:
    return value if isinstance(value, dict) and "inputs" in value else {"inputs": value}


def _rows(body: bytes, header: bool, columns: Columns) -> Iterator[Any]:
    wanted = " or ".join(", ".join(names) for names in columns)
    fix = f"send rows of {wanted}, quoted as in RFC 4180, in UTF-8"
    rows = _cells(body, fix)
    head, count = (_by_header(next(rows, []), columns), 1) if header else (None, 0)
    if header and head is None:
        raise NotCsv(why="its first row does not name those columns", fix=fix)
    for cells in rows:
        count += 1
        if not cells:
            raise NotCsv(why=f'row {count} is empty; an empty text is ""', fix=fix)
        names = head or _by_number(len(cells), columns)
        if names is None or len(names) != len(cells):
            raise NotCsv(why=f"row {count} has {len(cells)} columns", fix=fix)
        yield {"inputs": _input(names, cells)}
    if count == int(header):
        raise NotCsv(why="it has no rows", fix=fix)


def _cells(body: bytes, fix: str) -> Iterator[list[str]]:
    try:
        # Spreadsheets write a byte order mark.
        yield from csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
    except UnicodeDecodeError:
        raise NotCsv(why="it is not UTF-8", fix=fix) from None
    except csv.Error as error:
        raise NotCsv(why=f"it has a wrong quote or byte ({error})", fix=fix) from None


def _by_number(count: int, columns: Columns) -> list[str] | None:
    for names in columns:
        if len(names) == count or (names[-1] == MANY and count > len(names)):
            return [*names, *[MANY] * (count - len(names))]
    return None


def _by_header(cells: Sequence[str], columns: Columns) -> list[str] | None:
    """The columns that a header names, in its order; "inputs" is what AWS's toolkit calls a text."""
    names = ["text" if cell == "inputs" else cell for cell in cells]
    once = [name for name in names if name != MANY] + [MANY] * (MANY in names)
    return names if sorted(once) in [sorted(known) for known in columns] else None


def _input(names: Sequence[str], cells: Sequence[str]) -> Any:
    if list(names) == ["text"]:
        return cells[0]
    found: dict[str, Any] = {name: cell for name, cell in zip(names, cells) if name != MANY}
    if MANY in names:
        found[MANY] = [cell for name, cell in zip(names, cells) if name == MANY]
    return found


def _too_many(most: int) -> TooManyInputs:
    return TooManyInputs(found="more", limit=most)
