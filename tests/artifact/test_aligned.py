"""A rewritten text knows where it came from, and is the text that Python's own functions make."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from artifact.aligned import Aligned, Template

_RULES = [
    (r" +", " "),
    (r"([^a])[,]", r"\1 , "),
    (r"([ab])'([ab])", r"\g<1>' \2"),
    (r'(")([,.]+)', r"\2\1"),
    (r'(\.+)(?:(")(\s*[^<]))?', r"\2\1\3"),
    (r"''", ' " '),
    (r"[\u0301b]", ""),
]
_TEXTS = st.text(alphabet="ab',.\" <\u0301é", max_size=20)


@given(_TEXTS, st.lists(st.sampled_from(_RULES), max_size=4))
def test_rules_give_what_re_sub_gives(text: str, rules: list[tuple[str, str]]) -> None:
    """One after the other; and origins stay in the text and never run backwards."""
    found, expected = Aligned.of(text), text
    for pattern, template in rules:
        found = found.sub(re.compile(pattern), Template.parse(template))
        expected = re.sub(pattern, template, expected)

    assert found.text == expected
    _in_order(found, text)


_EMPTY = [
    (r"^", "x"),
    (r"$", " "),
    (r"a*", "-"),
    (r"(?=b)", "<"),
    (r"(?<=a)", "\u0301"),
    (r"(a?)(b?)", r"\2.\1"),
    (r"(?:(a)|)", r"\1!"),
    (r"(b)?", ""),
    (r"a", ""),
]


@given(_TEXTS, st.lists(st.sampled_from(_EMPTY), max_size=4))
@example("", [("^", "x")])
@example("ab", [("^", "x")])
@example("", [("$", " "), ("^", "x")])
def test_a_match_of_nothing_is_replaced_as_re_sub_replaces_it(
    text: str, rules: list[tuple[str, str]]
) -> None:
    """Also before the first character and where there is none; what is put there comes from no character."""
    found, expected = Aligned.of(text), text
    for pattern, template in rules:
        found = found.sub(re.compile(pattern), Template.parse(template))
        expected = re.sub(pattern, template, expected)

    assert found.text == expected
    assert found.starts == sorted(found.starts)
    assert found.ends == sorted(found.ends)
    assert all(0 <= start <= end <= len(text) for start, end in zip(found.starts, found.ends))
    assert len(found.text) == len(found.starts) == len(found.ends)


def _in_order(found: Aligned, original: str) -> None:
    words = [at for at, character in enumerate(found.text) if character != " "]
    starts, ends = ([column[at] for at in words] for column in (found.starts, found.ends))
    assert starts == sorted(starts)
    assert ends == sorted(ends)
    assert all(0 <= start < end <= len(original) for start, end in zip(starts, ends))
    assert len(found.text) == len(found.starts) == len(found.ends)


def test_what_is_replaced_comes_from_what_stood_there() -> None:
    """A group keeps its place; the rest is spread over the gap between groups."""
    quoted = Aligned.of("a... b").sub(re.compile(r"(a)\.+"), Template.parse(r"\1…!"))

    assert quoted.text == "a…! b"
    assert [quoted.span(at, at + 1) for at in range(5)] == [(0, 1), (1, 4), (1, 4), (4, 5), (5, 6)]


def test_characters_that_change_places_share_one() -> None:
    """So that no run of characters ends before it begins."""
    turned = Aligned.of('x",y').sub(re.compile(r'(")([,.]+)'), Template.parse(r"\2\1"))

    assert turned.text == 'x,"y'
    assert [turned.span(at, at + 1) for at in range(4)] == [(0, 1), (1, 3), (1, 3), (3, 4)]


@given(_TEXTS)
def test_white_space_around_a_text_goes(text: str) -> None:
    """And the rest keeps its places."""
    found = Aligned.of(text).strip()

    assert found.text == text.strip()
    assert found.text == "".join(text[start:end] for start, end in zip(found.starts, found.ends))


@given(st.text(alphabet="aΣİéﬁ e\u0301\u0323\u1100\u1161\u11a8\uac00\u09c7\u09be漢", max_size=12))
@example("e\u0301\u0301\u0323")  # the last mark goes to the letter, past two that stand before it
def test_letters_and_accents_are_pythons(text: str) -> None:
    """Lower case with its final sigma, accents apart and composed."""
    original = Aligned.of(text)
    decomposed = original.each(_nfd, _nfd)

    assert original.each(str.lower, str.lower).text == text.lower()
    assert decomposed.text == _nfd(text)
    assert original.composed().text == unicodedata.normalize("NFC", text)
    for found in (original.each(str.lower, str.lower), decomposed, original.composed()):
        _in_order(found, text)


def _nfd(text: str) -> str:
    return unicodedata.normalize("NFD", text)


@pytest.mark.parametrize(
    ("text", "places"),
    [("ae\u0301b", [(0, 1), (1, 3), (3, 4)]), ("aéb", [(0, 1), (1, 2), (2, 3)])],
)
def test_a_composed_letter_comes_from_all_of_its_parts(text: str, places: list[tuple[int, int]]) -> None:
    """Its neighbours keep theirs."""
    found = Aligned.of(text).composed()

    assert [found.span(at, at + 1) for at in range(len(found.text))] == places
