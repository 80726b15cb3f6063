"""Texts to rows, rows to arrays: limits, cutting, padding."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifact.canonical import encode
from artifact.manifest import Bucket, Manifest, Padding, Tensor
from inference_code.encoding import MAX_UNSETTLED, Encoder, TokenizerUnusable, fill
from inference_code.errors import BadRequest, InputTooLong
from inference_code.load import LoadedModel
from inference_code.requests import Text
from inference_code.rows import Row
from tests.kit.handmade import CLS, SEP, Recipe, replaced, tokenizer

CUTS = Recipe(truncate=True)
WORDS = st.lists(st.sampled_from(["w1", "w22", "other", "中", "...", "\u00e9", "a" * 120, "  "]), max_size=60)


def _text(text: str, pair: str | None = None) -> Text:
    return Text(field="inputs", text=text, pair=pair)


def test_rows_carry_special_tokens_and_types(models: Callable[..., LoadedModel]) -> None:
    """As the tokenizer's own template says."""
    row = models().encoder.encode(_text("w0 w1", "w2"))

    assert row.ids == [CLS, 4, 5, SEP, 6, SEP]
    assert row.types == [0, 0, 0, 0, 1, 1]


def test_the_limit_includes_special_tokens(models: Callable[..., LoadedModel]) -> None:
    """Sixteen tokens fit, seventeen do not."""
    encoder = models().encoder

    assert encoder.encode(_text(" ".join(["w1"] * 14))).length == 16
    with pytest.raises(InputTooLong) as refused:
        encoder.encode(_text(" ".join(["w1"] * 15)))
    assert "17 tokens" in refused.value.message


def test_a_long_pair_is_refused_too(models: Callable[..., LoadedModel]) -> None:
    """Each half fits, both do not."""
    with pytest.raises(InputTooLong):
        models().encoder.encode(_text(" ".join(["w1"] * 10), " ".join(["w2"] * 10)))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(WORDS, st.none() | WORDS)
def test_cutting_equals_the_tokenizers_own_truncation(
    models: Callable[..., LoadedModel], words: list[str], pair: list[str] | None
) -> None:
    """``longest_first`` with special tokens kept, as transformers asks its tokenizers to do."""
    reference = tokenizer()
    reference.enable_truncation(16, strategy="longest_first")
    text, other = " ".join(words), None if pair is None else " ".join(pair)

    row = models(CUTS).encoder.encode(_text(text, other))

    expected = reference.encode(text, other)
    assert (row.ids, row.types) == (expected.ids, expected.type_ids)


@pytest.mark.parametrize("join", [" ", "\n\n\n", ". ", "中"])
def test_long_texts_are_cut_as_if_read_whole(models: Callable[..., LoadedModel], join: str) -> None:
    """A beginning is enough, and gives the same tokens."""
    text = join.join(f"w{n % 200}" for n in range(5_000))
    reference = tokenizer()
    reference.enable_truncation(16)

    assert models(CUTS).encoder.encode(_text(text)).ids == reference.encode(text).ids


@pytest.mark.parametrize(("first", "second"), [(16, 17), (17, 16), (3000, 900), (900, 3000), (900, 900)])
def test_the_odd_place_goes_to_the_half_with_more_tokens(
    models: Callable[..., LoadedModel], first: int, second: int
) -> None:
    """Thirteen places for two halves that are both too long, in characters alike or far apart."""
    text, pair = "w1 " * first, "w188 " * second
    reference = tokenizer()
    reference.enable_truncation(16, strategy="longest_first")

    assert models(CUTS).encoder.encode(_text(text, pair)).types == reference.encode(text, pair).type_ids


def test_a_word_that_the_cut_went_through_does_not_count(models: Callable[..., LoadedModel]) -> None:
    """Where no special tokens take the last places, ``w123`` must not become ``w1``."""
    plain = tokenizer()
    plain.post_processor = None
    text = "w5 " * 15 + " " * 81 + "w123 " + "w7 " * 100
    assert text[:128].endswith(" w1")

    row = Encoder(plain.to_str().encode(), models(CUTS).manifest).encode(_text(text))

    assert row.ids == [9] * 15 + [127]


def _moses() -> bytes:
    """XLM's kind of tokenizer, with one rule: what is no letter is a word. Written by hand."""
    pieces = ["<unk>", "<s>", "</s>", "<-=-=-=->", "a</w>", "b", "<</w>", "-</w>", "=</w>", "></w>"]
    special = pieces[:4]
    model = {
        "type": "Moses",
        "vocab": {piece: number for number, piece in enumerate(pieces)},
        "merges": [],
        "unk_token": "<unk>",
        "bos_token": "<s>",
        "sep_token": "</s>",
        "added": {token: number for number, token in enumerate(special)},
        "special": special,
        "apart": special,
        "lowered_but": None,
        "steps": [["replace", "([^a-z ])", r" \1 "]],
    }
    return encode({"model": model})


def test_rules_of_a_tokenizer_json_are_applied_here(models: Callable[..., LoadedModel]) -> None:
    """Without transformers and without sacremoses, and with the places of the tokens."""
    row = Encoder(_moses(), models().manifest).encode(_text("ba-a", "<-=-=-=->?"), marked=True)

    assert row.ids == [1, 5, 4, 7, 4, 2, 3, 0, 2]
    assert row.types == [0] * 6 + [1] * 3
    assert row.marks is not None
    assert row.marks.offsets == [(0, 0), (0, 1), (1, 2), (2, 3), (3, 4), (0, 0), (0, 9), (9, 10), (0, 0)]


def test_a_token_that_the_cut_went_through_is_not_read_as_its_letters(
    models: Callable[..., LoadedModel],
) -> None:
    """As many words as it has signs may become one."""
    text = "a " * 10 + " " * 100 + "<-=-=-=->" + " a" * 100
    assert text[:128].endswith("<-=-=-=-")

    row = Encoder(_moses(), models(CUTS).manifest).encode(_text(text))

    assert row.ids == [1, *[4] * 10, 3, 4, 4, 4, 2]


@pytest.mark.parametrize("recipe", [CUTS, Recipe()])
def test_megabytes_are_not_read_to_their_end(models: Callable[..., LoadedModel], recipe: Recipe) -> None:
    """Five megabytes in a fraction of the second that reading them takes, whether they are cut or refused."""
    text = "w1 and w2 or w3 " * 330_000
    encoder = models(recipe).encoder
    started = time.process_time()

    if recipe.truncate:
        assert encoder.encode(_text(text)).length == 16
    else:
        with pytest.raises(InputTooLong, match="more than 16"):
            encoder.encode(_text(text))

    assert time.process_time() - started < 0.5


@pytest.mark.parametrize("recipe", [CUTS, Recipe()])
@pytest.mark.parametrize("text", ["a" * 2_000_000, " " * 2_000_000])
def test_an_endless_word_is_refused(models: Callable[..., LoadedModel], recipe: Recipe, text: str) -> None:
    """It costs a second per megabyte and holds nothing to answer."""
    with pytest.raises(BadRequest) as refused:
        models(recipe).encoder.encode(_text(text))

    assert str(MAX_UNSETTLED) in refused.value.message


def test_arrays_have_the_buckets_shape(models: Callable[..., LoadedModel]) -> None:
    """Padding on the right with the manifest's ids; spare rows repeat the first."""
    bucket = Bucket(batch=3, length=5, path="x")

    ids, mask, types = fill([Row([7, 8, 9], [0, 0, 1]), Row([5], [1])], bucket, _padded(models().manifest))

    assert ids.tolist() == [[7, 8, 9, 99, 99], [5, 99, 99, 99, 99], [7, 8, 9, 99, 99]]
    assert mask.tolist() == [[1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 0, 0]]
    assert types.tolist() == [[0, 0, 1, 3, 3], [1, 3, 3, 3, 3], [0, 0, 1, 3, 3]]
    assert {array.dtype for array in (ids, mask, types)} == {np.dtype("int64")}


def test_inputs_are_bound_by_name_in_the_manifests_order(models: Callable[..., LoadedModel]) -> None:
    """(ids, types, mask) is another model than (ids, mask, types)."""
    manifest = models().manifest
    swapped = replaced(manifest, inputs=(manifest.inputs[2], manifest.inputs[0]))

    first, second = fill([Row([7, 8], [0, 1])], Bucket(batch=1, length=2, path="x"), swapped)

    assert (first.tolist(), second.tolist()) == ([[0, 1]], [[7, 8]])


def test_an_unknown_input_is_refused_at_load(models: Callable[..., LoadedModel]) -> None:
    """Not at the first request."""
    boxes = Tensor(name="bbox", dtype="int64", shape=("batch", "length", 4))
    manifest = replaced(models().manifest, inputs=(boxes,))

    with pytest.raises(TokenizerUnusable, match="bbox"):
        Encoder(tokenizer().to_str().encode(), manifest)


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b'{"version":"1.0"}'])
def test_a_broken_tokenizer_is_refused(models: Callable[..., LoadedModel], data: bytes) -> None:
    """With the parser's reason."""
    with pytest.raises(TokenizerUnusable):
        Encoder(data, models().manifest)


def test_settings_inside_the_tokenizers_file_do_not_count(models: Callable[..., LoadedModel]) -> None:
    """Saved tokenizers often carry the padding and truncation of their last use."""
    saved = tokenizer()
    saved.enable_truncation(4)
    saved.enable_padding(length=12)

    row = Encoder(saved.to_str().encode(), models().manifest).encode(_text("w1 w2 w3 w4"))

    assert row.length == 6


def _padded(manifest: Manifest) -> Manifest:
    return replaced(manifest, padding=Padding(side="right", token_id=99, token_type_id=3, truncate=False))
