"""Choices of one text, against the model asked the plain way."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from artifact.manifest import Bucket
from inference_code.answering import arranged
from inference_code.encoding import Encoder, TokenizerUnusable, fill
from inference_code.errors import BadRequest, InputTooLong
from inference_code.tasks import task_of
from tests.inference_code.compared import close
from tests.inference_code.pretrained import Pretrained
from tests.kit.handmade import replaced

TEXT = "the cat was in"
CHOICES = ["the mill.", "it", "Kyoto, for the cat is he"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    """Three choices in a row."""
    return Pretrained(tmp_path_factory.mktemp("choices"), "multiple-choice")


def _logits(model: Pretrained, text: str, choices: list[str]) -> list[float]:
    """Each pair through transformers' model, padded together, as its documentation shows."""
    encoded = model.tokenizer([text] * len(choices), choices, return_tensors="pt", padding=True)
    with torch.no_grad():
        said = model.model(**{name: tensor.unsqueeze(0) for name, tensor in encoded.items()})
    return list(said.logits[0].tolist())


def _expected(model: Pretrained, text: str, choices: list[str]) -> list[dict[str, Any]]:
    scores = torch.tensor(_logits(model, text, choices)).softmax(-1).tolist()
    found = [{"choice": at, "text": choices[at], "score": score} for at, score in enumerate(scores)]
    return sorted(found, key=lambda entry: -float(str(entry["score"])))


@pytest.mark.parametrize("count", [3, 2, 1])
def test_choices_come_from_the_best_down(model: Pretrained, count: int) -> None:
    """Fewer than the model's number share the probability among themselves."""
    found = model.ask({"text": TEXT, "choices": CHOICES[:count]})

    assert close(_expected(model, TEXT, CHOICES[:count]), found)
    assert sum(entry["score"] for entry in found) == pytest.approx(1)
    assert len(found) == count


def test_the_order_of_choices_does_not_matter(model: Pretrained) -> None:
    """Beyond the numbers that name them."""
    forward = model.ask({"text": TEXT, "choices": CHOICES})
    backward = model.ask({"text": TEXT, "choices": CHOICES[::-1]})

    assert [(entry["text"], 2 - entry["choice"]) for entry in backward] == [
        (entry["text"], entry["choice"]) for entry in forward
    ]


def test_a_list_gets_a_list(model: Pretrained) -> None:
    """Inputs with unlike numbers of choices share a batch."""
    inputs = [
        {"text": TEXT, "choices": CHOICES},
        {"text": "he", "choices": CHOICES[1:]},
        {"text": "", "choices": ["it", "it"]},
    ]

    expected = [_expected(model, str(item["text"]), list(item["choices"])) for item in inputs]
    assert close(expected, model.ask(inputs))
    assert close(expected[:1], model.ask(inputs[:1]))


def test_evidence_is_the_logit_of_each_choice(model: Pretrained) -> None:
    """In the order sent, without the filler's."""
    (row,) = arranged({"inputs": {"text": TEXT, "choices": CHOICES[:2]}}, model.loaded, most=1).rows
    (outputs,) = model.loaded.run(model.loaded.manifest.buckets[-1], [row])

    found = task_of(model.loaded.manifest).evidence(row, outputs, model.loaded.manifest)

    assert close(_logits(model, TEXT, CHOICES[:2]), found)


def test_arrays_hold_every_candidate(model: Pretrained) -> None:
    """Missing candidates repeat the row's first, missing rows the first row."""
    asked = [{"text": "a", "choices": ["b", "c c"]}, {"text": "d", "choices": ["e"]}]
    rows = arranged({"inputs": asked}, model.loaded, most=2).rows

    ids, mask, types = fill(rows, Bucket(batch=3, length=16, path="x"), model.loaded.manifest)

    assert ids.shape == mask.shape == types.shape == (3, 3, 16)
    assert mask.sum(axis=-1).tolist() == [[5, 6, 5], [5, 5, 5], [5, 6, 5]]
    assert ids[0, 2].tolist() == ids[0, 0].tolist() == ids[2, 0].tolist()
    assert types[0, 1, :7].tolist() == [0, 0, 0, 1, 1, 1, 0]


def test_the_longest_choice_decides_the_bucket(model: Pretrained) -> None:
    """And one that is too long is named."""
    (row,) = arranged({"inputs": {"text": "a", "choices": ["b", "c " * 20]}}, model.loaded, most=1).rows
    assert row.length == 24

    with pytest.raises(InputTooLong, match=r"inputs\.choices\[1\]"):
        model.ask({"text": "a", "choices": ["b", "c " * 90]})


@pytest.mark.parametrize(
    ("inputs", "parameters", "field"),
    [
        ("a", {}, "inputs"),
        ([{"text": "a", "choices": ["b"]}, None], {}, "inputs[1]"),
        ({"choices": ["b"]}, {}, "inputs.text"),
        ({"text": ["a"], "choices": ["b"]}, {}, "inputs.text"),
        ({"text": "a"}, {}, "inputs.choices"),
        ({"text": "a", "choices": "b"}, {}, "inputs.choices"),
        ({"text": "a", "choices": []}, {}, "inputs.choices"),
        ({"text": "a", "choices": ["b", "c", "d", "e"]}, {}, "inputs.choices"),
        ([{"text": "a", "choices": ["b", 5]}], {}, "inputs[0].choices[1]"),
        ({"text": "a", "choices": ["b"], "label": 0}, {}, 'inputs."label"'),
        ({"text": "a", "choices": ["b"]}, {"top_k": 1}, 'parameters."top_k"'),
    ],
)
def test_what_is_wrong_is_named(
    model: Pretrained, inputs: Any, parameters: dict[str, Any], field: str
) -> None:
    """By its place in the request."""
    with pytest.raises(BadRequest) as refused:
        model.ask(inputs, **parameters)

    assert refused.value.field == field


def test_a_manifest_without_choices_is_refused_at_load(model: Pretrained) -> None:
    """Not at the first request."""
    data = model.tokenizer.backend_tokenizer.to_str().encode()

    with pytest.raises(TokenizerUnusable, match="choices"):
        Encoder(data, replaced(model.loaded.manifest, choices=None))
