"""Wildcards and variables, held to a second, slower way of saying the same."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.iam.matching import action_matches, arn_matches, filled, matches

TEXT = st.text(alphabet="ab/:.*?[\\^$", max_size=12)
PATTERN = st.text(alphabet="ab/:.*?[\\^", max_size=12)


@cache
def _by_the_book(pattern: str, value: str) -> bool:
    """``*`` takes nothing or one more character, ``?`` exactly one, anything else itself."""
    if not pattern:
        return not value
    if pattern[0] == "*":
        return _by_the_book(pattern[1:], value) or (bool(value) and _by_the_book(pattern, value[1:]))
    return bool(value) and pattern[0] in ("?", value[0]) and _by_the_book(pattern[1:], value[1:])


@given(PATTERN, TEXT)
def test_a_pattern_means_what_the_book_says(pattern: str, value: str) -> None:
    """Characters that mean something in regular expressions mean nothing here."""
    assert matches(pattern, value, {}) == _by_the_book(pattern, value)


@given(TEXT.filter(lambda text: "*" not in text and "?" not in text and "$" not in text), TEXT)
def test_a_literal_fits_itself_and_nothing_else(pattern: str, value: str) -> None:
    """Case included."""
    assert matches(pattern, pattern, {})
    assert matches(pattern, value, {}) == (pattern == value)
    assert not matches(f"{pattern}A", f"{pattern}a", {})


@given(TEXT, TEXT)
def test_what_a_variable_brings_is_no_pattern(value: str, other: str) -> None:
    """A user called * is not everybody."""
    context = {"aws:username": value}

    assert matches("home/${aws:username}/*", f"home/{value}/x", context)
    assert matches("${aws:username}", other, context) == (value == other)


@given(st.text(alphabet="abs3:*?", min_size=1, max_size=8), st.text(alphabet="ABs3:", max_size=8))
def test_actions_have_no_case(pattern: str, action: str) -> None:
    """s3:GetObject and S3:getobject are one."""
    assert action_matches(pattern, action) == action_matches(pattern.upper(), action.lower())


@given(TEXT)
def test_a_star_alone_fits_everything(value: str) -> None:
    """As resource, as action and as ARN."""
    assert matches("*", value, {})
    assert action_matches("*", value)
    assert arn_matches("*", value, {})


@pytest.mark.parametrize(
    ("pattern", "value", "fits"),
    [
        ("${*}", "*", True),
        ("${*}", "a", False),
        ("${?}${$}", "?$", True),
        ("${aws:username}", "", False),
        ("${aws:username, 'guest'}", "guest", True),
        ("${AWS:UserName}", "ann", True),
    ],
)
def test_variables_that_are_special(pattern: str, value: str, fits: bool) -> None:
    """Source: IAM user guide, "Policy variables": escapes, defaults, absent keys, case."""
    context = {} if "guest" in pattern or value == "" else {"aws:username": "ann"}

    assert matches(pattern, value, context) == fits


def test_a_text_with_an_absent_variable_is_no_text() -> None:
    """Else it would equal a text that happens to look alike."""
    assert filled("a-${aws:username}", {"aws:username": "ann"}) == "a-ann"
    assert filled("a-${aws:username}", {}) is None


@pytest.mark.parametrize(
    ("pattern", "value", "fits"),
    [
        ("arn:aws:s3:::bucket", "arn:aws:s3:::bucket", True),
        ("arn:aws:sns:*:1:topic*", "arn:aws:sns:eu-west-1:1:topic-a:b", True),
        ("arn:aws:sns:*:topic", "arn:aws:sns:eu-west-1:1:topic", False),
        ("arn:*:topic", "arn:aws:sns:eu-west-1:1:topic", False),
    ],
)
def test_operators_on_arns_look_at_each_part(pattern: str, value: str, fits: bool) -> None:
    """A wildcard does not reach over a colon before the resource."""
    assert arn_matches(pattern, value, {}) == fits
