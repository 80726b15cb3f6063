"""Windows over a long context, and the best spans in one: pure functions."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from inference_code.spans import best_spans
from inference_code.windows import window_count, windows

LENGTHS = st.tuples(st.integers(1, 60), st.integers(1, 20), st.integers(0, 19)).filter(lambda x: x[2] < x[1])


@given(LENGTHS)
def test_windows_are_those_of_tokenizers(lengths: tuple[int, int, int]) -> None:
    """What its own truncation with a stride leaves and lets overflow."""
    total, room, overlap = lengths
    made = Tokenizer(WordLevel({str(n): n for n in range(60)}, unk_token="0"))
    made.pre_tokenizer = WhitespaceSplit()
    made.enable_truncation(room, stride=overlap)

    encoding = made.encode(" ".join(str(n) for n in range(total)))

    expected = [part.ids for part in [encoding, *encoding.overflowing]]
    assert [list(window) for window in windows(total, room, overlap)] == expected


@given(LENGTHS)
def test_every_token_and_every_short_span_lies_in_a_window(lengths: tuple[int, int, int]) -> None:
    """A span of no more tokens than the overlap plus one is never cut in two."""
    total, room, overlap = lengths
    found = list(windows(total, room, overlap))

    assert len(found) == window_count(total, room, overlap)
    assert all(0 < len(window) <= room for window in found)
    for first in range(total):
        last = min(first + overlap, total - 1)
        assert any(first in window and last in window for window in found)


NUMBERS = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12
)  # few values, so that there are ties and zeros


@given(NUMBERS, st.integers(1, 20), st.integers(1, 200))
def test_the_best_spans_are_those_of_a_plain_search(
    numbers: list[tuple[int, int]], longest: int, top_k: int
) -> None:
    """None that ends before it begins or is too long; of equals the earlier one."""
    start, end = (np.array(column, dtype=np.float32) / 8 for column in zip(*numbers))
    every = [
        (-float(start[first] * end[last]), first, last)
        for first in range(len(start))
        for last in range(first, min(first + longest, len(start)))
    ]

    found = best_spans(start, end, longest=longest, top_k=top_k)

    assert [-span.score for span in found] == [score for score, _, _ in sorted(every)[:top_k]]
    assert {(-span.score, span.first, span.last) for span in found} <= set(every)
    assert len({(span.first, span.last) for span in found}) == len(found)


def test_of_equal_spans_the_first_wins() -> None:
    """As an argmax over starts, then ends, has it."""
    half = np.array([0.5, 0.5, 0.5], dtype=np.float32)

    (found,) = best_spans(half, half, longest=3, top_k=1)

    assert (found.first, found.last) == (0, 0)
