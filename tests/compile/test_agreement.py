"""What must agree beyond the numbers, and where the model itself is undecided."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from compile import agreement
from compile.comparison import Batch
from compile.examples import Example
from compile.samples import Row, Tokens

MARGIN = 0.02


def test_a_label_that_leads_clearly_must_stay_the_same() -> None:
    """And one that leads by less than the margin is not judged."""
    expected = torch.tensor([[0.0, 1.0], [0.0, 0.01]])
    found = torch.tensor([[1.0, 0.0], [0.01, 0.0]])

    decided, agrees = agreement.labels(found, expected, MARGIN, "single_label_classification")

    assert decided.tolist() == [True, False]
    assert agrees.tolist() == [False, False]


def test_with_several_labels_each_is_a_decision_of_its_own() -> None:
    """At even odds, which is logit 0."""
    expected, found = torch.tensor([[3.0, -3.0, 0.001]]), torch.tensor([[3.0, 3.0, -0.001]])

    decided, agrees = agreement.labels(found, expected, MARGIN, "multi_label_classification")

    assert decided.tolist() == [[True, True, False]]
    assert agrees.tolist() == [[True, False, False]]


def test_the_best_words_must_keep_their_order_where_it_is_clear() -> None:
    """Second and third are a near-tie here, first and second are not."""
    expected = torch.tensor([[9.0, 5.0, 4.999, 1.0, 0.5, 0.2, 0.0]])
    tied = torch.tensor([[9.0, 4.999, 5.0, 1.0, 0.5, 0.2, 0.0]])
    wrong = torch.tensor([[5.0, 9.0, 4.999, 1.0, 0.5, 0.2, 0.0]])

    decided, agrees = agreement.top(tied, expected, MARGIN)
    assert decided[0].tolist() == [True, False, True, True, True]
    assert bool((agrees | ~decided).all())

    decided, agrees = agreement.top(wrong, expected, MARGIN)
    assert not bool((agrees | ~decided).all())


def _batch(found: tuple[torch.Tensor, ...], expected: tuple[torch.Tensor, ...], context: int) -> Batch:
    length = expected[0].shape[1]
    sequences: tuple[int | None, ...] = (None, 0, None, *[1] * context, None)
    tokens = Tokens(ids=(1,) * len(sequences), types=(0,) * len(sequences), sequences=sequences)
    row = Row(example=Example(parts=(("q", "c"),), request={}), parts=(tokens,))
    feed = {"attention_mask": torch.ones(1, length, dtype=torch.int64)}
    return Batch(rows=[row], feed=feed, found=found, expected=expected, token_level=True)


def _brute_force(start: list[float], end: list[float]) -> tuple[int, int]:
    spans = [
        (start[i] + end[j], -i, -j)
        for i in range(len(start))
        for j in range(i, min(len(end), i + agreement.MAX_ANSWER_TOKENS))
    ]
    _, i, j = max(spans)
    return -i, -j


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=1, max_size=30))
def test_the_best_span_is_that_of_trying_all_of_them(logits: list[tuple[int, int]]) -> None:
    """Only inside the context, never backwards, at most fifteen tokens."""
    size = len(logits)
    start = torch.tensor([[99.0, 99.0, 99.0, *[float(s) for s, _ in logits], 99.0]])
    end = torch.tensor([[99.0, 99.0, 99.0, *[float(e) for _, e in logits], 99.0]])
    inside = list(range(3, 3 + size))

    best = int(agreement._span_scores((start, end), 0, inside).argmax())

    assert divmod(best, size) == _brute_force([float(s) for s, _ in logits], [float(e) for _, e in logits])


def test_another_span_is_wrong_and_a_row_without_context_is_not_judged() -> None:
    """Swapped start and end give another answer."""
    start = torch.tensor([[0.0, 0.0, 0.0, 5.0, 0.0, 0.0, 0.0]])
    end = torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.0, 6.0, 0.0]])

    decided, agrees = agreement.spans(_batch((end, start), (start, end), context=3), MARGIN)
    assert (decided.tolist(), agrees.tolist()) == ([True], [False])

    decided, _ = agreement.spans(_batch((start, end), (start, end), context=0), MARGIN)
    assert decided.numel() == 0
