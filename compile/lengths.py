"""A file of lengths in, how many rows have which length out.

    histogram    CSV of `length,count`, or one JSON object {"12": 40, …}
    lengths      one length a line
    texts        one text a line
    json-lines   one JSON string, or object with "text" (and "text_pair"), a line

The kind is told from the first line that is not blank and must hold for the whole file; what
could be two kinds is refused, never guessed. Texts are only recognised here: `token_lengths.py`
counts their tokens. A million lines take a fraction of a second because equal lines are counted
before any of them is read as a number.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from artifact.errors import UsageError

Kind = Literal["histogram", "lengths", "texts", "json-lines"]
Histogram = dict[int, int]
"""Rows by length in tokens; both above 0."""

MOST = 10**9
"""Largest length and largest count of one line: above it the file is not about lengths."""

_SEPARATOR = re.compile(r"\s*[,;\t]\s*")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE)


class LengthsUnreadable(UsageError):
    """The file of lengths cannot be opened or is not text."""

    id = "lengths-unreadable"

    def __init__(self, *, file: str, why: str) -> None:
        super().__init__(
            what=f"{file} cannot be read",
            why=why,
            fix="give a UTF-8 text file with a length, `length,count` or a text on each line",
        )


class LengthsEmpty(UsageError):
    """Nothing to plan for."""

    id = "lengths-empty"

    def __init__(self, *, file: str) -> None:
        super().__init__(
            what=f"{file} holds no rows",
            why="there is no line, or every count is 0",
            fix="give a file with at least one length or text",
        )


class LengthRefused(UsageError):
    """A value that is no length or no count, or a line of another kind than the first."""

    id = "length-refused"

    def __init__(self, *, file: str, place: str, why: str) -> None:
        super().__init__(
            what=f"{place} of {file} cannot be used",
            why=why,
            fix="correct it; if the file holds texts that look like numbers, add `--kind texts`",
        )


class LengthsAmbiguous(UsageError):
    """The file could be read in more than one way."""

    id = "lengths-ambiguous"

    def __init__(self, *, file: str, why: str) -> None:
        super().__init__(
            what=f"it is not clear what {file} holds",
            why=why,
            fix="say it with `--kind histogram`, `--kind lengths`, `--kind texts` or `--kind json-lines`",
        )


@dataclass(frozen=True)
class Found:
    """What the file is. ``histogram`` is ``None`` for texts, whose tokens are not counted yet."""

    kind: Kind
    histogram: Histogram | None


def read_lengths(path: Path, kind: Kind | None = None) -> Found:
    """Read a file of numbers, or recognise a file of texts.

    Args:
        kind: what it must be; ``None``: told from its content.

    Raises:
        LengthsUnreadable, LengthsEmpty, LengthRefused, LengthsAmbiguous: see there.
    """
    text = read_text(path)
    if not text.strip():
        raise LengthsEmpty(file=str(path))
    kind = kind or _kind_of(text, str(path))
    if kind in ("texts", "json-lines"):
        return Found(kind=kind, histogram=None)
    if kind == "histogram" and text.lstrip().startswith("{"):
        return Found(kind=kind, histogram=_from_object(text, str(path)))
    return Found(kind=kind, histogram=_from_lines(text, 2 if kind == "histogram" else 1, str(path)))


def read_text(path: Path) -> str:
    """The whole file, without a byte order mark; every line end is a newline.

    Raises:
        LengthsUnreadable: it cannot be opened, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise LengthsUnreadable(file=str(path), why=error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise LengthsUnreadable(file=str(path), why=f"it is not UTF-8 ({error.reason})") from None


def checked(rows: Iterable[tuple[int, int]], file: str) -> Histogram:
    """Add up the counts of each length.

    Raises:
        LengthsEmpty: no count is above 0.
    """
    found: Histogram = {}
    for length, count in rows:
        if count:
            found[length] = found.get(length, 0) + count
    if not found:
        raise LengthsEmpty(file=file)
    return found


def _kind_of(text: str, file: str) -> Kind:
    lines = (line.strip() for line in text.split("\n"))
    first = next(line for line in lines if line)
    if first[0] in '{["':
        return _json_kind(text, first, file)
    if _columns(first) is not None:
        return _numeric_kind(first, file)
    rest = [line for line in lines if line]
    if rest and all(_columns(line) is not None for line in set(rest)):
        raise LengthsAmbiguous(
            file=file,
            why=f"all lines but the first are numbers, and {first[:40]!r} is neither `length` "
            "nor `length,count`",
        )
    return "texts"


def _numeric_kind(first: str, file: str) -> Kind:
    columns = _columns(first)
    if columns not in (1, 2):
        raise LengthsAmbiguous(
            file=file, why=f"its first line has {columns} numbers; one is a length, two are `length,count`"
        )
    return "lengths" if columns == 1 else "histogram"


def _json_kind(text: str, first: str, file: str) -> Kind:
    whole, line = _parsed(text), _parsed(first)
    value = line if whole is None else whole
    if isinstance(value, str) or (isinstance(value, dict) and "text" in value):
        return "json-lines"
    if isinstance(whole, dict) and all(_is_whole(key) for key in whole):
        return "histogram"
    if isinstance(value, dict):
        why = "its JSON has keys that are no lengths, and no key `text`"
    elif isinstance(value, list):
        why = "it is a JSON array; one JSON object of `length: count` or one text a line is read"
    else:
        why = f"it begins like JSON, with {first[:40]!r}, but is not"
    raise LengthsAmbiguous(file=file, why=why)


def _parsed(text: str) -> Any:
    """The JSON value of ``text``, ``None`` where it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _columns(line: str) -> int | None:
    """How many numbers the line holds, or how many its header names; ``None`` for any other line."""
    fields = _SEPARATOR.split(line.lower())
    named = fields == ["length"] or sorted(fields) == ["count", "length"]
    return len(fields) if named or all(_NUMBER.fullmatch(field) for field in fields) else None


def _from_object(text: str, file: str) -> Histogram:
    try:
        pairs = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError) as error:
        raise LengthRefused(file=file, place="the JSON", why=str(error)) from None
    rows = [_row(str(key), json.dumps(value), f"the entry {key!r}", file) for key, value in pairs]
    return checked(rows, file)


def _from_lines(text: str, columns: int, file: str) -> Histogram:
    counted: Mapping[str, int] = Counter(text.split("\n"))
    header = _header(text)
    length_at = header.index("length") if header else 0
    rows = []
    for line, times in counted.items():
        fields = _SEPARATOR.split(line.strip())
        if fields == [""] or [field.lower() for field in fields] == header:
            continue
        place = f"the line {line.strip()[:40]!r}"
        if len(fields) != columns:
            wanted = "a length and a count" if columns == 2 else "one length"
            raise LengthRefused(file=file, place=_numbered(text, line, place), why=f"it is not {wanted}")
        try:
            length, count = _row(
                fields[length_at], fields[1 - length_at] if columns == 2 else "1", place, file
            )
        except LengthRefused as refused:
            raise LengthRefused(file=file, place=_numbered(text, line, place), why=refused.why) from None
        rows.append((length, count * times))
    return checked(rows, file)


def _header(text: str) -> list[str]:
    """The names of the columns, where the first line names them."""
    first = next(line.strip() for line in text.split("\n") if line.strip())
    fields = _SEPARATOR.split(first.lower())
    return fields if sorted(fields) in (["length"], ["count", "length"]) else []


def _row(length: str, count: str, place: str, file: str) -> tuple[int, int]:
    for name, value, least in (("length", length, 1), ("count", count, 0)):
        if not _is_whole(value):
            raise LengthRefused(file=file, place=place, why=f"the {name} {value[:40]} is not a whole number")
        if len(value) > 18 or not least <= int(value) <= MOST:
            raise LengthRefused(
                file=file, place=place, why=f"the {name} {value[:40]} is not from {least} to {MOST}"
            )
    return int(length), int(count)


def _is_whole(value: str) -> bool:
    return re.fullmatch(r"[+-]?[0-9]+", value) is not None


def _numbered(text: str, line: str, place: str) -> str:
    """``place`` with the number of the line, which is looked for only once something is wrong."""
    return f"line {text.split(chr(10)).index(line) + 1} ({place.removeprefix('the line ')})"
