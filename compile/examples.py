"""What the proof asks, as requests have it: our own texts, and the user's examples.

Our texts are in ``texts.json``; each task makes its kind of input of them. A user's file
(``--samples``) holds one example a line; with labels it also gives the task's metric.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from artifact.errors import UsageError
from compile.tasks import Example as Kind
from compile.tasks import TaskSpec

Text = str | tuple[str, str]
"""A text, or a pair of them that shares a row."""

MAX_SAMPLES = 10_000
"""Examples of a user's file that are read; more would make every compile an evaluation."""


class SamplesUnusable(UsageError):
    """The file of ``--samples`` does not hold examples of the task."""

    id = "samples-unusable"

    def __init__(self, *, file: str, why: str, example: str) -> None:
        super().__init__(
            what=f"the examples in {file} cannot be used", why=why, fix=f"give one example a line: {example}"
        )


@dataclass(frozen=True)
class Example:
    """One input of a request.

    Attributes:
        parts: the texts to be tokenised: one, or one for each choice.
        request: the input as it stands in a request's ``inputs``.
        label: what the user says is right; ``None`` where they do not.
        given: whether it is the user's.
    """

    parts: tuple[Text, ...]
    request: Any
    label: Any = None
    given: bool = False

    @property
    def full(self) -> bool:
        """Whether no text in it is empty."""
        return all(all(part) if isinstance(part, tuple) else bool(part) for part in self.parts)


_FORMS: Mapping[Kind, str] = {
    "text": '{"text": "…", "label": …}',
    "text-or-pair": '{"text": "…", "text_pair": "…", "label": "…"}',
    "question": '{"question": "…", "context": "…", "answer": "…"}',
    "masked": '{"text": "… MASK …", "label": "…"} with the tokenizer\'s own mask token',
    "choices": '{"text": "…", "choices": ["…", "…"], "label": 0}',
}


def built_in(spec: TaskSpec, *, choices: int | None, mask_token: str | None) -> list[Example]:
    """Our own texts, as inputs of the task."""
    data = json.loads(Path(__file__).with_name("texts.json").read_text(encoding="utf-8"))
    texts: list[str] = data["texts"]
    pairs: list[tuple[str, str]] = [(first, second) for first, second in data["pairs"]]
    if spec.example == "text":
        return [_text(text) for text in texts]
    if spec.example == "text-or-pair":
        return [_pair(*pair) for pair in pairs] + [_text(text) for text in texts]
    if spec.example == "question":
        # to transformers a pair with an empty half is a single text, and no question
        return [_question(*pair) for pair in [*pairs, *zip(texts[1:], texts)] if all(pair)]
    if spec.example == "masked":
        return [_text(_masked(text, str(mask_token))) for text in texts if text.split()]
    count = choices or 1
    long = [text for text in texts if text]
    words: list[str] = data["words"]
    return [
        _choices(prompt, [pool[(at + step) % len(pool)] for step in range(1, count + 1)])
        for pool in (long, words)  # the words make rows that fit the shortest bucket
        for at, prompt in enumerate(pool)
    ]


def read_samples(path: Path, spec: TaskSpec, *, choices: int | None, mask_token: str | None) -> list[Example]:
    """The user's examples: JSON Lines, a JSON array, or plain lines of text.

    Raises:
        SamplesUnusable: no example, too many, or one that is not an input of the task.
    """
    examples = []
    for number, item in _items(path, spec):
        try:
            example = _example(item, spec.example, choices)
        except (KeyError, TypeError, ValueError) as error:
            raise _unusable(path, spec, f"example {number} is not an input of {spec.name}: {error}") from None
        if spec.example == "masked" and str(mask_token) not in str(example.parts[0]):
            raise _unusable(path, spec, f"example {number} has no {mask_token}")
        examples.append(replace(example, given=True))
    if not examples:
        raise _unusable(path, spec, "it is empty")
    return examples


def _unusable(path: Path, spec: TaskSpec, why: str) -> SamplesUnusable:
    return SamplesUnusable(file=str(path), why=why, example=_FORMS[spec.example])


def _items(path: Path, spec: TaskSpec) -> list[tuple[int, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(path, spec, f"it cannot be read ({error})") from None
    array = _array(text)
    if array is not None:
        items = list(enumerate(array, start=1))
    else:  # only \n ends a line: str.splitlines() knows ten other ends, which a text may hold
        lines = [(n, line.rstrip("\r")) for n, line in enumerate(text.split("\n"), start=1) if line.strip()]
        items = [(n, _line(line, path, spec, n)) for n, line in lines]
    if len(items) > MAX_SAMPLES:
        raise _unusable(path, spec, f"it holds {len(items)} examples, at most {MAX_SAMPLES} are read")
    return items


def _array(text: str) -> list[Any] | None:
    """The file as one JSON array, if it is one; a plain text may begin with a bracket too."""
    if not text.lstrip().startswith("["):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) else None


def _line(line: str, path: Path, spec: TaskSpec, number: int) -> Any:
    quoted = line.lstrip().startswith('"')
    if not quoted and not line.lstrip().startswith("{"):
        return line
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        if quoted:  # a sentence in quotation marks, and more behind them
            return line
        raise _unusable(path, spec, f"line {number} is not JSON ({error})") from None


def _example(item: Any, kind: Kind, choices: int | None) -> Example:
    """
    Raises:
        KeyError, TypeError, ValueError: what is missing or wrong.
    """
    if isinstance(item, str):
        item = {"text": item}
    if not isinstance(item, dict):
        raise TypeError("neither a text nor an object")
    label = item.get("label", item.get("answer"))
    if "inputs" in item or "input" in item:
        inner = item.get("inputs", item.get("input"))
        item = {"text": inner} if isinstance(inner, str) else inner
    if kind == "question":
        return _question(_string(item, "question"), _string(item, "context"), label)
    text = _string(item, "text")
    if kind == "choices":
        given = item["choices"]
        if not isinstance(given, list) or len(given) != choices:
            raise ValueError(f"it must have {choices} choices")
        return _choices(text, [_string({"a choice": choice}, "a choice") for choice in given], label)
    if kind == "text-or-pair" and item.get("text_pair") is not None:
        if item["text_pair"] == "":
            raise ValueError("text_pair is empty; leave it out for a single text")
        return _pair(text, _string(item, "text_pair"), label)
    return _text(text, label)


def _string(item: Mapping[str, Any], key: str) -> str:
    if key not in item:
        raise KeyError(f"no {key}")
    if not isinstance(item[key], str):
        raise TypeError(f"{key} is not a text")
    value: str = item[key]
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ValueError(f"{key} holds half of a surrogate pair")
    return value


def _text(text: str, label: Any = None) -> Example:
    return Example(parts=(text,), request=text, label=label)


def _pair(first: str, second: str, label: Any = None) -> Example:
    return Example(parts=((first, second),), request={"text": first, "text_pair": second}, label=label)


def _question(question: str, context: str, label: Any = None) -> Example:
    request = {"question": question, "context": context}
    return Example(parts=((question, context),), request=request, label=label)


def _choices(text: str, choices: list[str], label: Any = None) -> Example:
    parts = tuple((text, choice) for choice in choices)
    return Example(parts=parts, request={"text": text, "choices": choices}, label=label)


def _masked(text: str, mask_token: str) -> str:
    """The text with the word in its middle masked; white space becomes single spaces."""
    words = text.split()
    words[len(words) // 2] = mask_token
    return " ".join(words)
