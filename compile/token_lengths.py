"""How many tokens the texts of a file have, special tokens included, whole and unpadded.

The tokenizer is the one that the artifact would carry: made by transformers from the model's
files. That costs an import of torch, so it runs in a child (``python -m compile.token_lengths``).
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from artifact.errors import UsageError
from artifact.manifest import Record
from compile.children import child_main, run
from compile.lengths import Histogram, Kind, checked, read_text
from compile.source import ModelSource

_CHUNK = 10_000
"""Texts tokenised at once; bounds the memory, not the result."""

TextOrPair = str | tuple[str, str]


class TextRefused(UsageError):
    """A line of a JSON Lines file that holds no text."""

    id = "text-refused"

    def __init__(self, *, file: str, line: int, why: str) -> None:
        super().__init__(
            what=f"line {line} of {file} holds no text",
            why=why,
            fix='write a JSON string or {"text": "…"} on each line, or add `--kind texts` for plain text',
        )


class CountJob(Record, frozen=True, kw_only=True):
    """Count the tokens of the texts in ``file`` with the tokenizer of ``model``, an exposed folder."""

    model: str
    file: str
    kind: Kind


class CountResult(Record, frozen=True, kw_only=True):
    """Pairs of length in tokens and rows, by rising length."""

    counts: tuple[tuple[int, int], ...]


def count_tokens(path: Path, kind: Kind, source: ModelSource) -> Histogram:
    """Rows by length in tokens. Blank lines are no texts; an empty JSON string is one.

    Raises:
        TextRefused, LengthsEmpty, LengthsUnreadable: the file.
        TokenizerMissing: see ``compile.model.load_tokenizer``.
        ChildFailed: the tokenising process ended without an answer.
    """
    with tempfile.TemporaryDirectory(prefix="traceship-tokens-") as scratch:
        folder = Path(scratch)
        exposed = source.expose(folder / "model")
        job = CountJob(model=str(exposed), file=str(path.absolute()), kind=kind)
        answer = run(
            "compile.token_lengths", job, CountResult, folder=folder, name="token-lengths", timeout=None
        )
    return dict(answer.result.counts)


def count_here(job: CountJob) -> CountResult:
    """What the child does.

    Raises:
        As ``count_tokens``, but for ``ChildFailed``.
    """
    from compile.model import load_tokenizer, portable_tokenizer

    tokenizer = portable_tokenizer(load_tokenizer(job.model))
    texts = read_texts(Path(job.file), job.kind)
    lengths: Counter[int] = Counter()
    while chunk := list(islice(texts, _CHUNK)):
        lengths.update(len(encoding.ids) for encoding in tokenizer.encode_batch(chunk))
    return CountResult(counts=tuple(sorted(checked(lengths.items(), job.file).items())))


def read_texts(path: Path, kind: Kind) -> Iterator[TextOrPair]:
    """The texts of a ``texts`` or ``json-lines`` file; a pair where there is a "text_pair".

    Raises:
        TextRefused, LengthsUnreadable: see there.
    """
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield line.strip() if kind == "texts" else _from_json(line, number, str(path))


def _from_json(line: str, number: int, file: str) -> TextOrPair:
    try:
        value: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise TextRefused(file=file, line=number, why=f"it is not JSON ({error})") from None
    if isinstance(value, str):
        return value
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        raise TextRefused(file=file, line=number, why='it is neither a string nor an object with a "text"')
    pair = value.get("text_pair")
    if pair is None:
        return str(value["text"])
    if not isinstance(pair, str):
        raise TextRefused(file=file, line=number, why='its "text_pair" is not a string')
    return value["text"], pair


if __name__ == "__main__":
    sys.exit(child_main(CountJob, count_here, sys.argv[1:]))
