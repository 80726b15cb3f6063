"""XLM's and FlauBERT's tokenizers without transformers and sacremoses: the same ids, and their places."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import transformers
from hypothesis import example, given, settings
from hypothesis import strategies as st

from artifact.bpe import Merges
from artifact.moses import MosesTokenizer
from artifact.tokenization import TokenizerBroken, load_tokenizer
from compile import model
from compile.source import TokenizerUnsupported
from tests.kit.moses import CLASSES, moses_tokenizer

OLD = transformers.__version__.startswith("4.")
_TEXTS = json.loads((Path(__file__).parents[2] / "compile/texts.json").read_text(encoding="utf-8"))["texts"]
_GIVEN = json.loads(Path(__file__).with_name("moses.json").read_text(encoding="utf-8"))
SENTENCES = [*_GIVEN["sentences"], *_TEXTS]
_LETTERS, _INVISIBLE, _COMBINING = _GIVEN["letters"], _GIVEN["invisible"], _GIVEN["combining"]
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "xlm": ("xlm", {}),
    "xlm-cased": ("xlm", {"do_lowercase_and_remove_accent": False}),
    "flaubert": ("flaubert", {}),
    "flaubert-uncased": ("flaubert", {"do_lowercase": True}),
}

Both = tuple[Any, MosesTokenizer]


def _both(folder: Path, architecture: str, **described: Any) -> Both:
    """transformers' own and ours, the latter read back from its file."""
    moses_tokenizer(folder, architecture, _LETTERS + _COMBINING, **described)
    own = model.load_tokenizer(str(_described(folder, architecture)))
    assert type(own).__name__ == CLASSES[architecture]
    ours = load_tokenizer(model.portable_tokenizer(own).to_str().encode())
    assert isinstance(ours, MosesTokenizer)
    return own, ours


def _described(folder: Path, architecture: str) -> Path:
    (folder / "config.json").write_text(json.dumps({"model_type": architecture}))
    return folder


@pytest.fixture(scope="module", params=list(KINDS))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Both:
    """Cased and not, of both families."""
    architecture, described = KINDS[request.param]
    return _both(tmp_path_factory.mktemp("moses") / request.param, architecture, **described)


def _same(pair: Both, text: str) -> None:
    own, ours = pair
    found = ours.encode(text)
    assert found.ids == own(text, verbose=False)["input_ids"], text
    _check_places(found, text)


def _check_places(found: Any, text: str) -> None:
    """Within the text, never empty, never backwards."""
    places = [place for place, word in zip(found.offsets, found.word_ids) if word is not None]
    assert all(0 <= start < end <= len(text) for start, end in places)
    assert [start for start, _ in places] == sorted(start for start, _ in places)
    assert [end for _, end in places] == sorted(end for _, end in places)


@pytest.mark.parametrize("text", SENTENCES)
def test_sentences_get_transformers_ids(pair: Both, text: str) -> None:
    """Whole, at every beginning, and from every place on."""
    for at in range(0, len(text) + 1, 3):
        _same(pair, text[:at])
        _same(pair, text[at:])


@settings(max_examples=700, deadline=None)
@given(st.text(alphabet=st.sampled_from(_LETTERS + _INVISIBLE + _COMBINING), max_size=24))
def test_any_text_of_these_letters_gets_transformers_ids(pair: Both, text: str) -> None:
    """Every one of them is in the vocabulary, so that none hides behind the unknown token."""
    _same(pair, text)


@settings(max_examples=700, deadline=None)
@given(st.text(alphabet=st.sampled_from("aA1.,'\"` <-)\u00a0éΣ\u0301…"), max_size=16))
def test_crowds_of_punctuation_get_transformers_ids(pair: Both, text: str) -> None:
    """Where one rule leaves what the next one takes."""
    _same(pair, text)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=24))
def test_any_text_at_all_gets_transformers_ids(pair: Both, text: str) -> None:
    """All of Unicode, unassigned characters and all."""
    _same(pair, text)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(SENTENCES),
    st.sampled_from(SENTENCES),
    st.sampled_from((3, 9, 16)),
)
def test_pairs_are_laid_out_and_cut_as_transformers_does(
    pair: Both, first: str, second: str, limit: int
) -> None:
    """Types too, where this transformers makes them; the longer text is cut first."""
    own, ours = pair

    whole, expected = (
        ours.encode(first, second),
        own(first, second, return_token_type_ids=True, verbose=False),
    )
    ours.enable_truncation(limit, strategy="longest_first")
    try:
        cut, single = ours.encode(first, second), ours.encode(first)
    finally:
        ours.no_truncation()

    assert (whole.ids, whole.type_ids) == (expected["input_ids"], expected["token_type_ids"])
    assert cut.ids == own(first, second, truncation=True, max_length=limit, verbose=False)["input_ids"]
    assert single.ids == own(first, truncation=True, max_length=limit, verbose=False)["input_ids"]
    assert ours.encode_batch([first, (first, second)]) == [ours.encode(first), whole]


@settings(max_examples=500, deadline=None)
@given(
    st.text(alphabet=st.sampled_from("aA1.,'\"` -)\u00a0\u00e9\u0301\u2026\u200b"), max_size=60), st.data()
)
def test_what_is_settled_stays_however_the_text_goes_on(pair: Both, text: str, data: st.DataObject) -> None:
    """All but the last words, so that a server may read a beginning only."""
    _, ours = pair
    longest = len("<special0>")  # none of them is in these texts
    whole = ours.encode(text, add_special_tokens=False)
    beginning = ours.encode(text[: data.draw(st.integers(0, len(text)))], add_special_tokens=False)

    words = [word for word in beginning.word_ids if word is not None]
    settled = [word for word in words if word <= words[-1] - (ours.unsettled_words - longest)]

    assert beginning.ids[: len(settled)] == whole.ids[: len(settled)]


def test_places_show_the_words_themselves(pair: Both) -> None:
    """Also where a rule rewrote them; a pair's are those of its own text."""
    own, ours = pair
    text = "Mr. Smith\u2019s \u00c9t\u00e9\u2026 no 5\u00a0000."
    found = ours.encode("x", text)

    words: dict[int, list[tuple[int, int]]] = {}
    for place, word, sequence in zip(found.offsets, found.word_ids, found.sequence_ids):
        if word is not None and sequence == 1:
            words.setdefault(word, []).append(place)

    english = type(own).__name__ == "XLMTokenizer"
    goes_on = english or own.do_lowercase  # an abbreviation of English, or a small letter behind it
    assert [text[places[0][0] : places[-1][1]] for places in words.values()] == [
        *(["Mr."] if goes_on else ["Mr", "."]),
        *(["Smith", "\u2019s"] if english else ["Smith\u2019", "s"]),
        *("\u00c9t\u00e9", "\u2026", "no", "5\u00a0000", "."),
    ]
    assert found.sequence_ids.count(None) == 3


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 400), max_size=12))
def test_ids_become_transformers_text(pair: Both, ids: list[int]) -> None:
    """With and without the special tokens; an unknown id reads as the unknown token."""
    own, ours = pair

    for skip in (True, False):
        expected = own.decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False)
        assert ours.decode(ids, skip_special_tokens=skip) == expected
    assert [ours.id_to_token(number) for number in ids] == own.convert_ids_to_tokens(ids)
    assert ours.decoder.decode(["th", "e</w>", "cat</w>"]) == "the cat"


_PIECES = st.text(alphabet="ab", min_size=1, max_size=3)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(_PIECES, st.tuples(_PIECES, st.sampled_from(["", "</w>"])).map("".join)), max_size=12),
    st.text(alphabet="abc", min_size=1, max_size=14),
)
@example([("a", "b"), ("abc", "ab"), ("ab", "c")], "abcabca")  # all places of a pair before any better one
def test_words_are_split_as_transformers_splits_them(
    merges_of: Any, merges: list[tuple[str, str]], word: str
) -> None:
    """By any list of merges, also one that no training could give."""
    merges = list(dict.fromkeys(merges))

    assert " ".join(Merges(merges).split(word)) == merges_of(merges, word)


@pytest.fixture(scope="module")
def merges_of(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """transformers' split of a word by merges."""
    own, _ = _both(tmp_path_factory.mktemp("merges"), "xlm")

    def split(merges: list[tuple[str, str]], word: str) -> str:
        own.bpe_ranks, own.cache = {pair: rank for rank, pair in enumerate(merges)}, {}
        return str(own.bpe(word))

    return split


@pytest.mark.parametrize("text", [".", "DOT", "a", "\u0301", "e\u0301"])
def test_a_long_row_of_anything_costs_what_its_length_says(flaubert: MosesTokenizer, text: str) -> None:
    """No rule, merge or accent looks at a place again and again: sixteen times, not its square."""

    def cost(length: int) -> float:
        started = time.process_time()
        flaubert.encode(text * (length // len(text)))
        return time.process_time() - started

    # The least of a few: what else the machine does only adds.
    assert min(cost(48_000) for _ in range(2)) < 50 * min(cost(3_000) for _ in range(5))


@pytest.fixture(scope="module")
def flaubert(tmp_path_factory: pytest.TempPathFactory) -> MosesTokenizer:
    """The one whose rules look furthest."""
    return _both(tmp_path_factory.mktemp("long"), "flaubert")[1]


def test_white_space_that_a_token_would_take_is_refused(tmp_path: Path) -> None:
    """transformers gives the blanks beside such a token to it, which ours does not."""
    token = {"content": "<special1>", "lstrip": True, "rstrip": False, "single_word": False, "special": True}
    moses_tokenizer(tmp_path, "xlm", added_tokens_decoder={"5": {**token, "normalized": False}})
    own = model.load_tokenizer(str(_described(tmp_path, "xlm")))

    with pytest.raises(TokenizerUnsupported, match="white space"):
        model.portable_tokenizer(own)


def test_a_vocabulary_without_the_unknown_token_is_refused(tmp_path: Path) -> None:
    """What it lacks would have no id."""
    moses_tokenizer(tmp_path, "flaubert", unk_token="<none>")
    own = model.load_tokenizer(str(_described(tmp_path, "flaubert")))

    with pytest.raises(TokenizerUnsupported, match="<none>"):
        model.portable_tokenizer(own)


def test_tokens_of_the_texts_own_may_be_plain_text(tmp_path: Path) -> None:
    """``split_special_tokens``: somebody's "<s>" is four characters then."""
    pair = _both(tmp_path, "xlm", split_special_tokens=True)

    for text in ("<s>", "a <special1> b"):
        _same(pair, text)
    assert pair[1].encode("<s>").ids[1] != pair[1].token_to_id("<s>")


def test_a_broken_file_is_refused() -> None:
    """As for every kind."""
    with pytest.raises(TokenizerBroken):
        load_tokenizer(b'{"model":{"type":"Moses"}}')
