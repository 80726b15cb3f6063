"""Token classification: a text in, its entities out, as transformers' pipeline groups them.

With a ``stride`` a text that is longer than the largest bucket is read in windows.

Source: transformers 5.24, pipelines/token_classification.py, with a fast tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from artifact.manifest import Manifest
from inference_code.encoding import MAX_UNSETTLED, Encoder
from inference_code.errors import BadRequest
from inference_code.parameters import TRUNCATION, given, one_of, strings, whole_number
from inference_code.requests import TEXT, Text, read_text
from inference_code.rows import Outputs, Row, softmax
from inference_code.task import Answered, Extent, Parameters, Task
from inference_code.vocabulary import Vocabulary
from inference_code.windows import MAX_WINDOWS, window_count, windows

if TYPE_CHECKING:
    from inference_code.rows import FloatArray


_TOKEN_SECONDS = 8e-6
"""About what a token costs the thread that writes."""


@dataclass(frozen=True)
class _Token:
    """A token that is not special; ``scores`` by label, ``continues`` the word before it."""

    index: int
    word: str
    start: int
    end: int
    scores: FloatArray
    continues: bool


@dataclass(frozen=True)
class _Entity:
    """A token or word with its label."""

    label: str
    score: float
    word: str
    start: int
    end: int


def _settle(parameters: Parameters, _encoder: Encoder) -> Parameters:
    if parameters.get("stride") is not None and parameters.get("aggregation_strategy") == "none":
        why = "windows are put together by their entities, and aggregation_strategy none makes none"
        raise BadRequest(field="parameters.stride", why=why, fix="send another strategy, or no stride")
    return parameters


def _rows(item: Text, parameters: Parameters, encoder: Encoder) -> list[Row]:
    stride: int | None = parameters.get("stride")
    if stride is None:
        return [encoder.encode(item, marked=True, cut=parameters.get("truncation"))]
    if len(item.text) > MAX_UNSETTLED:
        why = f"it has {len(item.text)} characters, the limit is {MAX_UNSETTLED}"
        raise BadRequest(field=item.field, why=why, fix="send its parts in several requests")
    whole = encoder.encode_whole(item.text)
    before, text, after = _layout(whole)
    room = encoder.manifest.max_length - len(before) - len(after)
    if stride >= room:
        why = f"it is {stride}, and a window holds {room} tokens of the text"
        raise BadRequest(field="parameters.stride", why=why, fix=f"send less than {room}")
    if not text:
        return [whole]
    count = window_count(len(text), room, stride)
    if count > MAX_WINDOWS:
        why = f"it takes {count} windows, the limit is {MAX_WINDOWS}"
        raise BadRequest(field=item.field, why=why, fix="send its parts, or a smaller stride")
    return [
        whole.picked(before, text[window.start : window.stop], after)
        for window in windows(len(text), room, stride)
    ]


def _layout(whole: Row) -> tuple[range, range, range]:
    """The special tokens before the text, the text's, and the special tokens after it."""
    assert whole.marks is not None
    total, told = len(whole.ids), whole.marks.sequences.count(0)
    first = whole.marks.sequences.index(0) if told else total
    return range(first), range(first, first + told), range(first + told, total)


def _answer(answered: Answered[Text], parameters: Parameters, encoder: Encoder) -> Any:
    """[{"entity", "score", "index", "word", "start", "end"}], one for each token with a label.

    With an ``aggregation_strategy`` other than none "entity_group" takes the place of "entity" and
    "index". Start and end are characters of the text, "index" counts the tokens of a window.
    """
    found = [
        entity
        for row, outputs in zip(answered.rows, answered.outputs)
        for entity in _entities(answered.item.text, row, outputs, parameters, encoder)
    ]
    return found if len(answered.rows) == 1 else _merged(found)


def _merged(entities: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of entities that overlap the longest, of those the surest: neighbours in two windows or one."""
    kept: list[dict[str, Any]] = []
    for entity in sorted(entities, key=lambda entity: int(entity["start"])):
        if not kept or entity["start"] >= kept[-1]["end"]:
            kept.append(entity)
        elif _weight(entity) > _weight(kept[-1]):
            kept[-1] = entity
    return kept


def _weight(entity: dict[str, Any]) -> tuple[int, float]:
    return entity["end"] - entity["start"], entity["score"]


def _entities(
    text: str, row: Row, outputs: Outputs, parameters: Parameters, encoder: Encoder
) -> list[dict[str, Any]]:
    strategy = given(parameters, "aggregation_strategy", "none")
    ignored = given(parameters, "ignore_labels", ["O"])
    labels = encoder.manifest.labels
    tokens = list(_tokens(text, row, softmax(outputs.arrays[0]), encoder.vocabulary))
    if strategy == "none":
        entities = [(token, _entity(token, labels)) for token in tokens]
        return [_as_token(token, entity) for token, entity in entities if entity.label not in ignored]
    if strategy == "simple":
        words = [_entity(token, labels) for token in tokens]
    else:
        words = [_word(parts, strategy, labels, encoder.vocabulary) for parts in _by_word(tokens)]
    groups = (_as_group(members, encoder.vocabulary) for members in _by_label(words))
    return [group for group in groups if group["entity_group"] not in ignored]


def _tokens(text: str, row: Row, scores: FloatArray, vocabulary: Vocabulary) -> Iterator[_Token]:
    assert row.marks is not None
    for at, (start, end) in enumerate(row.marks.offsets):
        if row.marks.sequences[at] is None:
            continue
        word, shown = vocabulary.token(row.ids[at]), text[start:end]
        if row.ids[at] == vocabulary.unknown_id:
            word, continues = shown, False
        elif vocabulary.knows_words:
            continues = len(word) != len(shown)
        else:
            continues = start > 0 and " " not in text[start - 1 : start + 1]
        yield _Token(index=at, word=word, start=start, end=end, scores=scores[at], continues=continues)


def _entity(token: _Token, labels: Sequence[str]) -> _Entity:
    best = int(token.scores.argmax())
    return _Entity(
        label=labels[best], score=float(token.scores[best]), word=token.word, start=token.start, end=token.end
    )


def _by_word(tokens: Iterable[_Token]) -> Iterator[list[_Token]]:
    parts: list[_Token] = []
    for token in tokens:
        if parts and not token.continues:
            yield parts
            parts = []
        parts.append(token)
    if parts:
        yield parts


def _word(parts: Sequence[_Token], strategy: str, labels: Sequence[str], vocabulary: Vocabulary) -> _Entity:
    """One label for the tokens of a word: of the first, of the surest, or of their mean."""
    import numpy as np

    if strategy == "first":
        scores = parts[0].scores
    elif strategy == "max":
        scores = max(parts, key=lambda part: float(part.scores.max())).scores
    else:
        scores = np.stack([part.scores for part in parts]).mean(axis=0)
    best = int(scores.argmax())
    return _Entity(
        label=labels[best],
        score=float(scores[best]),
        word=vocabulary.join([part.word for part in parts]),
        start=parts[0].start,
        end=parts[-1].end,
    )


def _by_label(entities: Iterable[_Entity]) -> Iterator[list[_Entity]]:
    """Neighbours with one tag belong together, unless the next one begins (``B-``)."""
    members: list[_Entity] = []
    for entity in entities:
        joins = members and _tag(entity.label) == _tag(members[-1].label)
        if members and (not joins or entity.label.startswith("B-")):
            yield members
            members = []
        members.append(entity)
    if members:
        yield members


def _tag(label: str) -> str:
    return label[2:] if label.startswith(("B-", "I-")) else label


def _as_token(token: _Token, entity: _Entity) -> dict[str, Any]:
    return {
        "entity": entity.label,
        "score": entity.score,
        "index": token.index,
        "word": entity.word,
        "start": entity.start,
        "end": entity.end,
    }


def _as_group(members: Sequence[_Entity], vocabulary: Vocabulary) -> dict[str, Any]:
    return {
        "entity_group": members[0].label.split("-", 1)[-1],
        "score": sum(member.score for member in members) / len(members),
        "word": vocabulary.join([member.word for member in members]),
        "start": members[0].start,
        "end": members[-1].end,
    }


def _evidence(_row: Row, outputs: Outputs, _manifest: Manifest) -> Any:
    """[tokens][labels] logits, special tokens included."""
    return outputs.arrays[0].tolist()


def _extent(
    _items: Sequence[Text], rows_of: Sequence[Sequence[Row]], _parameters: Parameters, _encoder: Encoder
) -> Extent:
    return Extent(seconds=_TOKEN_SECONDS * sum(row.length for rows in rows_of for row in rows))


_ENTITY = {
    "type": "object",
    "properties": {
        "entity": {"type": "string"},
        "entity_group": {"type": "string"},
        "score": {"type": "number"},
        "index": {"type": "integer"},
        "word": {"type": "string"},
        "start": {"type": "integer"},
        "end": {"type": "integer"},
    },
    "required": ["score", "word", "start", "end"],
    "additionalProperties": False,
}

TOKEN_CLASSIFICATION = Task(
    parameters={
        "aggregation_strategy": one_of(
            "none",
            "simple",
            "first",
            "average",
            "max",
            says="How tokens become entities; left out: none, each is its own.",
        ),
        "ignore_labels": strings(says='Labels that are not answered; left out: ["O"].'),
        "stride": whole_number(
            0,
            says="Tokens that two windows of a long text share; left out: a text that is too long for one "
            "is refused or cut.",
        ),
        "truncation": TRUNCATION,
    },
    read=read_text,
    inputs=TEXT,
    answers={"type": "array", "items": _ENTITY},
    columns=(("text",),),
    rows=_rows,
    answer=_answer,
    evidence=_evidence,
    settle=_settle,
    extent=_extent,
)
