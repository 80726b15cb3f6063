"""Texts put together equal texts decoded whole, for any tokens in any place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_code.errors import TooManyAnswers
from inference_code.sentences import MAX_WHOLE_TOKENS, Sentences
from inference_code.vocabulary import Vocabulary
from tests.inference_code.pretrained import TOKENIZERS
from tests.kit.handmade import tokenizer


def _words() -> Any:
    made = tokenizer()
    made.add_tokens(["w5 w6", "##s", "it's", ".", "'", "'s", " n't", "\u2581", "\u00e9"])
    return made


def _without_decoder() -> Any:
    made = _words()
    made.decoder = None
    return made


MADE: dict[str, Any] = {
    "words": _words,
    "no decoder": _without_decoder,
    "byte level": lambda: TOKENIZERS["byte level"]().backend_tokenizer,
    "metaspace": lambda: TOKENIZERS["metaspace"]().backend_tokenizer,
}


@pytest.fixture(scope="module", params=sorted(MADE))
def vocabulary(request: pytest.FixtureRequest) -> Vocabulary:
    """One of each decoder that writes token by token."""
    made = MADE[request.param]()
    return Vocabulary(made, made.to_str().encode())


def _whole(
    vocabulary: Vocabulary, ids: list[int], place: int, token: int, padding: int, skip_special: bool
) -> str:
    put = [token if at == place else number for at, number in enumerate(ids)]
    return vocabulary.text([number for number in put if number != padding], skip_special=skip_special)


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_a_text_put_together_is_the_text_decoded_whole(vocabulary: Vocabulary, data: st.DataObject) -> None:
    """Also at its beginning and end, among special tokens, tokens unknown to it and pieces of characters."""
    size = vocabulary._tokenizer.get_vocab_size()
    number = st.integers(0, size + 2)
    ids = data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=12))
    places = sorted(data.draw(st.sets(st.integers(0, len(ids) - 1), min_size=1, max_size=4)))
    padding, skip = data.draw(st.integers(0, 4)), data.draw(st.booleans())
    tokens, few = data.draw(st.lists(number, min_size=1, max_size=12)), data.draw(st.integers(0, 3))

    made = Sentences(vocabulary, ids, places, padding=padding, skip_special=skip, few=few)

    for place in places:
        for token in tokens:
            expected = _whole(vocabulary, ids, place, token, padding, skip)
            assert made.filled(place, token) == expected, (ids, place, token)


def test_every_token_at_the_beginning_within_and_at_the_end(vocabulary: Vocabulary) -> None:
    """Of the whole vocabulary."""
    size = vocabulary._tokenizer.get_vocab_size()
    for ids, place in (([size - 1, 5, 6], 0), ([2, 7, size - 1, 9, 8], 2), ([2, 7, size - 1], 2)):
        for skip in (True, False):
            made = Sentences(vocabulary, ids, [place], padding=1, skip_special=skip)

            for token in range(size + 1):
                assert made.filled(place, token) == _whole(vocabulary, ids, place, token, 1, skip)


def test_a_thousand_words_for_a_long_text_are_not_a_thousand_long_texts(vocabulary: Vocabulary) -> None:
    """What is decoded whole is counted: here, next to nothing."""
    size = vocabulary._tokenizer.get_vocab_size()
    plain = next(n for n in range(size) if (vocabulary.begin([n]) or "").strip() and n > 5)
    made = Sentences(vocabulary, [plain] * 2000, range(0, 2000, 100), padding=1, skip_special=True)

    for place in range(0, 2000, 100):
        for token in range(size):
            made.filled(place, token)

    assert made._whole_tokens <= (8 + 8) * 2000


def test_texts_that_must_be_decoded_whole_have_a_limit() -> None:
    """A decoder that looks at more than one token is asked each time, for about a second at most."""
    made = tokenizer()
    described = json.loads(made.to_str())
    described["decoder"] = {"type": "Sequence", "decoders": [described["decoder"], {"type": "Fuse"}]}
    data = json.dumps(described)
    other = Vocabulary(type(made).from_str(data), data.encode())
    sentences = Sentences(other, [9] * 65_536, [7], padding=0, skip_special=True)

    assert not other.goes_token_by_token
    for _ in range(MAX_WHOLE_TOKENS // 65_536):
        assert sentences.filled(7, 10).split()[6:9] == ["w5", "w6", "w5"]
    with pytest.raises(TooManyAnswers, match=str(MAX_WHOLE_TOKENS // 65_536)) as refused:
        sentences.filled(7, 10)
    assert refused.value.status == 413
