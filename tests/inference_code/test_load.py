"""A folder in, a proven model out; nothing is loaded before everything is verified."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from artifact.canonical import encode
from artifact.golden import Case, Golden, largest_difference
from artifact.graphs import NeuronMissing
from artifact.manifest import Manifest, Requires
from artifact.verify import AnotherArtifact, ArtifactChanged
from inference_code.encoding import TokenizerUnusable
from inference_code.graphs import Take, load_graphs
from inference_code.load import LoadedModel, load
from inference_code.requests import Text
from inference_code.selfcheck import GoldenUnusable, SelfCheckFailed
from inference_code.tasks import TaskUnknown
from tests.inference_code.proving import proven
from tests.inference_code.running import CHECKOUT, environment
from tests.kit.folders import write_manifest
from tests.kit.handmade import Recipe, World, build, replaced, rewrite

FILES = [
    "golden.json",
    "graphs/b1_s8.pt",
    "graphs/b4_s16.pt",
    "tokenizer/tokenizer.json",
    "weights.safetensors",
]
NEW_TASKS = [
    Recipe(task=task)
    for task in ("token-classification", "question-answering", "fill-mask", "multiple-choice")
]


class CountingLoader:
    """Loads as production does, and counts."""

    def __init__(self) -> None:
        self.calls: list[Manifest] = []

    def __call__(self, manifest: Manifest, take: Take) -> Any:
        self.calls.append(manifest)
        return load_graphs(manifest, take)


def test_the_whole_artifact_is_loaded_once(world: World) -> None:
    """The positive case of the tests below."""
    loader = CountingLoader()

    model = load(world.root, digest=world.digest, loader=loader)

    assert len(loader.calls) == 1
    assert set(model.graphs) == {"b1_s8", "b1_s16", "b4_s16"}


@pytest.mark.parametrize("path", FILES)
def test_one_flipped_byte_never_reaches_the_loader(copied: World, path: str) -> None:
    """Bytes changed after publishing are refused before torch sees any file."""
    data = bytearray((copied.root / path).read_bytes())
    data[-1] ^= 1
    (copied.root / path).write_bytes(data)
    loader = CountingLoader()

    with pytest.raises(ArtifactChanged) as refused:
        load(copied.root, loader=loader)

    assert refused.value.file == path
    assert loader.calls == []


def test_another_digest_never_reaches_the_loader(world: World) -> None:
    """A whole artifact that is not the one asked for."""
    loader = CountingLoader()

    with pytest.raises(AnotherArtifact):
        load(world.root, digest="0" * 64, loader=loader)

    assert loader.calls == []


def test_torch_is_not_even_imported_for_a_changed_artifact(copied: World) -> None:
    """A refusal is quick, and cannot run anything of the file."""
    (copied.root / "graphs/b1_s8.pt").write_bytes(b"x")
    program = (
        "import pathlib, sys\n"
        "from artifact.verify import ArtifactChanged\n"
        "from inference_code.load import load\n"
        "try:\n    load(pathlib.Path(sys.argv[1]))\n"
        "except ArtifactChanged:\n    sys.exit(10 + ('torch' in sys.modules))\n"
    )

    ended = subprocess.run([sys.executable, "-c", program, copied.root], env=environment({}), check=False)

    assert ended.returncode == 10


def test_weights_lie_in_memory_once(models: Callable[..., LoadedModel]) -> None:
    """Every bucket's parameters are the same memory."""
    pointers = {
        name: [dict(graph.named_parameters())["tiny.words"].data_ptr()]
        for name, graph in models().graphs.items()
    }

    assert len(pointers) == 3
    assert len({pointer for found in pointers.values() for pointer in found}) == 1


@pytest.mark.parametrize("pooling", ["mean", "none"])
def test_every_bucket_gives_the_models_answer(
    worlds: Callable[..., World], models: Callable[..., LoadedModel], pooling: str
) -> None:
    """Padding, filler rows and the bucket leave no trace in an answer."""
    recipe = Recipe(pooling=pooling)
    world, model = worlds(recipe), models(recipe)
    texts = ["w1", "w2 w3 w4", "w5 w6"]
    rows = [model.encoder.encode(Text("inputs", text, None)) for text in texts]

    for bucket in model.manifest.buckets:
        for at in range(0, len(rows), bucket.batch):
            outputs = model.run(bucket, rows[at : at + bucket.batch])
            for text, found in zip(texts[at:], outputs):
                assert largest_difference(world.answer(text), found.arrays[0].tolist()) <= 1e-5


def test_an_inf1_artifact_needs_torch_neuron(world: World, tmp_path: Path) -> None:
    """On a laptop the error says so, instead of an unknown operator."""
    root, _ = _with_manifest(world, tmp_path, requires=_inf1(world))

    with pytest.raises(NeuronMissing, match="torch_neuron"):
        load(root)


def test_a_task_that_is_not_served_is_refused_by_name(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its graphs are loaded, by a server that is older than the artifact."""
    root, _ = _with_manifest(world, tmp_path, task="translation")
    monkeypatch.setattr("inference_code.tasks.TASKS", {})
    loader = CountingLoader()

    with pytest.raises(TaskUnknown, match="translation"):
        load(root, loader=loader)

    assert loader.calls == []


def test_a_tokenizer_that_cannot_be_read_is_refused(copied: World) -> None:
    """Even if its manifest vouches for it."""
    rewrite(copied.root, "tokenizer/tokenizer.json", b"{}")

    with pytest.raises(TokenizerUnusable):
        load(copied.root)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(),
        Recipe(pooling="none"),
        Recipe(task="text-classification"),
        Recipe(golden_texts=("w1 w2",), buckets=((1, 8),)),
        *NEW_TASKS,
    ],
)
def test_a_right_artifact_passes_and_is_timed(models: Callable[..., LoadedModel], recipe: Recipe) -> None:
    """One figure for each bucket, for the choice of batches."""
    costs = proven(models(recipe))

    assert set(costs) == set(models(recipe).graphs)
    assert all(0 < seconds < 10 for seconds in costs.values())


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(wrong_by=1e-3),
        Recipe(wrong_by=1e-3, pooling="none"),
        *(replace(recipe, wrong_by=1e-3) for recipe in NEW_TASKS),
        Recipe(constant=True),
        Recipe(constant=True, task="text-classification"),
    ],
)
def test_a_graph_that_is_off_by_more_than_the_tolerance_fails(
    models: Callable[..., LoadedModel], recipe: Recipe
) -> None:
    """Naming the case, with the exit code of a proof that failed."""
    with pytest.raises(SelfCheckFailed) as failed:
        proven(models(recipe))

    assert failed.value.case.startswith("golden case 0 in b1_s8")
    assert failed.value.exit_code == 3


def test_scores_that_change_places_within_the_tolerance_pass(tmp_path: Path) -> None:
    """Two labels a hair apart may come in either order on another machine."""
    world = build(tmp_path / "close", Recipe(task="text-classification"))
    model = load(world.root)
    golden = Golden(
        tolerance=1.0,
        cases=tuple(
            Case(bucket=name, request={"inputs": ["w1"]}, expected=[world.answer("w1")[::-1]])
            for name in model.graphs
        ),
    )
    rewrite(world.root, "golden.json", encode(golden))

    assert proven(load(world.root))


def test_one_answer_for_every_input_fails_even_where_the_golden_set_agrees(tmp_path: Path) -> None:
    """A golden set of one input could be met by a graph that ignores its input."""
    world = build(tmp_path / "constant", Recipe(constant=True))
    model = load(world.root)
    (answer,) = model.run(model.manifest.buckets[0], [model.encoder.encode(Text("inputs", "w1", None))])
    expected = answer.arrays[0].tolist()
    cases = tuple(Case(bucket=name, request={"inputs": ["w1"]}, expected=[expected]) for name in model.graphs)
    rewrite(world.root, "golden.json", encode(Golden(tolerance=1e-5, cases=cases)))

    with pytest.raises(SelfCheckFailed, match="very same answer"):
        proven(load(world.root))


@pytest.mark.parametrize(
    ("golden", "why"),
    [
        (b"{}", "cannot be replayed"),
        (Golden(tolerance=1e-5, cases=()), "no case for the bucket b1_s8"),
        (Golden(tolerance=1e-5, cases=(Case(bucket="b9_s9", request={}, expected=[]),)), "b9_s9"),
        (Golden(tolerance=1e-5, cases=(Case(bucket="b1_s8", request={}, expected=[]),)), "inputs"),
        (
            Golden(tolerance=1e-5, cases=(Case(bucket="b1_s8", request={"inputs": []}, expected=[]),)),
            "0 inputs",
        ),
        (
            Golden(tolerance=1e-5, cases=(Case(bucket="b1_s8", request={"inputs": ["w1"]}, expected=[]),)),
            "1 inputs and 0 answers",
        ),
        (
            Golden(
                tolerance=1e-5,
                cases=(Case(bucket="b1_s8", request={"inputs": ["w1 " * 9]}, expected=[[]]),),
            ),
            "longer than the bucket",
        ),
    ],
)
def test_a_golden_set_that_proves_nothing_is_refused(copied: World, golden: Golden | bytes, why: str) -> None:
    """An empty proof is not a proof."""
    rewrite(copied.root, "golden.json", golden if isinstance(golden, bytes) else encode(golden))

    with pytest.raises(GoldenUnusable, match=why):
        proven(load(copied.root))


def test_answers_that_are_no_numbers_fail(tmp_path: Path) -> None:
    """NaN compares equal to nothing."""
    world = build(tmp_path / "nan", Recipe(wrong_by=float("nan")))

    with pytest.raises(SelfCheckFailed):
        proven(load(world.root))


def test_the_package_is_found_from_anywhere(tmp_path: Path) -> None:
    """The repository on PYTHONPATH is enough."""
    ended = subprocess.run(
        [sys.executable, "-m", "inference_code", "--help"],
        cwd=tmp_path,
        env=environment({}),
        check=True,
        capture_output=True,
        text=True,
    )

    assert "serve" in ended.stdout
    assert (CHECKOUT / "inference_code").is_dir()


def _with_manifest(world: World, tmp_path: Path, **fields: Any) -> tuple[Path, str]:
    root = build(tmp_path / "changed", world.recipe).root
    manifest = load(root).manifest
    return root, write_manifest(root, encode(replaced(manifest, **fields)))


def _inf1(world: World) -> Requires:
    return Requires(
        target="inf1",
        instance_families=("inf1",),
        torch="1.13.1",
        torch_neuron="1.13.1.2.11.13.0",
        neuron_driver="2.24",
        memory_bytes=1,
    )
