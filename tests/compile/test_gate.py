"""The parity gate: right traces pass, every wrong one that we could think of is caught."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
import transformers

from artifact.manifest import Waiver
from compile import comparison, gates, parity
from compile.jobs import CompareResult, Verdict
from compile.model import LabelsDoNotFit, load_model, load_tokenizer
from compile.parity import NothingCompared, ParityFailed, ProvenModel, WaiverNotNeeded, judge
from compile.tally import Tally
from tests.compile.world import (
    World,
    compare_in,
    compare_job,
    failed_gates,
    make_request,
    make_world,
    subject_in,
    trace_in,
)
from tests.kit.models import tiny_model

Around = Callable[[torch.nn.Module], torch.nn.Module]


class _Around(torch.nn.Module):
    """A wrong module around the right one."""

    def __init__(self, inner: torch.nn.Module, wrong: Callable[..., Any]) -> None:
        super().__init__()
        self.inner = inner
        self._wrong = wrong

    def forward(self, *tensors: torch.Tensor) -> Any:
        return self._wrong(self.inner, *tensors)


def _around(wrong: Callable[..., Any]) -> Around:
    return lambda inner: _Around(inner, wrong)


def _proof(model: Path, base: Path, mutation: Around | None = None, **options: Any) -> CompareResult:
    world = make_world(make_request(model, base / "out", **options), base / "world")
    return compare_in(world, trace_in(world, mutation))


@pytest.mark.parametrize(("pooling", "normalize"), [("none", False), ("cls", False), ("mean", True)])
def test_every_pooling_is_proven(tiny_bert: Path, tmp_path: Path, pooling: str, normalize: bool) -> None:
    """Pooling is part of the graph, so its padding is part of the proof."""
    result = _proof(tiny_bert, tmp_path, pooling=pooling, normalize=normalize)

    assert failed_gates(result) == set()
    expected = "last_hidden_state" if pooling == "none" else "sentence_embedding"
    assert {figure.output for figure in result.figures} == {expected}


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (("score",), None),
        (("a", "b", "c", "d"), "multi_label_classification"),
    ],
)
def test_every_kind_of_classification_is_proven(
    labels: tuple[str, ...], problem: str, tmp_path: Path
) -> None:
    """A regression and several labels at once, beside the usual one."""
    model = tiny_model(tmp_path / "m", labels=labels, problem_type=problem)

    assert failed_gates(_proof(model, tmp_path, task="text-classification")) == set()


def _swapped(inner: Any, ids: Any, mask: Any, types: Any) -> Any:
    """What ``tuple(tokenizer_output.values())`` does to BERT."""
    return inner(ids, types, mask)


def _without_types(inner: Any, ids: Any, mask: Any, types: Any) -> Any:
    return inner(ids, mask, types * 0)


def _without_mask(inner: Any, ids: Any, mask: Any, types: Any) -> Any:
    return inner(ids, mask * 0 + 1, types)


def _left_padded(inner: Any, ids: Any, mask: Any, types: Any) -> Any:
    """Each row moved to the right end of the bucket, and its answer moved back."""
    length = ids.shape[1]
    places = (torch.arange(length) - (length - mask.sum(dim=1, keepdim=True))) % length
    moved = [torch.gather(tensor, 1, places) for tensor in (ids, mask, types)]
    back = places.argsort(dim=1)
    output = inner(*moved)[0]
    return (torch.gather(output, 1, back.unsqueeze(-1).expand_as(output)) if output.dim() == 3 else output,)


def _poisoned(inner: Any, ids: Any, mask: Any, types: Any) -> Any:
    output = inner(ids, mask, types)[0]
    return (output + torch.where(mask.sum() < mask.numel() - 3, torch.nan, 0.0),)


@pytest.mark.parametrize("task", ["feature-extraction", "text-classification"])
@pytest.mark.parametrize(
    ("wrong", "gates"),
    [
        (_swapped, {"parity"}),
        (_without_types, {"parity", "sensitivity"}),
        (_without_mask, {"parity", "padding", "sensitivity"}),
        (_left_padded, {"parity", "padding"}),
        (_poisoned, {"parity", "finite"}),
    ],
)
def test_a_wrong_binding_is_caught(
    tiny_bert: Path,
    tiny_classifier: Path,
    tmp_path: Path,
    task: str,
    wrong: Callable[..., Any],
    gates: set[str],
) -> None:
    """No error and no warning comes from torch for any of these."""
    model = tiny_classifier if task == "text-classification" else tiny_bert

    result = _proof(model, tmp_path, _around(wrong), task=task)

    assert gates <= failed_gates(result)


def test_reversed_labels_are_caught(tiny_classifier: Path, tmp_path: Path) -> None:
    """The right numbers at the wrong places give the wrong label."""

    def reversed_labels(inner: Any, *tensors: torch.Tensor) -> Any:
        return (inner(*tensors)[0].flip(-1),)

    result = _proof(tiny_classifier, tmp_path, _around(reversed_labels), task="text-classification")

    assert {"parity", "agreement", "golden"} <= failed_gates(result)


def test_a_weight_changed_after_tracing_is_caught(tiny_bert: Path, tmp_path: Path) -> None:
    """One number, by 1e-2, in the file that all buckets share."""
    from safetensors.torch import load_file, save_file

    world = make_world(make_request(tiny_bert, tmp_path / "out"), tmp_path / "world")
    traced = trace_in(world)
    path = world.place.staging / str(traced.weights)
    weights = load_file(path)
    name = next(name for name in sorted(weights) if name.endswith("attention.self.query.weight"))
    weights[name][0, 0] += 1e-2
    save_file(weights, path)

    result = compare_in(world, traced)

    assert {"parity", "padding"} <= failed_gates(result)


def test_an_answer_that_depends_on_the_neighbours_is_caught(tiny_bert: Path, tmp_path: Path) -> None:
    """Each row's answer is its own."""

    def mixed(inner: Any, ids: Any, mask: Any, types: Any) -> Any:
        output = inner(ids, mask, types)[0]
        return (output + 0.01 * output.mean(dim=0, keepdim=True),)

    result = _proof(tiny_bert, tmp_path, _around(mixed), pooling="mean")

    assert {"parity", "batch"} <= failed_gates(result)


def test_an_answer_that_depends_on_the_bucket_is_caught(tiny_bert: Path, tmp_path: Path) -> None:
    """Nothing is wrong with the trace of a model that reads its padding, and yet it must not pass."""
    world = make_world(make_request(tiny_bert, tmp_path / "out", "1x32", pooling="mean"), tmp_path / "world")
    right = subject_in(world, trace_in(world))

    def counting(model: Any) -> Any:
        """As a convolution over the padding would: the length of the input is in the answer."""
        return lambda *tensors: (model(*tensors)[0] + 0.001 * tensors[0].shape[1],)

    wrong = replace(right, graph=counting(right.graph), reference=counting(right.reference))
    with torch.no_grad():
        verdicts, _ = gates.measure(wrong)

    assert {verdict.gate for verdict in verdicts if not verdict.passed} == {"padding"}


@pytest.mark.parametrize("architecture", ["roberta", "mpnet", "xlm-roberta", "camembert"])
def test_rows_filled_with_another_id_than_the_models_are_caught(architecture: str, tmp_path: Path) -> None:
    """RoBERTa padded with 0: harmless to a right-padded text, so no number shows it."""
    model = tiny_model(tmp_path / "m", architecture)
    world = make_world(make_request(model, tmp_path / "out"), tmp_path / "world")
    wrong = replace(world, model=msgspec.structs.replace(world.model, pad_token_id=0))

    assert "padding" in failed_gates(compare_in(wrong, trace_in(wrong)))


@pytest.mark.parametrize(
    ("task", "wrong", "gates_"),
    [
        ("question-answering", lambda start, end: (end, start), {"parity", "agreement", "golden"}),
        ("token-classification", lambda logits: (logits.roll(1, dims=1),), {"parity", "agreement", "golden"}),
        ("token-classification", lambda logits: (logits.flip(-1),), {"parity", "agreement", "golden"}),
        ("fill-mask", lambda logits: (logits.roll(1, dims=-1),), {"parity", "agreement", "golden"}),
        ("multiple-choice", lambda logits: (logits.flip(-1),), {"parity", "agreement", "golden"}),
    ],
)
def test_the_right_numbers_at_the_wrong_places_are_caught(
    task: str, wrong: Callable[..., Any], gates_: set[str], tmp_path: Path
) -> None:
    """Start and end swapped, tokens moved by one, labels, words or choices in another order."""
    labels = ("no", "yes", "maybe") if task == "token-classification" else None
    model = tiny_model(tmp_path / "m", task=task, labels=labels)

    def around(inner: Any, *tensors: torch.Tensor) -> Any:
        return wrong(*inner(*tensors))

    result = _proof(model, tmp_path, _around(around), task=task)

    assert gates_ <= failed_gates(result)


def test_two_differently_seeded_models_do_not_agree(tmp_path: Path) -> None:
    """The comparison is with the model that was traced, not with one like it."""
    first, second = tiny_model(tmp_path / "a", seed=1), tiny_model(tmp_path / "b", seed=2)
    ours = make_world(make_request(first, tmp_path / "out"), tmp_path / "one")
    other = make_world(make_request(second, tmp_path / "out"), tmp_path / "two")
    traced = trace_in(ours)
    mixed = World(ours.request, ours.found, ours.plan, ours.place, other.model)

    assert "parity" in failed_gates(compare_in(mixed, traced))


def test_a_shape_that_would_broadcast_is_a_failure() -> None:
    """A missing axis must not make a comparison of everything with everything."""
    tally = Tally()

    tally.add(torch.zeros(1, 4), torch.zeros(3, 4))

    assert not tally.within(1.0)
    assert "shapes" in tally.why(1.0)


def test_nothing_compared_is_not_passed() -> None:
    """An empty tally has no largest difference."""
    assert not Tally().within(1.0)
    with pytest.raises(NothingCompared):
        judge((), ())


def _verdict(gate: str, *, passed: bool) -> Verdict:
    return Verdict(
        gate=gate, bucket="b1_s16", passed=passed, compared=1, why="largest difference 3, allowed 1"
    )


def test_a_failed_gate_stops_the_compile_with_its_figures() -> None:
    """Exit code 3, and the message says by how much."""
    with pytest.raises(ParityFailed, match="largest difference 3") as failed:
        judge((_verdict("parity", passed=False), _verdict("batch", passed=True)), ())

    assert failed.value.exit_code == 3


def test_a_waived_gate_passes_and_stays_on_record() -> None:
    """Only the gate that is named."""
    waiver = Waiver(gate="padding", reason="this model reads its padding")

    kept = judge((_verdict("padding", passed=False),), (waiver,))

    assert kept == (waiver,)
    with pytest.raises(ParityFailed):
        judge((_verdict("padding", passed=False), _verdict("parity", passed=False)), (waiver,))


def test_a_waiver_that_nothing_needs_is_refused() -> None:
    """It would show a weakness that is not there."""
    with pytest.raises(WaiverNotNeeded, match="padding"):
        judge((_verdict("padding", passed=True),), (Waiver(gate="padding", reason="just in case"),))


def test_only_the_gate_makes_a_proven_model() -> None:
    """The type is the order of the stages."""
    with pytest.raises(TypeError, match=r"parity\.prove"):
        ProvenModel(traced=None, parity=None, figures=(), waivers=(), mask_token_id=None, metric=None)  # type: ignore[arg-type]
    assert parity.ProvenModel is ProvenModel


def test_the_tokenizer_gate_sees_another_vocabulary(tiny_bert: Path, tmp_path: Path) -> None:
    """The artifact's tokenizer must give transformers' own ids."""
    world = make_world(make_request(tiny_bert, tmp_path / "out", "1x16"), tmp_path / "world")
    subject = subject_in(world, trace_in(world))
    another = load_tokenizer(str(tiny_model(tmp_path / "roberta", "roberta")))

    assert gates.tokenizer(subject, load_tokenizer(world.model.folder)).passed
    assert not gates.tokenizer(subject, another).passed


@pytest.mark.parametrize(
    ("found", "expected"), [(float("nan"), 0.0), (0.0, float("nan")), (float("inf"), 0.0)]
)
def test_nan_on_either_side_is_a_failure(found: float, expected: float) -> None:
    """A difference with NaN compares as smaller than anything; it must not slip through."""
    tally = Tally()

    tally.add(torch.full((2, 3), found), torch.full((2, 3), expected))
    tally.add(torch.zeros(2, 3), torch.zeros(2, 3))

    assert not tally.within(1.0)


def _with_types(model: Path) -> None:
    described = json.loads((model / "tokenizer_config.json").read_text())
    described["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    (model / "tokenizer_config.json").write_text(json.dumps(described))


def test_token_types_that_only_the_tokenizer_knows_of_are_traced(tmp_path: Path) -> None:
    """XLM adds them without a word in its config."""
    model = tiny_model(tmp_path / "m", "xlm", labels=("no", "yes"))
    _with_types(model)
    request = make_request(model, tmp_path / "out", "2x16", task="text-classification")
    world = make_world(request, tmp_path / "world")

    traced = trace_in(world)

    assert [tensor.name for tensor in traced.inputs] == ["input_ids", "attention_mask", "token_type_ids"]
    assert failed_gates(compare_in(world, traced)) == set()


def test_token_types_that_were_left_out_are_caught(tmp_path: Path) -> None:
    """Both sides of every other gate would lack them."""
    model = tiny_model(tmp_path / "m", "xlm", labels=("no", "yes"))
    request = make_request(model, tmp_path / "out", "2x16", task="text-classification")
    world = make_world(request, tmp_path / "world")
    traced = trace_in(world)
    _with_types(model)

    assert failed_gates(compare_in(world, traced)) == {"inputs"}


def test_a_half_precision_checkpoint_is_held_to_float32(tmp_path: Path) -> None:
    """transformers 5 loads in the checkpoint's precision and rounds what it computes at load."""
    model = tiny_model(tmp_path / "m", "marian", scale=6.0)
    half = transformers.AutoModelForSeq2SeqLM.from_pretrained(model, torch_dtype=torch.float16)
    half.save_pretrained(model)
    request = make_request(model, tmp_path / "out", "1x16", task="translation", max_target_length=8)
    world = make_world(request, tmp_path / "world")

    positions = [
        tensor
        for name, tensor in load_model(world.model).state_dict().items()
        if name.endswith("embed_positions.weight")
    ]

    assert positions
    for tensor in positions:
        assert not torch.equal(tensor, tensor.half().float())


def test_a_head_with_more_outputs_than_names_is_refused(tmp_path: Path) -> None:
    """The checkpoint's own class decides how many there are."""
    model = tiny_model(tmp_path / "m", labels=("no", "yes", "maybe"))
    world = make_world(make_request(model, tmp_path / "out", task="text-classification"), tmp_path / "world")
    traced = trace_in(world)
    job = msgspec.structs.replace(compare_job(world, traced), labels=("no", "yes"))

    with pytest.raises(LabelsDoNotFit, match="3 outputs and names for 2"):
        comparison.compare(job)
