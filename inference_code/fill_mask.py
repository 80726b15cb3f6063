"""Fill mask: a text with mask tokens in, the likeliest words for each out, as the pipeline gives them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from artifact.manifest import Manifest
from artifact.serving import MAX_ANSWERS
from inference_code.encoding import Encoder
from inference_code.errors import BadRequest
from inference_code.parameters import TRUNCATION, Parameter, check_strings, given, whole_number
from inference_code.requests import TEXT, Text, read_text
from inference_code.rows import Outputs, Row, softmax
from inference_code.sentences import MAX_WHOLE_TOKENS, Sentences
from inference_code.task import Answered, Extent, Parameters, Task

if TYPE_CHECKING:
    from inference_code.rows import FloatArray

_WORDS = 5
_MOST_WORDS = 1000
_EVIDENCE = 64
"""Logits that golden.json records of the tens of thousands at a place."""
_SMALLEST = len('{"score":0.1,"token":1,"token_str":"","sequence":""},')
_MANY_TOKENS = 1_000_000
_LOGIT_SECONDS, _TOKEN_SECONDS, _ANSWER_SECONDS = 20e-9, 1e-6, 5e-6
"""About what a logit, a token that is decoded, and a word cost the thread that writes."""


def _targets(field: str, value: Any) -> list[str] | None:
    found = check_strings(field, [value] if isinstance(value, str) else value)
    if found is not None and not 1 <= len(found) <= _MOST_WORDS:
        why = f"it has {len(found)} words"
        raise BadRequest(field=field, why=why, fix=f"send 1 to {_MOST_WORDS}, or leave it out")
    return found


def _settle(parameters: Parameters, encoder: Encoder) -> Parameters:
    """Targets as token ids, in rising order and each once."""
    targets: list[str] | None = parameters.get("targets")
    if targets is None:
        return parameters
    ids = {_token_id(at, word, encoder) for at, word in enumerate(targets)}
    return {**parameters, "targets": sorted(ids)}


def _token_id(at: int, word: str, encoder: Encoder) -> int:
    number = encoder.vocabulary.find(word)
    known = encoder.manifest.outputs[0].shape[-1]
    if number is None or (isinstance(known, int) and number >= known):
        shown = word if len(word) <= 40 else word[:40] + "…"
        why = f'"{shown}" is no token of the model\'s vocabulary'
        raise BadRequest(field=f"parameters.targets[{at}]", why=why, fix="send words that are one token")
    return number


def _rows(item: Text, parameters: Parameters, encoder: Encoder) -> list[Row]:
    row, mask = encoder.encode(item, cut=parameters.get("truncation")), _mask(encoder)
    places = tuple(at for at, token in enumerate(row.ids) if token == mask)
    if not places:
        spelled = encoder.vocabulary.token(mask)
        why = f"there is no {spelled} among its first {row.length} tokens"
        raise BadRequest(field=item.field, why=why, fix=f"put {spelled} where a word is to be found")
    return [Row(ids=row.ids, types=row.types, keep=places)]


def _answer(answered: Answered[Text], parameters: Parameters, encoder: Encoder) -> Any:
    """[{"score", "token", "token_str", "sequence"}] for one mask; a list of those for several."""
    (row,), (outputs,) = answered.rows, answered.outputs
    assert row.keep is not None
    targets: list[int] | None = parameters.get("targets")
    top_k = given(parameters, "top_k", _WORDS)
    scores = softmax(outputs.arrays[0])
    single = len(row.keep) == 1
    sentences, spelled = _sentences(row, row.keep, encoder), _Spelled(encoder)
    found = [
        [
            {
                "score": score,
                "token": token,
                "token_str": spelled[token],
                "sequence": sentences.filled(place, token),
            }
            for token, score in _best(scores[at], targets, top_k)
        ]
        for at, place in enumerate(row.keep)
    ]
    return found[0] if single else found


def _sentences(row: Row, places: Sequence[int], encoder: Encoder) -> Sentences:
    padding, vocabulary = encoder.manifest.padding.token_id, encoder.vocabulary
    # With several masks the others must stay readable, and they are special tokens.
    return Sentences(vocabulary, row.ids, places, padding=padding, skip_special=len(places) == 1)


class _Spelled(dict[int, str]):
    """Tokens as texts; the same ones come for mask after mask."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def __missing__(self, token: int) -> str:
        self[token] = text = self._encoder.vocabulary.text([token])
        return text


def _extent(
    _items: Sequence[Text], rows_of: Sequence[Sequence[Row]], parameters: Parameters, encoder: Encoder
) -> Extent:
    targets: list[int] | None = parameters.get("targets")
    vocabulary = int(encoder.manifest.outputs[0].shape[-1])
    words = min(given(parameters, "top_k", _WORDS), len(targets) if targets is not None else vocabulary)
    whole = not encoder.vocabulary.goes_token_by_token
    answers = masks = tokens = anew = size = 0
    for (row,) in rows_of:
        count = words * row.weight
        answers += count
        masks += row.weight
        tokens += len(row.ids)
        anew += len(row.ids) * count if whole else 0
        size += count * (_SMALLEST + _shortest(row, count, encoder))
    return Extent(
        answers=answers,
        share=max(answers / MAX_ANSWERS, anew / MAX_WHOLE_TOKENS),
        size=size,
        seconds=_LOGIT_SECONDS * vocabulary * masks
        + _TOKEN_SECONDS * (tokens + anew)
        + _ANSWER_SECONDS * answers,
    )


def _shortest(row: Row, answers: int, encoder: Encoder) -> int:
    """Bytes of a row's sentence without a word in the mask, where so many could be too many."""
    if answers * len(row.ids) < _MANY_TOKENS or not encoder.vocabulary.goes_token_by_token:
        return 0
    assert row.keep is not None
    sentences = _sentences(row, row.keep, encoder)
    return len(sentences.filled(row.keep[0], encoder.manifest.padding.token_id).encode())


def _best(scores: FloatArray, targets: list[int] | None, top_k: int) -> list[tuple[int, float]]:
    """Token ids with their scores, best first."""
    import numpy as np

    tokens = np.arange(len(scores)) if targets is None else np.array(targets)
    scores = scores[tokens]
    best = np.arange(len(scores))
    if top_k < len(scores):
        best = np.sort(np.argpartition(-scores, top_k - 1)[:top_k])
    best = best[np.argsort(-scores[best], kind="stable")]
    return [(int(tokens[at]), float(scores[at])) for at in best]


def _evidence(_row: Row, outputs: Outputs, _manifest: Manifest) -> Any:
    """Logits at the first mask, of tokens at equal distances, 64 at most."""
    logits = outputs.arrays[0][0]
    return logits[:: -(-len(logits) // _EVIDENCE)].tolist()


def _mask(encoder: Encoder) -> int:
    mask = encoder.manifest.mask_token_id
    assert mask is not None, "Encoder refuses a manifest without"
    return mask


_TARGETS = Parameter(
    _targets,
    {
        "anyOf": [
            {"type": ["string", "null"]},
            {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": _MOST_WORDS},
        ]
    },
    "Words to choose from, each one token of the vocabulary; left out: all of it.",
)
_PROPOSITION = {
    "type": "object",
    "properties": {
        "score": {"type": "number"},
        "token": {"type": "integer"},
        "token_str": {"type": "string"},
        "sequence": {"type": "string"},
    },
    "required": ["score", "token", "token_str", "sequence"],
    "additionalProperties": False,
}
_PROPOSITIONS = {"type": "array", "items": _PROPOSITION}

FILL_MASK = Task(
    parameters={
        "targets": _TARGETS,
        "top_k": whole_number(1, _MOST_WORDS, says=f"How many words for each mask; left out: {_WORDS}."),
        "truncation": TRUNCATION,
    },
    read=read_text,
    inputs=TEXT,
    answers={"anyOf": [_PROPOSITIONS, {"type": "array", "items": _PROPOSITIONS}]},
    columns=(("text",),),
    rows=_rows,
    answer=_answer,
    evidence=_evidence,
    settle=_settle,
    extent=_extent,
)
