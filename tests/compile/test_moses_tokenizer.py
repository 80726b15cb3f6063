"""XLM's and FlauBERT's tokenizers without transformers and sacremoses: the same ids, and their places."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from artifact.bpe import Merges
from artifact.moses import MosesTokenizer
from artifact.tokenization import TokenizerBroken, load_tokenizer
from compile import model
from compile.source import TokenizerMissing
from tests.kit.moses import CLASSES, moses_tokenizer

OLD = transformers.__version__.startswith("4.")
_TEXTS = json.loads((Path(__file__).parents[2] / "compile/texts.json").read_text(encoding="utf-8"))["texts"]
_LETTERS = (
    "abcdeiklmnoprstuvxyzABCDEHIMSTU0123456789éèàçñßøœÉÀÂŞşŢșțŁłαβσςΣΩжбяЖ"
    "שלוםمرحبا٣अतमि்สวดี今日は你好한국ﬁİıǰŉ²½№ºª"
    ".,;:!?'\"`´‘’‚“”„«»‹›-–—…&@#%$€£¥<>()[]{}/\\|_+=*^~°§©™•¡¿·"
    "，。、：；？！（）《》「」【】〈〉％～．１９━∶😀👍🏽⚡"
)
_INVISIBLE = " \t\n\r\x00\x1f\x7f\x85\xa0\xad\u2003\u2028\u200b\u200d\u200f\u202e\u3000\ufeff\ufe0f\ue000"
_COMBINING = "\u0301\u0300\u0323\u0308\u0327\u05b0\u064b\u094d\u09be\u09c7\u1100\u1161\u11a8"
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


SENTENCES = [
    # abbreviations: of the language, before numbers only, unknown, at the end, with inner dots
    "Mr. Smith met Dr. Jones on Jan. 5 at 5 p.m. in Washington D.C. It rained.",
    "See No. 5, not No. five. Nos. 3 and 4, pp. 7 f. and Art. 12 of the U.N. charter etc.",
    "M. Dupont et Mme. Durand, av. J.-C., p. ex. n. 3 et cf. p. 12. Fin.",
    "z.B. heute, d.h. morgen. Prof. Dr. Müller sagt: „Nein“. usw.",
    "foo. bar Foo. Bar foo. (bar) e.g. this. end.",
    # numbers
    "1,204.50 or 1.204,50 and 3,5 ,7 8, 9 % of 1 000 000; 5\u00a0000 km/h, 20\u00a0ºC, nº\u00a05, -3.5e10",
    "a,b,c,,d, 1,,2,a ,1 x,",
    # apostrophes
    "l'homme d'aujourd'hui n'est qu'un rêve, c'est-à-dire l’été s'il te plaît",
    "dell'arte c'è un po' d'acqua, l'altr'anno degli anni '90",
    "don't, won't; the Joneses' cat's 'tis rock'n'roll 5's 1'2'3 ''quoted'' `so` ``or so'' '",
    # quotes, brackets, ellipses
    'He said "yes," then "no." And "why..." "..." ...." x."y ."<z "a".',
    "( a ) [b] {c} <d> ) . ( ) ; : ! ? a :b ;c",
    "Wait... what?.. no.... ….. a..b . . . x…y",
    "« Bonjour », dit-il. «\u00a0Oui\u00a0»\u00a0! Vraiment\u00a0? Non\u00a0; si\u00a0: ‹ ok › — – -",
    "DOTMULTI DOTDOTMULTI DOTDOT MULTI .DOTMULTI..",
    # places in the net, code, emoji
    "https://example.org/a_b?c=d&e=%20f#g mailto:a.b@c.co.uk www.x.y @you #tag C:\\dir\\f.txt",
    "😀👍🏽 family: 👩\u200d👩\u200d👧 flags 🇫🇷 text ☎\ufe0f!!! 🎉",
    # other scripts and directions
    "مرحبا بالعالم، كيف الحال؟ \u202bעברית\u202c שָׁלוֹם עולם.",
    "Привет, мир! Το σοφόν ΟΔΥΣΣΕΥΣ Σ. ΣΑΣ 今日は。 你好，世界！ 한국어 हिन्दी ไทย İstanbul ŉ ǰ ﬁ ß",
    "e\u0301te\u0301 a\u0323\u0307 \u1100\u1161\u11a8 \u09c7\u09be Ş Ţ Ș Ț Ă Â Î",
    # what nobody sees
    "", " ", "\n", "a\x00b\x1fc\x7fd\x85e\u200bf\u00adg\ufeffh \ue000 \U000e0041 \u0378",
    "one\ttwo\r\nthree\x0bfour\u2028five\u3000six  seven",
    # tokens of the vocabulary in the text
    "<s> a </s> <special1> is <SPECIAL1> <special10> <pad>x<unk> < s> </w> a</w>",
]  # fmt: skip


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


@pytest.mark.parametrize("text", [*SENTENCES, *_TEXTS])
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
    st.sampled_from([*SENTENCES, *_TEXTS]),
    st.sampled_from([*SENTENCES, *_TEXTS]),
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


def test_places_show_the_words_themselves(pair: Both) -> None:
    """Also where a rule rewrote them; a pair's are those of its own text."""
    _, ours = pair
    text = "Mr. Smith’s “Été…”, no 5\u00a0000."
    found = ours.encode("x", text)

    words: dict[int, list[tuple[int, int]]] = {}
    for place, word, sequence in zip(found.offsets, found.word_ids, found.sequence_ids):
        if word is not None and sequence == 1:
            words.setdefault(word, []).append(place)
    shown = [text[places[0][0] : places[-1][1]] for places in words.values()]

    assert {"Smith", "’", "“", "Été", "…", "no", "5\u00a0000"} <= {
        part.strip("’s") or "’" for part in shown
    } | {*shown}
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


@pytest.mark.parametrize(
    "text", [".", '."', '"', "DOT", "a.", "a", "e\u0301", "''", "\u1100", "a. ", '."\t<']
)
@pytest.mark.parametrize("kind", ["xlm", "flaubert"])
def test_a_hundred_thousand_of_anything_cost_seconds_at_most(kind: str, text: str, tmp_path: Path) -> None:
    """No rule, merge or accent looks at the same place again and again. Its square would cost minutes."""
    _, ours = _both(tmp_path, *KINDS[kind][:1])
    started = time.process_time()

    ours.encode(text * (100_000 // len(text)))

    assert time.process_time() - started < 20


def test_white_space_that_a_token_would_take_is_refused(tmp_path: Path) -> None:
    """transformers gives the blanks beside such a token to it, which ours does not."""
    described = {"mask_token": {"content": "<special1>", "lstrip": True, "__type": "AddedToken"}}
    moses_tokenizer(tmp_path, "xlm", **described)
    own = model.load_tokenizer(str(_described(tmp_path, "xlm")))

    with pytest.raises(TokenizerMissing, match="white space"):
        model.portable_tokenizer(own)


def test_a_vocabulary_without_the_unknown_token_is_refused(tmp_path: Path) -> None:
    """What it lacks would have no id."""
    moses_tokenizer(tmp_path, "flaubert", unk_token="<none>")
    own = model.load_tokenizer(str(_described(tmp_path, "flaubert")))

    with pytest.raises(TokenizerMissing, match="<none>"):
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
