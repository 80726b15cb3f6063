"""Comparing answers: unlike things never pass for equal ones."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifact.golden import largest_difference

ANSWER = st.recursive(
    st.floats(-10, 10) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(ANSWER)
def test_an_answer_equals_itself(answer: object) -> None:
    """No difference, whatever the shape."""
    assert largest_difference(answer, answer) == 0.0


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=8), st.data())
def test_the_largest_difference_of_all_numbers_counts(numbers: list[float], data: st.DataObject) -> None:
    """One number off by d gives d, wherever it stands."""
    place = data.draw(st.integers(0, len(numbers) - 1))
    moved = [*numbers]
    moved[place] += 0.5

    assert largest_difference([{"v": numbers}], [{"v": moved}]) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ([1.0, 2.0], [1.0]),
        ([1.0], [1.0, 2.0]),
        ([[1.0]], [1.0]),
        (1.0, [1.0]),
        ([1.0], 1.0),
        ({"a": 1.0}, {"b": 1.0}),
        ({"a": 1.0}, {"a": 1.0, "b": 1.0}),
        ({"label": "NEGATIVE"}, {"label": "POSITIVE"}),
        ({"a": 1.0}, [1.0]),
        (1.0, "1.0"),
        ("1.0", 1.0),
        (1.0, None),
        (1.0, math.nan),
        (math.nan, math.nan),
        (1.0, math.inf),
        (math.inf, math.inf),
        (1, True),
        ([], {}),
    ],
)
def test_unlike_answers_are_infinitely_different(expected: object, found: object) -> None:
    """Another length, key, label or type, and NaN or infinity, are beyond every tolerance."""
    assert largest_difference(expected, found) == math.inf
