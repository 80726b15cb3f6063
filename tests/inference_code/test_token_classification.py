"""Entities as transformers' own pipeline gives them."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference_code.answering import arranged
from inference_code.errors import BadRequest, InputTooLong
from tests.inference_code.compared import close
from tests.inference_code.pretrained import LABELS, TOKENIZERS, Pretrained

STRATEGIES = ("none", "simple", "first", "average", "max")
TEXTS = (
    "Anna and Boris went from Berlin to Kyoto.",
    "the cat",
    "1,234 letters; the mill -- (a cat?) \u2603 \U0001f600 caf\u00e9  in   Paris",
    "",
    "  he was for it",
)


@pytest.fixture(scope="module", params=sorted(TOKENIZERS))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    """One model for each family of tokenizers."""
    folder = tmp_path_factory.mktemp("ner")
    return Pretrained(folder, "token-classification", tokenizer=TOKENIZERS[request.param]())


@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_answers_are_the_pipelines(model: Pretrained, strategy: str) -> None:
    """Words, places and scores, for each way of grouping, unknown tokens and white space included."""
    pipeline = model.pipeline()

    for text in TEXTS:
        expected = pipeline(text, aggregation_strategy=strategy)
        assert close(expected, model.ask(text, aggregation_strategy=strategy)), text


@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("ignored", [[], list(LABELS[:3]), ["PER", "LOC"], list(LABELS)])
def test_labels_are_ignored_as_asked(model: Pretrained, strategy: str, ignored: list[str]) -> None:
    """Labels of tokens, and tags of groups."""
    expected = model.pipeline()(TEXTS[0], aggregation_strategy=strategy, ignore_labels=ignored)

    assert close(expected, model.ask(TEXTS[0], aggregation_strategy=strategy, ignore_labels=ignored))


def test_the_texts_hold_several_entities(model: Pretrained) -> None:
    """Or the comparisons above would compare nothing."""
    found = list(itertools.chain(*model.ask(list(TEXTS), ignore_labels=[])))

    assert len({entity["entity"] for entity in found}) >= 4
    assert all(TEXTS[0][e["start"] : e["end"]] for e in model.ask(TEXTS[0], ignore_labels=[]))


def test_a_list_gets_a_list(model: Pretrained) -> None:
    """In its own order, null meaning the default, capitals meaning nothing."""
    single = [model.ask(text, aggregation_strategy="simple") for text in TEXTS]

    assert close(single, model.ask(list(TEXTS), aggregation_strategy="SIMPLE", ignore_labels=None))
    assert close([single[0]], model.ask([TEXTS[0]], aggregation_strategy="simple"))


def test_a_long_text_is_refused_or_cut(model: Pretrained, tmp_path: Any) -> None:
    """By the manifest's rule; the pipeline cuts, too."""
    text = "the cat is in it " * 40
    cutting = Pretrained(tmp_path, "token-classification", tokenizer=model.tokenizer, truncate=True)

    with pytest.raises(InputTooLong):
        model.ask(text)
    assert close(cutting.pipeline()(text), cutting.ask(text))


LONG = " ".join(TEXTS) * 3


@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
@pytest.mark.parametrize("strategy", ["simple", "first", "average", "max", None])
@pytest.mark.parametrize("stride", [0, 1, 17, 40])
def test_a_long_text_is_read_in_the_pipelines_windows(
    model: Pretrained, strategy: str | None, stride: int
) -> None:
    """Each entity once, with its characters in the whole text; a short text stays as it is."""
    asked = {"stride": stride} | ({} if strategy is None else {"aggregation_strategy": strategy})
    pipeline = model.pipeline()

    for text in (LONG, *TEXTS):
        assert close(pipeline(text, **asked), model.ask(text, **asked)), text


def test_a_long_text_takes_several_windows(model: Pretrained) -> None:
    """Or the comparison above would compare one kind only."""
    value = {"inputs": [LONG, TEXTS[1]], "parameters": {"stride": 17}}
    asked = arranged(value, model.loaded, most=99)

    assert [len(rows) > 2 for rows in asked.rows_of] == [True, False]
    assert all(row.length <= 64 for row in asked.rows)
    assert max(entity["end"] for entity in model.ask(LONG, stride=17)) > 3 * len(TEXTS[0])


def test_texts_that_would_take_too_many_windows_are_refused(model: Pretrained) -> None:
    """By their windows or, before they are read at all, by their characters."""
    with pytest.raises(BadRequest, match="windows, the limit is 256") as refused:
        model.ask("the cat is in it " * 1000, stride=61)
    assert refused.value.field == "inputs"
    with pytest.raises(BadRequest, match="131073 characters"):
        model.ask("a" * 131_073, stride=0)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.lists(st.sampled_from(["the", "mill", "1,234", "  ", "caf\u00e9.", "zzz"]), max_size=120),
    stride=st.integers(0, 30),
)
def test_windows_are_those_that_transformers_cuts(model: Pretrained, words: list[str], stride: int) -> None:
    """Ids and offsets of each, for any text."""
    text = " ".join(words)
    expected = model.tokenizer(
        text, truncation=True, max_length=64, stride=stride, return_overflowing_tokens=True
    ).encodings

    rows = arranged({"inputs": text, "parameters": {"stride": stride}}, model.loaded, most=256).rows

    assert [row.ids for row in rows] == [part.ids for part in expected]
    assert [list(row.marks.offsets) for row in rows if row.marks] == [part.offsets for part in expected]


@pytest.mark.parametrize(
    ("inputs", "parameters", "field"),
    [
        ({"text": "a"}, {}, "inputs"),
        (["a", 5], {}, "inputs[1]"),
        ([["a"]], {}, "inputs[0]"),
        (None, {}, "inputs"),
        ("a", {"aggregation_strategy": "best"}, "parameters.aggregation_strategy"),
        ("a", {"aggregation_strategy": 1}, "parameters.aggregation_strategy"),
        ("a", {"ignore_labels": "O"}, "parameters.ignore_labels"),
        ("a", {"ignore_labels": ["O", 1]}, "parameters.ignore_labels"),
        ("a", {"strides": 1}, 'parameters."strides"'),
        ("a", {"stride": 1, "aggregation_strategy": "none"}, "parameters.stride"),
        ("a", {"stride": -1}, "parameters.stride"),
        ("a", {"stride": 64}, "parameters.stride"),
    ],
)
def test_what_is_wrong_is_named(
    model: Pretrained, inputs: Any, parameters: dict[str, Any], field: str
) -> None:
    """By its place in the request."""
    with pytest.raises(BadRequest) as refused:
        model.ask(inputs, **parameters)

    assert refused.value.field == field
