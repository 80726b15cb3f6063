"""Answers in the shapes of Hugging Face's pipelines; parameters checked by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from artifact.golden import largest_difference
from artifact.manifest import Manifest
from inference_code.answering import prepared, written
from inference_code.batching import Planner
from inference_code.encoding import Encoder, TokenizerUnusable
from inference_code.errors import BadRequest, InferenceFailed
from inference_code.inference import StockModel, _run_all
from inference_code.load import LoadedModel
from inference_code.requests import Text
from inference_code.rows import Outputs, Row
from inference_code.task import Answered
from inference_code.tasks import answers
from tests.kit.handmade import Recipe, World, replaced, tokenizer

CLASSIFY = Recipe(task="text-classification")
TOKENS = Recipe(pooling="none")


def _ask(model: LoadedModel, inputs: Any, **parameters: Any) -> Any:
    body = json.dumps({"inputs": inputs, "parameters": parameters}).encode()
    asked = prepared(body, model, most=100)
    outputs = _run_all(asked.rows, StockModel(model=model, planner=Planner(model.manifest.buckets)))
    return json.loads(written(outputs, asked, model))


def _answered(*logits: float) -> Answered[Text]:
    outputs = Outputs(arrays=(np.array(logits, dtype=np.float32),))
    return Answered(item=Text("inputs", "", None), rows=[Row([], [])], outputs=[outputs])


def _encoder(manifest: Manifest) -> Encoder:
    return Encoder(tokenizer().to_str().encode(), manifest)


def test_token_states_come_without_padding(
    worlds: Callable[..., World], models: Callable[..., LoadedModel]
) -> None:
    """[tokens][hidden], special tokens included, for each input its own number of tokens."""
    found = _ask(models(TOKENS), ["w1", "w2 w3 w4"])

    assert [len(states) for states in found] == [3, 5]
    expected = [worlds(TOKENS).answer(text) for text in ("w1", "w2 w3 w4")]
    assert largest_difference(expected, found) <= 1e-5


def test_classification_answers_as_the_pipeline_does(
    worlds: Callable[..., World], models: Callable[..., LoadedModel]
) -> None:
    """[best] for one text, the best of each for a list, lists once top_k is asked for."""
    every = [worlds(CLASSIFY).answer(text) for text in ("w1", "w2")]
    model = models(CLASSIFY)

    def close(expected: Any, found: Any) -> bool:
        return largest_difference(expected, found) <= 1e-6

    assert close([every[0][0]], _ask(model, "w1"))
    assert close([every[0][0], every[1][0]], _ask(model, ["w1", "w2"]))
    assert close(every[0][:2], _ask(model, "w1", top_k=2))
    assert close([every[0][:2], every[1][:2]], _ask(model, ["w1", "w2"], top_k=2))
    assert close(every, _ask(model, ["w1", "w2"], top_k=None))
    assert close(every[0], _ask(model, "w1", top_k=99))


def test_scores_are_ranked_and_sum_to_one(models: Callable[..., LoadedModel]) -> None:
    """Softmax over the manifest's labels."""
    found = _ask(models(CLASSIFY), "w1 w2", top_k=None)

    scores = [entry["score"] for entry in found]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1)
    assert {entry["label"] for entry in found} == {"negative", "neutral", "positive"}


@pytest.mark.parametrize(
    ("problem", "asked", "expected"),
    [
        ("single_label_classification", None, [0.8808, 0.1192]),
        ("multi_label_classification", None, [0.8808, 0.5]),
        ("regression", None, [2.0, 0.0]),
        ("single_label_classification", "sigmoid", [0.8808, 0.5]),
        ("single_label_classification", "none", [2.0, 0.0]),
        ("regression", "softmax", [0.8808, 0.1192]),
    ],
)
def test_the_function_follows_the_problem_unless_asked(
    models: Callable[..., LoadedModel], problem: str, asked: str | None, expected: list[float]
) -> None:
    """transformers' choice by problem type; the request may override it."""
    manifest = _named(models(CLASSIFY).manifest, "a", "b", problem_type=problem)
    parameters = {"top_k": None} | ({} if asked is None else {"function_to_apply": asked})

    (found,) = answers([_answered(2.0, 0.0)], parameters, _encoder(manifest))

    assert [entry["score"] for entry in found] == pytest.approx(expected, abs=1e-4)


def test_labels_that_do_not_name_the_outputs_are_refused(models: Callable[..., LoadedModel]) -> None:
    """A class without a name would vanish from every answer."""
    with pytest.raises(TokenizerUnusable, match="2 labels do not name"):
        _encoder(replaced(models(CLASSIFY).manifest, labels=("a", "b")))


def _named(manifest: Manifest, *labels: str, **fields: Any) -> Manifest:
    """A classifier with those labels, one output each."""
    (output,) = manifest.outputs
    outputs = (msgspec.structs.replace(output, shape=("batch", len(labels))),)
    return replaced(manifest, labels=labels, outputs=outputs, **fields)


def test_one_label_means_sigmoid(models: Callable[..., LoadedModel]) -> None:
    """Softmax over one label would always say 1."""
    manifest = _named(models(CLASSIFY).manifest, "score")

    (found,) = answers([_answered(-1000.0)], {}, _encoder(manifest))

    assert found == [{"label": "score", "score": 0.0}]


def test_an_answer_that_is_no_number_is_an_error(models: Callable[..., LoadedModel]) -> None:
    """JSON would have turned it into null."""
    with pytest.raises(InferenceFailed):
        answers([_answered(np.nan)], {}, models().encoder)


@pytest.mark.parametrize(
    ("parameters", "names"),
    [
        ({"top_k": 0}, "top_k"),
        ({"top_k": True}, "top_k"),
        ({"top_k": 1.5}, "top_k"),
        ({"function_to_apply": "relu"}, "function_to_apply"),
        ({"function_to_apply": []}, "function_to_apply"),
        ({"temperature": 1}, "temperature"),
    ],
)
def test_parameters_are_checked_by_name(
    models: Callable[..., LoadedModel], parameters: dict[str, Any], names: str
) -> None:
    """The error names the one that is wrong and what is known."""
    with pytest.raises(BadRequest) as refused:
        _ask(models(CLASSIFY), "w1", **parameters)

    assert names in refused.value.field
    assert refused.value.status == 400
