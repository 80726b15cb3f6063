"""Labels as transformers' own pipeline gives them."""

from __future__ import annotations

from typing import Any

import pytest

from inference_code.errors import BadRequest, InputTooLong
from tests.inference_code.compared import close
from tests.inference_code.pretrained import LABELS, Pretrained, transformers

TEXTS = ["Anna and Boris went from Berlin to Kyoto.", "the cat", "", "1,234 letters \u2603 caf\u00e9"]
PAIR = {"text": "the cat is in it", "text_pair": "was he in the mill?"}
PARAMETERS: list[dict[str, Any]] = [
    {},
    {"top_k": 1},
    {"top_k": 3},
    {"top_k": None},
    {"top_k": 99},
    {"function_to_apply": "sigmoid"},
    {"function_to_apply": "none", "top_k": None},
    {"function_to_apply": "SoftMax", "top_k": 2},
]
OLD: list[dict[str, Any]] = [
    {"return_all_scores": True},
    {"return_all_scores": False},
    {"return_all_scores": True, "top_k": 2},
    {"return_all_scores": False, "top_k": None},
    {"return_all_scores": True, "function_to_apply": "none"},
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    """Six labels."""
    return Pretrained(tmp_path_factory.mktemp("labels"), "text-classification")


@pytest.mark.parametrize("parameters", PARAMETERS, ids=str)
@pytest.mark.parametrize(
    "inputs", [TEXTS[0], TEXTS, [TEXTS[1]], [PAIR, PAIR]], ids=["text", "list", "one", "pairs"]
)
def test_the_answers_are_the_pipelines(model: Pretrained, inputs: Any, parameters: dict[str, Any]) -> None:
    """Labels, scores, order and nesting."""
    assert close(model.pipeline()(inputs, **parameters), model.ask(inputs, **parameters))


def test_a_pair_has_several_spellings(model: Pretrained) -> None:
    """As a list of two texts where the pipeline takes that, and in a list of lists as cross-encoders do."""
    text, pair = PAIR["text"], PAIR["text_pair"]
    expected = model.ask([PAIR], top_k=None)

    assert close(model.pipeline()([[[text, pair]]], top_k=None), expected)
    assert close(expected, model.ask([[[text, pair]]], top_k=None))
    assert close(expected, model.ask([[text, pair]], top_k=None))
    assert close(expected * 2, model.ask([[text, pair], PAIR], top_k=None))
    assert not close(expected * 2, model.ask([text, pair], top_k=None))
    assert close(expected[0], model.ask(PAIR, top_k=None))


@pytest.mark.skipif(
    transformers.__version__ >= "5", reason="this transformers has no return_all_scores any more"
)
@pytest.mark.filterwarnings("ignore:`return_all_scores` is now deprecated")
@pytest.mark.parametrize("parameters", OLD, ids=str)
@pytest.mark.parametrize("inputs", [TEXTS[0], TEXTS, [TEXTS[1]]], ids=["text", "list", "one"])
def test_the_older_parameter_means_what_it_did(
    model: Pretrained, inputs: Any, parameters: dict[str, Any]
) -> None:
    """Compared where transformers still has it."""
    assert close(model.pipeline()(inputs, **parameters), model.ask(inputs, **parameters))


def test_return_all_scores_is_every_label(model: Pretrained) -> None:
    """With the scores of top_k null, in the labels' own order, a list for each text."""
    every = model.ask(TEXTS, top_k=None)
    found = model.ask(TEXTS, return_all_scores=True)

    assert [[entry["label"] for entry in labels] for labels in found] == [list(LABELS)] * len(TEXTS)
    assert close(every, [sorted(labels, key=lambda entry: -float(entry["score"])) for labels in found])
    assert close([found[0]], model.ask(TEXTS[0], return_all_scores=True))
    assert close(model.ask(TEXTS), model.ask(TEXTS, return_all_scores=False))
    assert close(model.ask(TEXTS), model.ask(TEXTS, return_all_scores=None))


def test_hugging_faces_inference_api_always_nests(model: Pretrained) -> None:
    """Every label unless top_k says otherwise, the best first; its client takes the first of the lists."""
    every = model.ask(TEXTS, top_k=None)

    assert close(every, model.ask(TEXTS, hub=True))
    assert close([every[0]], model.ask(TEXTS[0], hub=True))
    assert close([every[0][:2]], model.ask(TEXTS[0], hub=True, top_k=2))
    assert close([[every[0][0]]], model.ask([TEXTS[0]], hub=True, top_k=1))


@pytest.mark.parametrize(
    ("inputs", "parameters", "field"),
    [
        (["a", ["b"]], {}, "inputs[1]"),
        (["a", ["b", "c", "d"]], {}, "inputs[1]"),
        ([["a", 5]], {}, "inputs[0]"),
        ([[]], {}, "inputs[0]"),
        ([[["a", "b"], ["c", "d"]]], {}, "inputs[0]"),
        ("a", {"return_all_scores": 1}, "parameters.return_all_scores"),
        ("a", {"truncation": "only_second"}, "parameters.truncation"),
        ("a", {"truncation": 1}, "parameters.truncation"),
    ],
)
def test_what_is_wrong_is_named(
    model: Pretrained, inputs: Any, parameters: dict[str, Any], field: str
) -> None:
    """By its place in the request."""
    with pytest.raises(BadRequest) as refused:
        model.ask(inputs, **parameters)

    assert refused.value.field == field


@pytest.mark.parametrize("cut", [True, "longest_first"])
def test_a_long_text_is_cut_where_the_request_says_so(model: Pretrained, cut: Any) -> None:
    """As transformers' tokenizer cuts it, a pair too."""
    long = "the cat is in it " * 40
    pair = {"text": long, "text_pair": "was he " * 50}
    pipeline = model.pipeline()

    for inputs in ([long], [pair]):
        assert close(pipeline(inputs, truncation=cut), model.ask(inputs, truncation=cut))
    assert close(pipeline(long, truncation="only_first"), model.ask(long, truncation="only_first"))


@pytest.mark.parametrize("cut", [False, "do_not_truncate"])
def test_a_long_text_is_refused_where_the_request_says_so(tmp_path: Any, cut: Any) -> None:
    """Even by an artifact that was compiled to cut."""
    cutting = Pretrained(tmp_path, "text-classification", truncate=True)
    long = "the cat is in it " * 40

    with pytest.raises(InputTooLong):
        cutting.ask(long, truncation=cut)
    assert close(cutting.ask(long, truncation=None), cutting.ask(long, truncation=True))
