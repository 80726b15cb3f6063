"""A failed bucket leaves a folder that runs by itself, without the model's weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from compile.backends.neuron_errors import TraceFailed
from compile.buckets import make_job
from compile.jobs import ModelJob
from compile.repro import Case, ReproductionExists, check_folder, versions, write
from compile.request import CompileRequest, Work, parse_shape
from compile.trace import trace_here
from tests.compile.world import make_request, make_world
from tests.kit.models import tiny_model
from tests.neuron_double import FOLDER

_ROOT = Path(__file__).resolve().parents[2]


def _compile(model: Path, out: Path, *options: str, failure: str) -> subprocess.CompletedProcess[str]:
    words = ["--model", str(model), "--task", "text-classification", "--target", "inf1", "--out", str(out)]
    return subprocess.run(
        [sys.executable, "-m", "compile", *words, "--bucket", "2x16", "--json", *options],
        cwd=_ROOT,
        env=_environment(f"{FOLDER}{os.pathsep}{_ROOT}", failure),
        capture_output=True,
        text=True,
        check=False,
    )


def _run(bundle: Path, *, path: str = "", failure: str = "") -> subprocess.CompletedProcess[str]:
    """Run the script as whoever got the folder would: our checkout is not on the path."""
    return subprocess.run(
        [sys.executable, "repro.py"],
        cwd=bundle,
        env=_environment(path, failure),
        capture_output=True,
        text=True,
        check=False,
    )


def _environment(path: str, failure: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": path, "NEURON_DOUBLE_FAIL": failure}


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def bundle(tiny_classifier: Path, tmp_path: Path) -> Path:
    """What a compile left whose operator the device does not know."""
    repro = tmp_path / "repro"
    finished = _compile(tiny_classifier, tmp_path / "out", "--repro", str(repro), failure="unsupported")
    assert finished.returncode == 1
    assert f"python {repro}/b2_s16/repro.py" in finished.stderr
    assert not (tmp_path / "out").exists()
    return repro / "b2_s16"


def test_the_folder_has_everything_but_the_weights(bundle: Path, tiny_classifier: Path) -> None:
    """Code, inputs, config, options, versions, log and error; no text and no place of this machine."""
    assert _names(bundle) == {
        *("code", "model", "repro.py", "model.json", "inputs.json", "arguments.json"),
        *("neuron_arguments.json", "versions.json", "error.json", "log.txt"),
    }
    assert _names(bundle / "model") == {"config.json"}
    assert "aten::frobnicate" in (bundle / "log.txt").read_text()
    assert json.loads((bundle / "error.json").read_text())["id"] == "operator-not-supported"
    assert json.loads((bundle / "neuron_arguments.json").read_text())[0] == "--fast-math"
    inputs = json.loads((bundle / "inputs.json").read_text())
    assert [len(item["values"]) for item in inputs] == [2, 2, 2]
    arguments = (bundle / "arguments.json").read_text() + (bundle / "model.json").read_text()
    assert str(tiny_classifier) not in arguments
    assert str(bundle.parent.parent) not in arguments


def test_it_reproduces_the_failure_and_then_the_success(bundle: Path) -> None:
    """With random weights: the very error, its exit code, and the log; once it is mended, exit code 0."""
    again = _run(bundle, path=str(FOLDER), failure="unsupported")
    mended = _run(bundle, path=str(FOLDER))

    assert again.returncode == 1
    assert "uses operators that the device does not have" in again.stderr
    assert "aten::frobnicate" in again.stderr
    assert (bundle / "trace.log").exists()
    assert mended.returncode == 0, mended.stderr
    assert "traced 2x16" in mended.stdout
    assert "did not happen again" in mended.stdout


def test_a_coverage_that_failed_fails_again(tiny_classifier: Path, tmp_path: Path) -> None:
    """The policy travels with the options."""
    repro = tmp_path / "repro"
    finished = _compile(
        *(tiny_classifier, tmp_path / "out", "--repro", str(repro), "--allow-fallback", "aten::Int"),
        failure="",
    )
    again = _run(repro / "b2_s16", path=str(FOLDER))

    assert (finished.returncode, again.returncode) == (3, 3)
    assert "aten::embedding" in again.stderr


def test_the_weights_come_along_when_they_are_asked_for(tiny_classifier: Path, tmp_path: Path) -> None:
    """And only then."""
    repro = tmp_path / "repro"
    options = ("--repro", str(repro), "--repro-weights")
    _compile(tiny_classifier, tmp_path / "out", *options, failure="protobuf")

    kept = repro / "b2_s16/model/model.safetensors"
    assert kept.read_bytes() == (tiny_classifier / "model.safetensors").read_bytes()


def test_a_cpu_bucket_runs_again_from_its_folder(tmp_path: Path) -> None:
    """Whatever the model: here one whose embedding is shared with nothing else."""
    model = tiny_model(tmp_path / "model", "distilbert", labels=("no", "yes"))
    request = make_request(model, tmp_path / "out", "2x16", task="text-classification")
    bundle = _written(request, tmp_path)

    again = _run(bundle)

    assert again.returncode == 0, again.stderr
    assert "traced 2x16" in again.stdout


def _written(request: CompileRequest, base: Path) -> Path:
    """The folder of a bucket that was traced here and is said to have failed."""
    world = make_world(request, base / "work")
    (shape,) = world.plan.shapes
    (world.place.staging / "graphs").mkdir()
    job = make_job(request, world.model, shape, world.place, None)
    trace_here(job)
    case = Case(request=request, model=world.model, shape=shape, inputs=Path(job.inputs), log="a log")
    return write(base / "repro", TraceFailed(bucket=shape.name, why="as the test says"), case)


def test_a_bucket_that_failed_before_it_had_inputs_has_none_in_its_folder(tmp_path: Path) -> None:
    """The script makes the seeded ones."""
    model = tiny_model(tmp_path / "model", labels=("no", "yes"))
    request = make_request(model, tmp_path / "out", "1x16", task="text-classification")
    world = make_world(request, tmp_path / "work")
    case = Case(
        request=request, model=world.model, shape=parse_shape("1x16"), inputs=tmp_path / "absent", log=""
    )

    written = write(tmp_path / "repro", TraceFailed(bucket="b1_s16", why="it did"), case)

    assert "inputs.json" not in _names(written)


def test_a_folder_that_holds_something_is_refused_before_anything_is_traced(
    tiny_classifier: Path, tmp_path: Path
) -> None:
    """Exit code 5; an empty one is welcome."""
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "empty").mkdir()
    check_folder(tmp_path / "empty")
    check_folder(tmp_path / "absent")
    check_folder(None)

    with pytest.raises(ReproductionExists) as refused:
        check_folder(tmp_path)
    with pytest.raises(ReproductionExists):
        check_folder(tmp_path / "mine")

    assert refused.value.exit_code == 5
    finished = _compile(tiny_classifier, tmp_path / "out", "--repro", str(tmp_path), failure="unsupported")
    assert finished.returncode == 5


def test_the_versions_are_those_of_this_environment() -> None:
    """What is not installed is said to be missing."""
    import torch

    found = versions()

    assert found["torch"] is not None
    assert torch.__version__.startswith(str(found["torch"]).partition("+")[0])
    assert found["neuron-cc"] is None


def test_the_job_of_the_folder_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    """``model.json`` is read back as the job that it was."""
    from artifact.canonical import decode

    model = tiny_model(tmp_path / "model", labels=("no", "yes"))
    request = make_request(
        model, tmp_path / "out", "1x16", task="text-classification", work=Work(repro=tmp_path / "repro")
    )

    kept = decode((_written(request, tmp_path) / "model.json").read_bytes(), ModelJob)

    assert kept.folder == "model"
    assert kept.task == "text-classification"
