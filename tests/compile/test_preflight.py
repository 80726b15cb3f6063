"""What cannot work is refused from config.json alone, with exit code 2 and the limit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import transformers

from artifact.manifest import Source, Waiver
from compile.architectures import ARCHITECTURES, usable_positions
from compile.preflight import (
    BucketTooLong,
    HeadMissing,
    OptionDoesNotFit,
    PaddingUnknown,
    TargetNotAllowed,
    TaskUnavailable,
    UnknownTask,
    plan,
)
from compile.request import BadBucket, CompileRequest, CompilerOptions, parse_shape
from compile.source import ModelSource
from tests.compile.world import make_request


def _source(**config: Any) -> ModelSource:
    return ModelSource(
        folder=Path(),
        config={"model_type": "bert", **config},
        weights=(),
        identity=Source(id="x", revision=None, files=()),
    )


def _request(*buckets: str, **options: Any) -> CompileRequest:
    return make_request("m", Path("out"), *buckets, **options)


def test_an_unknown_task_is_refused_with_the_known_ones() -> None:
    """The table is the answer."""
    with pytest.raises(UnknownTask, match="feature-extraction"):
        plan(_request(task="poetry"), _source())


def test_an_architecture_that_no_table_knows_is_left_to_the_gates() -> None:
    """And is called generic from here on."""
    planned = plan(_request(), _source(model_type="newbert", pad_token_id=7))

    assert (planned.row.support, planned.pad_token_id) == ("generic", 7)


def test_a_padding_id_that_nobody_knows_is_asked_for() -> None:
    """Guessing 0 would be a silent fault for half of all models."""
    with pytest.raises(PaddingUnknown, match="newbert"):
        plan(_request(), _source(model_type="newbert"))


def test_a_task_that_the_family_has_no_class_for_is_refused() -> None:
    """DeBERTa's first version knows no multiple choice."""
    with pytest.raises(TaskUnavailable, match="deberta"):
        plan(_request(task="multiple-choice"), _source(model_type="deberta"))


def test_a_span_needs_a_start_and_an_end() -> None:
    """transformers itself fails in forward(), with "too many values to unpack"."""
    names = {str(index): f"l{index}" for index in range(3)}

    with pytest.raises(HeadMissing, match="3 outputs"):
        plan(_request(task="question-answering"), _source(id2label=names))


def test_a_target_that_the_architecture_cannot_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row says where it runs."""
    from dataclasses import replace

    monkeypatch.setitem(ARCHITECTURES, "bert", replace(ARCHITECTURES["bert"], targets=("cpu",)))

    with pytest.raises(TargetNotAllowed, match="cpu"):
        plan(_request(target="inf1"), _source())


def test_a_task_without_a_trained_head_is_refused() -> None:
    """transformers would fill the head at random and say nothing."""
    with pytest.raises(HeadMissing, match="BertForMaskedLM"):
        plan(_request(task="text-classification"), _source(architectures=["BertForMaskedLM"]))


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        ({"model_type": "bert", "max_position_embeddings": 128}, 128),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "mpnet", "max_position_embeddings": 514}, 512),
        ({"model_type": "xlm-roberta", "max_position_embeddings": 514}, 512),
    ],
)
def test_the_longest_bucket_is_what_the_positions_allow(config: dict[str, Any], limit: int) -> None:
    """RoBERTa-likes number positions from the pad id on; the limit itself is allowed."""
    with pytest.raises(BucketTooLong) as refused:
        plan(_request(f"1x{limit + 1}"), _source(**config))

    assert refused.value.limit == limit
    assert plan(_request(f"1x{limit}"), _source(**config)).shapes[0].length == limit


@pytest.mark.parametrize("text", ["8", "0x8", "8x0", "axb", "8x128x2", "-1x8", "8 x 8"])
def test_a_bucket_has_two_positive_numbers(text: str) -> None:
    """Anything else is refused with an example."""
    with pytest.raises(BadBucket, match="two positive"):
        parse_shape(text)


def test_a_bucket_twice_or_no_bucket_is_refused() -> None:
    """Each bucket is one graph."""
    with pytest.raises(BadBucket, match="twice"):
        plan(_request("1x8", "1x8"), _source())
    with pytest.raises(BadBucket, match="at least one"):
        plan(
            CompileRequest(model="m", task="feature-extraction", target="cpu", shapes=(), out=Path("o")),
            _source(),
        )


@pytest.mark.parametrize(
    "options",
    [
        {"normalize": True},
        {"task": "text-classification", "pooling": "mean"},
        {"waivers": (Waiver(gate="parity", reason="because"),)},
        {"waivers": (Waiver(gate="padding", reason=" "),)},
        {"compiler": CompilerOptions(timeout_seconds=0)},
        {"compiler": CompilerOptions(min_coverage=101)},
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any]) -> None:
    """Before anything heavy starts."""
    with pytest.raises(OptionDoesNotFit):
        plan(_request(**options), _source())


def test_labels_come_from_the_checkpoint_in_the_order_of_its_outputs() -> None:
    """By number, not by their order in the file; where silent, as transformers names them."""
    named = _source(id2label={"1": "good", "0": "bad", "10": "k", "2": "c", "3": "d", "4": "e", "5": "f",
                              "6": "g", "7": "h", "8": "i", "9": "j"})  # fmt: skip
    request = _request(task="text-classification")

    assert plan(request, named).labels[:3] == ("bad", "good", "c")
    assert plan(request, _source()).labels == ("LABEL_0", "LABEL_1")


@pytest.mark.parametrize("names", [{"0": "a", "2": "b"}, {"0": "a", "1": "a"}])
def test_labels_with_gaps_or_twice_are_refused(names: dict[str, str]) -> None:
    """An answer must name exactly one output."""
    with pytest.raises(OptionDoesNotFit, match="id2label"):
        plan(_request(task="text-classification"), _source(id2label=names))


@pytest.mark.parametrize(
    "config",
    [
        {"id2label": {"0": "a", "1": "b"}, "num_labels": 3},
        {"id2label": ["a", "b"]},
        {"id2label": {"first": "a"}},
    ],
)
def test_labels_that_do_not_number_the_outputs_are_refused(config: dict[str, Any]) -> None:
    """A class without a name would vanish from every answer."""
    with pytest.raises(OptionDoesNotFit, match="id2label"):
        plan(_request(task="text-classification"), _source(**config))


def test_the_kind_of_classification_is_the_checkpoints_or_follows_from_its_outputs() -> None:
    """One output without a word is odds, as in transformers' pipeline, not a regression."""
    request = _request(task="text-classification")

    assert plan(request, _source(id2label={"0": "score"})).problem_type is None
    regression = _source(id2label={"0": "score"}, problem_type="regression")
    assert plan(request, regression).problem_type == "regression"
    assert plan(request, _source()).problem_type == "single_label_classification"
    multi = _source(problem_type="multi_label_classification")
    assert plan(request, multi).problem_type == "multi_label_classification"


@pytest.mark.parametrize("name", sorted(set(ARCHITECTURES) & set(transformers.CONFIG_MAPPING)))
def test_the_tables_defaults_are_transformers_own(name: str) -> None:
    """A config that leaves a value out means the class's default; the table must say the same."""
    row, made = ARCHITECTURES[name], transformers.AutoConfig.for_model(name)

    assert row.pad_token_id == made.pad_token_id
    assert row.max_positions == made.max_position_embeddings
    assert row.hidden == getattr(made, row.hidden_key)
    assert row.heads == getattr(made, row.heads_key)
    assert row.layers == getattr(made, row.layers_key)
    if hasattr(made, row.intermediate_key):
        assert row.intermediate == getattr(made, row.intermediate_key)
    else:  # XLM's TransformerFFN
        assert row.intermediate_per_hidden == 4
        assert row.intermediate == 4 * row.hidden
    assert usable_positions(row, {}) <= made.max_position_embeddings
