"""Marian's tokenizer without transformers: the same ids, the same text back, in one file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from artifact.manifest import TOKENIZER
from artifact.tokenization import MarianTokenizer, TokenizerBroken, load_tokenizer
from compile import model
from compile.source import TokenizerMissing, resolve
from tests.compile.world import compare_in, failed_gates, make_request, make_world, trace_in
from tests.kit.marian import CODE, marian_model, marian_tokenizer

_TEXTS = json.loads((Path(__file__).parents[2] / "compile/texts.json").read_text(encoding="utf-8"))["texts"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, MarianTokenizer]:
    """transformers' own and ours, the latter read back from its file."""
    folder = tmp_path_factory.mktemp("marian")
    marian_tokenizer(folder)
    own = transformers.MarianTokenizer.from_pretrained(folder)
    ours = load_tokenizer(model.portable_tokenizer(own).to_str().encode())
    assert isinstance(ours, MarianTokenizer)
    return own, ours


_ODD = [f"{CODE} the mill", "a </s> b", "<unk>", "x<pad>"]
if not transformers.__version__.startswith("4."):
    _ODD.append(f"no {CODE}")  # transformers 4 drops a language code in the middle of a text, 5 keeps it


@pytest.mark.parametrize("text", [*_TEXTS, *_ODD])
def test_known_texts_get_transformers_ids(pair: tuple[Any, MarianTokenizer], text: str) -> None:
    """Language codes, special tokens in the text, other scripts, blanks."""
    own, ours = pair

    assert ours.encode(text).ids == own(text)["input_ids"]
    assert ours.encode_batch([text, text])[1] == ours.encode(text)


@settings(max_examples=300)
@given(st.text(alphabet=st.sampled_from("theamilcn .,!?\n\t\u3000éяжت😀▁<>/su"), max_size=60))
def test_any_text_gets_transformers_ids(pair: tuple[Any, MarianTokenizer], text: str) -> None:
    """Also where a piece is unknown to the vocabulary."""
    own, ours = pair

    assert ours.encode(text).ids == own(text)["input_ids"]


@settings(max_examples=200)
@given(st.lists(st.integers(0, 120), max_size=20))
def test_ids_become_transformers_text(pair: tuple[Any, MarianTokenizer], ids: list[int]) -> None:
    """With and without the special tokens."""
    own, ours = pair

    for skip in (True, False):
        expected = own.decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False)
        assert ours.decode(ids, skip_special_tokens=skip) == expected


def test_a_cut_text_keeps_its_end(pair: tuple[Any, MarianTokenizer]) -> None:
    """As transformers cuts: from the right, before the end token."""
    own, ours = pair
    ours.enable_truncation(6)
    try:
        assert ours.encode(_TEXTS[0]).ids == own(_TEXTS[0], truncation=True, max_length=6)["input_ids"]
    finally:
        ours.no_truncation()
    with pytest.raises(ValueError, match="one text"):
        ours.encode("a", "b")


def test_a_broken_file_is_refused() -> None:
    """Of either kind."""
    for data in (b"{}", b'{"model":{"type":"Marian"}}', b"\xff"):
        with pytest.raises(TokenizerBroken):
            load_tokenizer(data)


def test_a_published_checkpoint_compiles_with_its_own_tokenizer(tmp_path: Path) -> None:
    """Every gate, with SentencePiece in the artifact."""
    folder = marian_model(tmp_path / "m")
    request = make_request(folder, tmp_path / "out", "2x32", task="translation", max_target_length=16)
    world = make_world(request, tmp_path / "world")

    result = compare_in(world, trace_in(world))

    assert failed_gates(result) == set()
    assert {"source.spm", "target.spm"} <= {file.path for file in resolve(str(folder)).identity.files}
    assert isinstance(load_tokenizer((world.place.staging / TOKENIZER).read_bytes()), MarianTokenizer)


def test_two_vocabularies_are_refused(tmp_path: Path) -> None:
    """The target's would be numbered otherwise than the source's."""
    folder = marian_model(tmp_path / "m")
    described = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**described, "separate_vocabs": True}))
    (folder / "target_vocab.json").write_bytes((folder / "vocab.json").read_bytes())

    with pytest.raises(TokenizerMissing):
        model.load_tokenizer(str(folder))
