"""Words remembered: the same rows as the tokenizer's own, for less."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference_code import word_memory
from inference_code.encoding import Encoder
from inference_code.load import LoadedModel
from inference_code.requests import Text
from inference_code.word_memory import WordMemory, memory_of, remembers
from tests.kit.handmade import Recipe, tokenizer

WORDNESS = [
    "a",
    "Ab",
    "fox",
    "é",
    "e\u0301",
    "\u0301",
    "ΣΑΣ",
    "中",
    "文",
    "[MASK]",
    "[SEP]x",
    "a[MASK]b",
    "don't,",
    "a-b",
    "[ MASK ]",
    "...",
]
SPACES = [
    " ",
    "  ",
    "\t",
    "\n",
    "\u00a0",
    "\u2003",
    "\u0085",
    "\x1c",
    "\u200b",
    "\u00ad",
    "\x00",
    "\ufffd",
    "ß",
    "İ",
]
TEXTS = st.lists(
    st.sampled_from([*WORDNESS, *SPACES, *SPACES[:1] * 5]) | st.text(max_size=3), max_size=40
).map("".join)


def _json(**changed: Any) -> bytes:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    letters = "abcdefghijklmnopqrstuvwxyz中文\u03c3\u03b1\u03c2.é"
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *letters,
        *(f"##{letter}" for letter in letters),
        "fox",
    ]
    made = Tokenizer(models.WordPiece({piece: at for at, piece in enumerate(pieces)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]:1",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    made.add_special_tokens(pieces[:5])
    return json.dumps({**json.loads(made.to_str()), **changed}).encode()


def _tokenizer(data: bytes) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_str(data.decode())


TOKENIZER = _tokenizer(_json())
MEMORY = WordMemory(TOKENIZER, _json())


@settings(max_examples=500, deadline=None)
@given(TEXTS)
def test_a_text_has_the_tokens_that_the_tokenizer_gives_it(text: str) -> None:
    """Whatever its blanks, marks, controls and special tokens, and whether its words are new or known."""
    wanted = TOKENIZER.encode(text)

    for _ in range(2):
        assert MEMORY.row(MEMORY.tokens(text)) == (wanted.ids, wanted.type_ids)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(["w1", "w2", "other", "中", "a" * 70, "a" * 200, ""]), max_size=60),
    st.booleans(),
)
def test_a_cut_text_has_the_row_that_the_tokenizer_cuts(
    models: Callable[..., LoadedModel], words: list[str], known: bool
) -> None:
    """Its beginning decides, and that ends between two words."""
    model = models(Recipe(truncate=True))
    cut = tokenizer()
    cut.enable_truncation(model.manifest.max_length)
    text = " ".join(words)
    wanted = cut.encode(text)

    for _ in range(1 + known):
        row = model.encoder.encode(Text("inputs", text, None))

    assert (row.ids, row.types) == (wanted.ids, wanted.type_ids)


def test_a_known_word_is_not_tokenised_again() -> None:
    """That is what the memory is for."""
    counting = _Counting(TOKENIZER)
    memory = WordMemory(counting, _json())
    memory.tokens("one fox two fox")
    before = counting.calls

    memory.tokens("two one fox")

    assert counting.calls == before


def test_a_new_word_is_tokenised_once_however_often_it_stands_there() -> None:
    """A client that repeats a word a thousand times gets no thousand calls."""
    counting = _Counting(TOKENIZER)
    memory = WordMemory(counting, _json())
    before = counting.calls

    memory.tokens("new " * 1000)

    assert counting.calls - before == 1


def test_the_memory_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words without end must not fill the server; long ones are never kept."""
    monkeypatch.setattr(word_memory, "MOST_WORDS", 100)
    memory = WordMemory(TOKENIZER, _json())
    for number in range(1000):
        memory.tokens(f"word{number}")
    memory.tokens("a" * 65)

    assert 0 < len(memory._known) <= 100
    assert "a" * 65 not in memory._known


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"normalizer": {"type": "Lowercase"}}, id="another normalizer"),
        pytest.param({"normalizer": None}, id="no normalizer"),
        pytest.param({"pre_tokenizer": {"type": "Whitespace"}}, id="another splitter"),
        pytest.param({"model": {"type": "BPE"}}, id="another model"),
        pytest.param(
            {"added_tokens": [{"content": "two words", "normalized": False}]}, id="token with a blank"
        ),
        pytest.param({"added_tokens": [{"content": "中", "normalized": True}]}, id="token that gets blanks"),
    ],
)
def test_a_tokenizer_that_may_look_across_blanks_is_asked_every_time(changed: dict[str, Any]) -> None:
    """Only what is known to work word by word is remembered."""
    assert remembers(_json())
    assert not remembers(_json(**changed))


@pytest.mark.parametrize("around", ["a $A [SEP]", "$A [SEP] $A"])
def test_a_tokenizer_whose_special_tokens_cannot_be_told_is_asked_every_time(around: str) -> None:
    """Remembering is an optimisation: where it cannot be had, the artifact is served without it."""
    processor = {
        "type": "TemplateProcessing",
        "single": [
            {"Sequence": {"id": "A", "type_id": 0}}
            if part == "$A"
            else {"SpecialToken": {"id": part, "type_id": 0}}
            for part in around.split()
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            "a": {"id": "a", "ids": [5], "tokens": ["a"]},
            "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]},
        },
    }
    data = _json(post_processor=processor)

    assert remembers(data)
    assert memory_of(_tokenizer(data), data) is None
    assert memory_of(TOKENIZER, _json()) is not None


def test_the_encoder_remembers_where_it_may(models: Callable[..., LoadedModel]) -> None:
    """Texts alone: pairs and rows with marks are the tokenizer's."""
    encoder: Encoder = models().encoder
    memory = encoder._memory

    assert memory is not None
    encoder.encode(Text("inputs", "w1 other", None))
    assert "other" in memory._known


class _Counting:
    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.calls = 0

    def encode(self, *arguments: Any, **named: Any) -> Any:
        self.calls += 1
        return self._tokenizer.encode(*arguments, **named)
