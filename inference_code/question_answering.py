"""Extractive question answering: {"question", "context"} in, the best spans of the context out.

A context that is longer than the largest bucket is read in windows, the question before each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from artifact.manifest import Manifest
from artifact.serving import MAX_ANSWER_BYTES, MAX_ANSWERS
from inference_code.encoding import MAX_UNSETTLED, Encoder
from inference_code.errors import AnswerTooLarge, BadRequest, InputTooLong
from inference_code.parameters import given, truth, whole_number
from inference_code.requests import Text, fields, string
from inference_code.rows import Marks, Outputs, Row, softmax
from inference_code.spans import Span, best_spans
from inference_code.task import Answered, Extent, Parameters, Task
from inference_code.windows import MAX_WINDOWS, window_count, windows

_SHAPE = 'send {"question", "context"}, or a list of those'
_LONGEST_ANSWER = 15
_LARGEST_OVERLAP = 128
_MOST_ANSWERS = 1000
_SMALLEST = len('{"score":0.1,"start":1,"end":1,"answer":""},')
_WINDOW_SECONDS, _SPAN_SECONDS, _KEPT_SECONDS, _ANSWER_SECONDS = 100e-6, 30e-9, 1e-6, 3e-6
"""About what a window, a possible span, one of a window's best and an answer cost the thread that writes."""


@dataclass(frozen=True)
class Question:
    """One input. ``field`` is its place in the request, for errors."""

    field: str
    question: str
    context: str


def _read(field: str, value: Any) -> Question:
    value = fields(field, value, {"question", "context"}, _SHAPE)
    question, context = (
        _filled(f"{field}.{name}", string(f"{field}.{name}", value.get(name), _SHAPE))
        for name in ("question", "context")
    )
    if len(context) > MAX_UNSETTLED:
        why = f"it has {len(context)} characters, the limit is {MAX_UNSETTLED}"
        raise BadRequest(field=f"{field}.context", why=why, fix="send its parts in several requests")
    return Question(field=field, question=question, context=context)


def _filled(field: str, text: str) -> str:
    if not text:
        raise BadRequest(field=field, why="it is empty", fix="send a text")
    return text


def _settle(parameters: Parameters, encoder: Encoder) -> Parameters:
    limit, asked = encoder.manifest.max_length, parameters.get("max_seq_len")
    if asked is not None and asked > limit:
        why = f"it is {asked}, the model's largest bucket holds {limit} tokens"
        raise BadRequest(field="parameters.max_seq_len", why=why, fix=f"send at most {limit}")
    return parameters


def _rows(item: Question, parameters: Parameters, encoder: Encoder) -> list[Row]:
    whole = encoder.encode_question(Text(f"{item.field}.question", item.question, None), item.context)
    assert whole.marks is not None
    before, context, after = _layout(whole.marks.sequences, parameters.get("max_question_len"))
    if not context:
        raise BadRequest(field=f"{item.field}.context", why="it holds no tokens", fix="send words")
    limit = given(parameters, "max_seq_len", encoder.manifest.max_length)
    others = len(after) + sum(len(part) for part in before)
    if others >= limit:
        raise InputTooLong(field=f"{item.field}.question", found=f"at least {others}", limit=limit - 1)
    room = limit - others
    if len(context) <= room:
        return [whole.picked(*before, context, after)]
    overlap = _overlap(parameters, limit, room)
    count = window_count(len(context), room, overlap)
    if count > MAX_WINDOWS:
        why = f"it takes {count} windows, the limit is {MAX_WINDOWS}"
        fix = "send its parts in several requests, or a smaller doc_stride or question"
        raise BadRequest(field=f"{item.field}.context", why=why, fix=fix)
    return [
        whole.picked(*before, context[window.start : window.stop], after)
        for window in windows(len(context), room, overlap)
    ]


def _layout(
    sequences: Sequence[int | None], longest_question: int | None
) -> tuple[tuple[range, range], range, range]:
    """Tokens up to the end of the question and on to the context, of the context, and after it.

    Args:
        sequences: of ``Marks``; all of the question's tokens precede all of the context's.
        longest_question: tokens of the question to keep; None keeps it whole.
    """
    total, asked, told = len(sequences), sequences.count(0), sequences.count(1)
    question = sequences.index(0) if asked else 0
    context = sequences.index(1) if told else total
    kept = asked if longest_question is None else min(asked, longest_question)
    before = range(question + kept), range(question + asked, context)
    return before, range(context, context + told), range(context + told, total)


def _overlap(parameters: Parameters, limit: int, room: int) -> int:
    asked: int | None = parameters.get("doc_stride")
    if asked is None:
        overlap = min(limit // 2, _LARGEST_OVERLAP)
        return overlap if overlap < room else room // 2
    if asked >= room:
        why = f"it is {asked}, and the question leaves {room} tokens for each window of the context"
        raise BadRequest(field="parameters.doc_stride", why=why, fix=f"send less than {room}")
    return asked


class _Found(msgspec.Struct, frozen=True):
    """A span of a window whose words are ``words``; of None: that there is no answer."""

    score: float
    span: Span | None = None
    words: _Words | None = None


def _answer(answered: Answered[Question], parameters: Parameters, _encoder: Encoder) -> Any:
    """The best span, or a list of ``top_k`` of them: {"score", "start", "end", "answer"}."""
    top_k = given(parameters, "top_k", 1)
    found, no_answer = [], 1.0
    for row, outputs in zip(answered.rows, answered.outputs):
        spans, nothing = _decoded(row, outputs, parameters, top_k)
        found += spans
        no_answer = min(no_answer, nothing)
    if given(parameters, "handle_impossible_answer", False):
        found.append(_Found(no_answer))
    found.sort(key=lambda one: -one.score)
    best = [(one.score, *_place(one)) for one in found[:top_k]]
    _check_size(sum(last - first for _, first, last in best))
    context = answered.item.context
    answers = [
        {"score": score, "start": first, "end": last, "answer": context[first:last]}
        for score, first, last in best
    ]
    return answers[0] if len(answers) == 1 else answers


def _check_size(characters: int) -> None:
    """A word may have a hundred thousand characters, and be part of a thousand answers."""
    if characters > MAX_ANSWER_BYTES:
        raise AnswerTooLarge(found=characters, limit=MAX_ANSWER_BYTES, at_least=True)


def _place(found: _Found) -> tuple[int, int]:
    """First and last-plus-one character."""
    if found.span is None or found.words is None:
        return 0, 0
    return found.words.of(found.span.first)[0], found.words.of(found.span.last)[1]


def _decoded(row: Row, outputs: Outputs, parameters: Parameters, top_k: int) -> tuple[list[_Found], float]:
    """The spans of one window, and its probability that there is no answer in it."""
    assert row.marks is not None
    tokens = [at for at, sequence in enumerate(row.marks.sequences) if sequence == 1]
    # The first token, which is special, stands for "no answer" and takes part in the softmax.
    start, end = (softmax(array[[0, *tokens]]) for array in outputs.arrays)
    longest = given(parameters, "max_answer_len", _LONGEST_ANSWER)
    words = _Words(row.marks, tokens, align=given(parameters, "align_to_words", True))
    spans = best_spans(start[1:], end[1:], longest=longest, top_k=top_k)
    return [_Found(span.score, span, words) for span in spans], float(start[0] * end[0])


class _Words:
    """Where in the context its tokens lie, or the words that they are part of; each word is looked at once.

    Args:
        tokens: places of the context's tokens in the row.
        align: to words.
    """

    def __init__(self, marks: Marks, tokens: Sequence[int], *, align: bool) -> None:
        self._marks = marks
        self._tokens = tokens
        self._align = align
        self._known: dict[int, tuple[int, int]] = {}

    def of(self, number: int) -> tuple[int, int]:
        """First and last-plus-one character of the context's token of that number, or of its word."""
        at, marks = self._tokens[number], self._marks
        if not self._align or marks.words[at] is None:
            return marks.offsets[at]
        if at not in self._known:
            first = last = at
            while first > 0 and _same_word(marks, first - 1, at):
                first -= 1
            while last + 1 < len(marks.words) and _same_word(marks, last + 1, at):
                last += 1
            word = marks.offsets[first][0], marks.offsets[last][1]
            self._known.update(dict.fromkeys(range(first, last + 1), word))
        return self._known[at]


def _same_word(marks: Marks, one: int, other: int) -> bool:
    return marks.words[one] == marks.words[other] and marks.sequences[one] == marks.sequences[other]


def _evidence(_row: Row, outputs: Outputs, _manifest: Manifest) -> Any:
    """Both logits of every token of a window, the question and special tokens included."""
    start, end = outputs.arrays
    return {"start_logits": start.tolist(), "end_logits": end.tolist()}


def _spans(row: Row, longest: int) -> int:
    """How many answers a window can hold."""
    assert row.marks is not None
    tokens = row.marks.sequences.count(1)
    longest = min(longest, tokens)
    return tokens * longest - longest * (longest - 1) // 2


def _extent(
    _items: Sequence[Question], rows_of: Sequence[Sequence[Row]], parameters: Parameters, _encoder: Encoder
) -> Extent:
    top_k, longest = given(parameters, "top_k", 1), given(parameters, "max_answer_len", _LONGEST_ANSWER)
    answers = windows = spans = kept = 0
    for rows in rows_of:
        possible = 0
        for row in rows:
            count = _spans(row, longest)
            possible += count
            kept += min(top_k, count)
        answers += min(top_k, possible)
        windows += len(rows)
        spans += possible
    return Extent(
        answers=answers,
        share=answers / MAX_ANSWERS,
        size=answers * _SMALLEST,
        seconds=_WINDOW_SECONDS * windows
        + _SPAN_SECONDS * spans
        + _KEPT_SECONDS * kept
        + _ANSWER_SECONDS * answers,
    )


_ANSWER = {
    "type": "object",
    "properties": {
        "score": {"type": "number"},
        "start": {"type": "integer"},
        "end": {"type": "integer"},
        "answer": {"type": "string"},
    },
    "required": ["score", "start", "end", "answer"],
    "additionalProperties": False,
}

QUESTION_ANSWERING = Task(
    parameters={
        "align_to_words": truth(says="Whether answers begin and end with words; left out: true."),
        "doc_stride": whole_number(
            0, says="Tokens that two windows of a long context share; left out: half a window, 128 at most."
        ),
        "handle_impossible_answer": truth(says="Whether no answer is an answer; left out: false."),
        "max_answer_len": whole_number(1, says=f"Tokens of the longest answer; left out: {_LONGEST_ANSWER}."),
        "max_question_len": whole_number(1, says="Tokens at which the question is cut; left out: never."),
        "max_seq_len": whole_number(
            1, says="Tokens of a window with its question; left out: the largest bucket's."
        ),
        "top_k": whole_number(1, _MOST_ANSWERS, says="How many answers, the best first; left out: one."),
    },
    read=_read,
    inputs={
        "type": "object",
        "properties": {
            "question": {"type": "string", "minLength": 1},
            "context": {"type": "string", "minLength": 1, "maxLength": MAX_UNSETTLED},
        },
        "required": ["question", "context"],
        "additionalProperties": False,
    },
    answers={"anyOf": [_ANSWER, {"type": "array", "items": _ANSWER}]},
    columns=(("question", "context"),),
    rows=_rows,
    answer=_answer,
    evidence=_evidence,
    settle=_settle,
    extent=_extent,
)
