"""A compile request that somebody put into S3, checked against what may be asked that way.

    {"schema": "traceship.compile-request/1",
     "rows": {"minilm": {"model": "s3://BUCKET/models/minilm", "task": "feature-extraction",
                         "target": "inf1", "bucket": ["1x128"], "pooling": "mean", "normalize": true}}}

A row says what ``python -m compile`` can be told, but only the options of ``ALLOWED``, each with a value
of its kind: nothing that runs code of the model's (``trust-remote-code``), opens a pickle, hands words to
another program (``compiler-arg``), or names a place other than a model of the project's own bucket.
Values are joined to their option in one word, so that none of them can be an option itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from artifact.envelope import strict_json
from artifact.errors import TraceshipError, UsageError
from compile.batch.deployment import MODELS
from compile.batch.rows import LABEL
from compile.places import SCHEME, NotAPlace, split_place
from compile.request import CompileRequest

SCHEMA = "traceship.compile-request/1"
MAX_BYTES = 64 * 1024
MAX_ROWS = 50
_TEXT = re.compile(r"[ -~]{1,512}")
"""Printable ASCII: task names, operators, reasons; a model's name has no other letters either."""


class AskedInvalid(UsageError):
    """A request in S3 that is not one, or asks for what nobody may ask for there."""

    id = "asked-invalid"

    def __init__(self, *, why: str) -> None:
        super().__init__(
            what="nothing of this request is compiled",
            why=why,
            fix="correct it and put it again (docs/compile-jobs.md)",
        )


def read_asked(data: bytes, bucket: str, out: Path) -> dict[str, CompileRequest]:
    """The rows of a request by label; their artifacts would go below ``out``, which nobody writes.

    Args:
        bucket: the project's, whose models may be asked for.

    Raises:
        AskedInvalid: see there; then nothing of it may be compiled.
    """
    if len(data) > MAX_BYTES:
        raise AskedInvalid(why=f"it has more than {MAX_BYTES} bytes")
    try:
        document = strict_json(data)
    except (ValueError, RecursionError) as error:
        raise AskedInvalid(why=f"it is not JSON: {error}"[:300]) from None
    if not isinstance(document, dict) or set(document) != {"schema", "rows"}:
        raise AskedInvalid(why="it is not an object of `schema` and `rows`")
    if document["schema"] != SCHEMA:
        raise AskedInvalid(why=f"its schema is not {SCHEMA}")
    rows = document["rows"]
    if not isinstance(rows, dict) or not 0 < len(rows) <= MAX_ROWS:
        raise AskedInvalid(why=f"`rows` is not an object of 1 to {MAX_ROWS} rows")
    return {label: _row(label, row, bucket, out) for label, row in rows.items()}


def _row(label: str, row: Any, bucket: str, out: Path) -> CompileRequest:
    from compile.__main__ import parse

    if LABEL.fullmatch(label) is None:
        raise AskedInvalid(why=f"{label[:60]!r} is no name of a row: 40 letters, digits, single - or _")
    if not isinstance(row, dict):
        raise AskedInvalid(why=f"row {label} is not an object")
    words = [f"--out={out / label}"]
    for option, value in row.items():
        kind = ALLOWED.get(option)
        if kind is None:
            raise AskedInvalid(why=f"row {label}: `{option[:60]}` cannot be asked for in a request")
        spelt = kind(option, value)
        if spelt is None:
            raise AskedInvalid(why=f"row {label}: the value of `{option}` is none that it takes")
        words += spelt
    _check_model(label, row.get("model"), bucket)
    try:
        return parse(words)
    except TraceshipError as error:
        raise AskedInvalid(why=f"row {label}: {error.what}: {error.why}"[:500]) from None


def _check_model(label: str, model: Any, bucket: str) -> None:
    try:
        place, prefix = split_place(model) if isinstance(model, str) else ("", "")
    except NotAPlace:
        place, prefix = "", ""
    if place != bucket or not prefix.startswith(f"{MODELS}/"):
        raise AskedInvalid(why=f"row {label}: the model is not one below {SCHEME}{bucket}/{MODELS}/")


Kind = Callable[[str, Any], "list[str] | None"]
"""Spells an option with its value as words of a command line; None if it is no such value."""


def _text(option: str, value: Any) -> list[str] | None:
    good = isinstance(value, str) and _TEXT.fullmatch(value) is not None
    return [f"--{option}={value}"] if good else None


def _whole(option: str, value: Any) -> list[str] | None:
    good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**6
    return [f"--{option}={value}"] if good else None


def _number(option: str, value: Any) -> list[str] | None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 10**6
    return [f"--{option}={value}"] if good else None


def _switch(option: str, value: Any) -> list[str] | None:
    return None if not isinstance(value, bool) else [f"--{option}"] if value else []


def _texts(option: str, value: Any) -> list[str] | None:
    if not isinstance(value, list) or not 0 < len(value) <= 64:
        return None
    words = [_text(option, item) for item in value]
    return None if None in words else [word for spelt in words for word in spelt or ()]


def _reasons(option: str, value: Any) -> list[str] | None:
    """``{"gate": "reason"}``; a gate has no ``=``, with which its name would end."""
    if not isinstance(value, dict) or any("=" in gate for gate in value):
        return None
    return _texts(option, [f"{gate}={why}" if isinstance(why, str) else None for gate, why in value.items()])


ALLOWED: Mapping[str, Kind] = {
    **dict.fromkeys(("model", "revision", "task", "target", "pooling", "tier", "casting"), _text),
    **dict.fromkeys(
        (
            "choices",
            "compiler-timeout",
            "max-partitions",
            "max-target-length",
            "minimum-segment-size",
            "num-beams",
            "optimization",
            "pipeline-cores",
        ),
        _whole,
    ),
    **dict.fromkeys(("min-coverage", "single-fusion-ratio"), _number),
    **dict.fromkeys(("dynamic-batch", "fast-relayout", "normalize", "separate-weights", "truncate"), _switch),
    **dict.fromkeys(("allow-fallback", "bucket"), _texts),
    "waive": _reasons,
}
"""Every option that may be asked for, and how its value is spelt."""
