"""A trace that a team already has becomes an artifact, by the same gates or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import pytest
import torch

from artifact.graphs import load_graph
from artifact.sealed import Sealed
from compile.adopt import AdoptMismatch, NotAdoptable, adopt, make_job, taken
from compile.adopted import TraceUnusable, adopt_here
from compile.buckets import TracedModel
from compile.children import run
from compile.jobs import TraceResult
from compile.request import CompileRequest
from compile.wrapper import InputDropped
from tests.compile.world import compare_in, failed_gates, make_request, make_world
from tests.kit.models import tiny_model
from tests.kit.traced import ORDER, traced_file


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model") / "m", labels=("no", "yes", "maybe"))


@dataclass(frozen=True)
class Adopted:
    """What was made of a file, and which gates it failed."""

    traced: TracedModel
    failed: set[str]


def _request(model: Path, out: Path, *shapes: str, **options: Any) -> CompileRequest:
    return make_request(model, out, *(shapes or ("1x16",)), **{"task": "text-classification", **options})


def _adopted(request: CompileRequest, files: tuple[Path, ...], inputs: tuple[str, ...]) -> Adopted:
    """``adopt`` without its child processes, each of which costs seconds of imports."""
    world = make_world(request, request.out)
    (world.place.staging / "graphs").mkdir()
    buckets = []
    for shape, file in zip(request.shapes, files):
        job = make_job(request, world.model, shape, file, inputs=inputs, place=world.place)
        buckets.append(taken(job, shape, adopt_here(job)))
    traced = TracedModel(staging=world.place.staging, buckets=tuple(buckets), weights=None)
    return Adopted(traced=traced, failed=failed_gates(compare_in(world, traced)))


@pytest.mark.parametrize(
    "form",
    [
        lambda answer: (answer.logits,),
        lambda answer: {"logits": answer.logits, "more": answer.logits.sum()},
        lambda answer: answer.logits,
    ],
    ids=["tuple", "dict", "tensor"],
)
def test_a_trace_that_answers_as_the_model_passes_every_gate(
    classifier: Path, tmp_path: Path, form: Callable[[Any], Any]
) -> None:
    """Whatever form its answer has; it is known which file was brought."""
    file = traced_file(classifier, tmp_path / "theirs.pt", form=form)

    made = _adopted(_request(classifier, tmp_path / "out"), (file,), ())

    assert made.failed == set()
    assert made.traced.adopted == (hashlib.sha256(file.read_bytes()).hexdigest(),)
    assert [tensor.name for tensor in made.traced.inputs] == list(ORDER)
    graph = load_graph(Sealed([(made.traced.staging / "graphs/b1_s16.pt").read_bytes()]), None)
    (logits,) = graph(*(torch.ones((1, 16), dtype=torch.int64) for _ in ORDER))
    assert logits.shape == (1, 3)


def test_the_same_file_gives_the_same_graph(classifier: Path, tmp_path: Path) -> None:
    """In fresh processes, as adopting has it: a second script in one process counts its names on."""
    file = traced_file(classifier, tmp_path / "theirs.pt")
    graphs = []
    for name in ("one", "two"):
        world = make_world(_request(classifier, tmp_path / name), tmp_path / name)
        (world.place.staging / "graphs").mkdir()
        job = make_job(
            world.request, world.model, world.request.shapes[0], file, inputs=(), place=world.place
        )
        run("compile.adopted", job, TraceResult, folder=world.place.scratch, name="adopt", timeout=None)
        graphs.append(Path(job.graph).read_bytes())

    assert graphs[0] == graphs[1]


def test_an_order_of_inputs_that_is_told_is_kept(classifier: Path, tmp_path: Path) -> None:
    """The tokenizer's own order, which differs from forward's, is the commonest one."""
    order = ("input_ids", "token_type_ids", "attention_mask")
    file = traced_file(classifier, tmp_path / "theirs.pt", order=order)

    made = _adopted(_request(classifier, tmp_path / "out"), (file,), order)

    assert made.failed == set()


def test_a_wrong_order_of_inputs_fails_the_gates(classifier: Path, tmp_path: Path) -> None:
    """Mask and token types swapped give answers without any error; the proof sees it."""
    file = traced_file(classifier, tmp_path / "t.pt", order=("input_ids", "token_type_ids", "attention_mask"))

    made = _adopted(_request(classifier, tmp_path / "out"), (file,), ())

    assert "parity" in made.failed


def test_a_trace_of_another_model_fails_the_gates(classifier: Path, tmp_path: Path) -> None:
    """Last month's trace beside this month's weights."""
    other = tiny_model(tmp_path / "other", labels=("no", "yes", "maybe"), seed=7)
    file = traced_file(other, tmp_path / "theirs.pt")

    made = _adopted(_request(classifier, tmp_path / "out"), (file,), ())

    assert "parity" in made.failed


def test_inputs_that_the_model_does_not_have_or_that_are_left_out_are_refused(
    classifier: Path, tmp_path: Path
) -> None:
    """Before anything is compared."""
    file = traced_file(classifier, tmp_path / "theirs.pt")

    with pytest.raises(InputDropped):
        _adopted(_request(classifier, tmp_path / "out"), (file,), ("input_ids", "attention_mask"))


def test_a_trace_that_takes_fewer_inputs_says_so(classifier: Path, tmp_path: Path) -> None:
    """torch's own words are the reason."""
    file = traced_file(classifier, tmp_path / "theirs.pt", order=ORDER[:2])

    with pytest.raises(TraceUnusable) as refused:
        _adopted(_request(classifier, tmp_path / "out"), (file,), ())

    assert refused.value.exit_code == 2
    assert "expected at most" in refused.value.why or "Expected at most" in refused.value.why


class _Asserts(torch.nn.Module):
    def forward(self, ids: torch.Tensor, types: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        assert ids.size(0) == 99, "it takes 99 rows"
        return (ids + types + mask).float()


class _Multiplies(torch.nn.Module):
    def forward(self, ids: torch.Tensor, types: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return torch.matmul((ids + types + mask).float(), torch.ones(3, 3))


class _Raises(torch.nn.Module):
    def forward(self, ids: torch.Tensor, types: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if ids.size(0) < 99:
            raise ValueError("too few rows\nfor this program")
        return (ids + types + mask).float()


class _TakesANumber(torch.nn.Module):
    def forward(self, ids: torch.Tensor, types: torch.Tensor, mask: int) -> torch.Tensor:
        return (ids + types + mask).float()


class _AnswersNothing(torch.nn.Module):
    def forward(
        self, ids: torch.Tensor, types: torch.Tensor, mask: torch.Tensor
    ) -> tuple[Optional[torch.Tensor], torch.Tensor]:  # noqa: UP045 - TorchScript of torch 1.13
        return None, ids + types + mask


OWN_WORDS = {
    _Asserts: "RuntimeError: AssertionError: it takes 99 rows",
    _Multiplies: "RuntimeError: mat1 and mat2 shapes cannot be multiplied (1x16 and 3x3)",
    _Raises: "builtins.ValueError: too few rows for this program",
    _TakesANumber: "forward() Expected a value of type 'int' for argument 'mask'",
    _AnswersNothing: "the task needs logits, the file answers tuple of NoneType, Tensor",
}


@pytest.mark.parametrize("program", OWN_WORDS, ids=lambda program: program.__name__)
def test_a_program_that_fails_is_quoted_in_its_own_words(
    classifier: Path, tmp_path: Path, program: type[torch.nn.Module]
) -> None:
    """On one line, without the excerpts of its code; an error of TorchScript is none of Python's."""
    torch.jit.script(program()).save(str(tmp_path / "theirs.pt"))

    with pytest.raises(TraceUnusable) as refused:
        _adopted(_request(classifier, tmp_path / "out"), (tmp_path / "theirs.pt",), ())

    assert refused.value.why.startswith(OWN_WORDS[program])
    assert "\n" not in refused.value.why


class _AnswersMaybe(torch.nn.Module):
    def forward(
        self, ids: torch.Tensor, types: torch.Tensor, mask: torch.Tensor
    ) -> tuple[Optional[torch.Tensor], torch.Tensor]:  # noqa: UP045 - TorchScript of torch 1.13
        if ids.size(0) > 99:
            return None, ids
        return (ids + types + mask).float().unsqueeze(-1), ids


def test_an_answer_that_cannot_be_pooled_is_quoted_too(tmp_path: Path) -> None:
    """What runs may still not compile behind our pooling: TorchScript's first line says why."""
    model = tiny_model(tmp_path / "m")
    torch.jit.script(_AnswersMaybe()).save(str(tmp_path / "theirs.pt"))
    request = _request(model, tmp_path / "out", task="feature-extraction", pooling="mean")

    with pytest.raises(TraceUnusable, match="Optional") as refused:
        _adopted(request, (tmp_path / "theirs.pt",), ())

    assert "<--- HERE" not in refused.value.why


def test_a_file_that_is_no_trace_is_refused(classifier: Path, tmp_path: Path) -> None:
    """Not a crash of torch."""
    (tmp_path / "theirs.pt").write_bytes(b"not a trace")

    with pytest.raises(TraceUnusable):
        _adopted(_request(classifier, tmp_path / "out"), (tmp_path / "theirs.pt",), ())


def test_an_answer_without_the_tasks_output_is_refused(classifier: Path, tmp_path: Path) -> None:
    """The names that it has are told."""
    file = traced_file(classifier, tmp_path / "theirs.pt", form=lambda answer: {"scores": answer.logits})

    with pytest.raises(TraceUnusable, match="scores"):
        _adopted(_request(classifier, tmp_path / "out"), (file,), ())


def test_pooling_is_put_around_a_trace_that_has_none(tmp_path: Path) -> None:
    """Mean over the mask and L2 norm 1, as a compile of ours does."""
    model = tiny_model(tmp_path / "m")
    file = traced_file(model, tmp_path / "t.pt", kind="AutoModel", form=lambda a: (a.last_hidden_state,))
    pooled = {"task": "feature-extraction", "pooling": "mean", "normalize": True}

    made = _adopted(_request(model, tmp_path / "out", **pooled), (file,), ())

    assert made.failed == set()
    assert [tensor.shape for tensor in made.traced.outputs] == [("batch", 32)]


def test_a_file_for_each_bucket(classifier: Path, tmp_path: Path) -> None:
    """In the order of the buckets."""
    files = tuple(
        traced_file(classifier, tmp_path / f"{batch}.pt", shape=(batch, length))
        for batch, length in ((1, 16), (2, 32))
    )

    made = _adopted(_request(classifier, tmp_path / "out", "1x16", "2x32"), files, ())

    assert made.failed == set()
    assert list(made.traced.adopted) == [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def test_files_and_buckets_that_do_not_go_together_are_refused(classifier: Path, tmp_path: Path) -> None:
    """No guess at which is which."""
    file = tmp_path / "x.pt"

    with pytest.raises(AdoptMismatch):
        adopt(_request(classifier, tmp_path / "out", "1x16", "2x16", "4x16"), (file, file), (), [].append)


def test_a_translation_cannot_be_adopted(tmp_path: Path) -> None:
    """It has two graphs, which must fit our own search."""
    model = tiny_model(tmp_path / "m", "marian")

    with pytest.raises(NotAdoptable):
        adopt(_request(model, tmp_path / "out", task="translation"), (tmp_path / "x.pt",), (), [].append)
