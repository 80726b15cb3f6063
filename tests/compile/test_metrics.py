"""The user's own examples in a compile: proof, golden set, and the task's metric."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from artifact.canonical import decode
from artifact.golden import Golden
from artifact.manifest import GOLDEN
from compile.examples import SamplesUnusable
from compile.jobs import CompareResult
from compile.model import MaskTokenMissing
from tests.compile.world import World, compare_in, make_request, make_world, trace_in
from tests.kit.models import tiny_model

LABELS = ("no", "yes", "maybe")


def _world(tmp_path: Path, task: str, lines: list[Any], **options: Any) -> World:
    labels = LABELS if "classification" in task else None
    model = tiny_model(tmp_path / "m", task=task, labels=labels)
    samples = tmp_path / "samples.jsonl"
    samples.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    request = make_request(model, tmp_path / "out", "2x32", task=task, samples=samples, choices=2, **options)
    return make_world(request, tmp_path / "world")


def _compare(world: World) -> CompareResult:
    return compare_in(world, trace_in(world))


def _golden(world: World) -> Golden:
    return decode((world.place.staging / GOLDEN).read_bytes(), Golden)


@pytest.mark.parametrize(
    ("task", "examples"),
    [
        ("text-classification", [{"text": "the cat", "label": label} for label in LABELS]),
        ("fill-mask", [{"text": "the [MASK]", "label": "cat"}, {"text": "a [MASK] is", "label": "mill"}]),
        ("question-answering", [{"question": "of it", "context": "the mill", "answer": "mill"}]),
        ("multiple-choice", [{"text": "it is", "choices": ["cat", "mill"], "label": n} for n in (0, 1)]),
        ("token-classification", [{"text": "the cat", "label": ["no", "yes"]}]),
    ],
)
def test_labelled_examples_give_the_metric_of_the_model_and_of_the_graph(
    task: str, examples: list[Any], tmp_path: Path
) -> None:
    """Both on the same rows, so that they differ by nothing but the trace."""
    result = _compare(_world(tmp_path, task, examples))

    assert result.metric is not None
    assert result.metric.examples == len(examples)
    assert result.metric.graph == result.metric.reference
    if task == "text-classification":  # each label once for one text: exactly one is right
        assert result.metric.graph == pytest.approx(1 / 3)
    if task == "multiple-choice":
        assert result.metric.graph == pytest.approx(1 / 2)


def test_examples_join_the_proof_and_the_golden_set(tmp_path: Path) -> None:
    """What the user cares about is replayed at every boot."""
    world = _world(tmp_path, "feature-extraction", ["the cat is on it", "he was in the mill"], pooling="mean")
    plain = make_world(make_request(tmp_path / "m", tmp_path / "o2", "2x32", pooling="mean"), tmp_path / "w2")

    result, without = _compare(world), _compare(plain)

    assert result.metric is None
    assert result.figures[0].compared > without.figures[0].compared
    requests = [case.request["inputs"] for case in _golden(world).cases]
    assert ["he was in the mill", "the cat is on it"] in [sorted(inputs) for inputs in requests]
    assert len(requests) == 2


@pytest.mark.parametrize(
    ("task", "example", "why"),
    [
        ("text-classification", {"text": "a", "label": "perhaps"}, "the labels are no, yes, maybe"),
        ("text-classification", {"text": "a", "label": 3}, "the labels are"),
        ("multiple-choice", {"text": "t", "choices": ["a", "b"], "label": 2}, "a choice or its number"),
        ("token-classification", {"text": "the cat", "label": ["no"]}, "labels is needed"),
        ("token-classification", {"text": "the cat", "label": ["no"] * 4}, "labels is needed"),
        ("question-answering", {"question": "q", "context": "c", "answer": 3}, "answer is a text"),
    ],
)
def test_a_label_that_the_model_does_not_have_is_refused(
    task: str, example: Any, why: str, tmp_path: Path
) -> None:
    """A metric over impossible labels would be a silent zero."""
    with pytest.raises(SamplesUnusable, match=why):
        _compare(_world(tmp_path, task, [example]))


def test_fill_mask_without_a_mask_token_is_refused(tmp_path: Path) -> None:
    """No request could hold it."""
    model = tiny_model(tmp_path / "m", task="fill-mask")
    described = json.loads((model / "tokenizer_config.json").read_text())
    del described["mask_token"]
    (model / "tokenizer_config.json").write_text(json.dumps(described))
    world = make_world(make_request(model, tmp_path / "out", task="fill-mask"), tmp_path / "world")

    with pytest.raises(MaskTokenMissing, match="no mask token"):
        _compare(world)
