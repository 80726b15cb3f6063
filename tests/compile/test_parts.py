"""Buckets traced apart make the artifact that one compile makes, and nothing else is taken for them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from artifact.canonical import encode
from artifact.errors import TraceshipError
from compile.buckets import BucketsDisagree
from compile.package import OutputExists
from compile.parts import PART, PartUnusable, assemble, parse_part, write_part
from compile.request import parse_shape
from tests.compile.world import make_request, make_world, trace_in
from tests.kit.models import tiny_model

_ROOT = Path(__file__).resolve().parents[2]
SHAPES = (parse_shape("1x16"), parse_shape("2x16"))


def _compile(model: Path, out: Path, *options: str, task: str = "feature-extraction") -> dict[str, str]:
    words = ["--model", str(model), "--task", task, "--target", "cpu", "--out", str(out), "--json", *options]
    done = subprocess.run(
        [sys.executable, "-m", "compile", *words],
        cwd=_ROOT,
        env={**os.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    told: dict[str, str] = json.loads(done.stdout or done.stderr.splitlines()[-1])
    return told


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two traced buckets of a tiny model, in one folder."""
    base = tmp_path_factory.mktemp("parts")
    (base / "parts").mkdir()
    model = tiny_model(base / "model")
    for shape in SHAPES:
        world = make_world(make_request(model, base / "out", str(shape)), base / f"work-{shape}")
        traced = trace_in(world)
        if shape != SHAPES[0]:
            (traced.staging / "weights.safetensors").unlink()
        write_part(traced, base / "parts" / str(shape))
    return base / "parts"


def test_buckets_traced_apart_give_the_very_artifact_of_one_compile(tmp_path: Path) -> None:
    """Two processes trace, a third proves and packages; the digest is that of a compile in one go.

    A translation has all that a part can hold: a second graph, shared tensors, how it is searched for.
    """
    model = tiny_model(tmp_path / "model", "marian", scale=6.0)
    buckets = ("--bucket", "1x16", "--bucket", "2x8", "--num-beams", "1", "--max-target-length", "8")

    for bucket in ("1x16", "2x8"):
        place = tmp_path / "parts" / bucket
        told = _compile(model, place, *buckets, "--only", bucket, task="translation")
        assert told == {"part": str(place)}
    options = (*buckets, "--parts", str(tmp_path / "parts"))
    apart = _compile(model, tmp_path / "apart", *options, task="translation")
    whole = _compile(model, tmp_path / "whole", *buckets, task="translation")

    assert apart["digest"] == whole["digest"]


def _changed(folder: Path) -> None:
    path = folder / "2x16/graphs/b2_s16.pt"
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def _linked_outside(folder: Path) -> None:
    told = json.loads((folder / "2x16" / PART).read_bytes())
    told["files"].append({"path": "../../elsewhere", "sha256": "0" * 64, "size": 1})
    (folder / "2x16" / PART).write_bytes(encode(told))


def _swapped(folder: Path) -> None:
    shutil.copyfile(folder / "1x16" / PART, folder / "2x16" / PART)


def _without_weights(folder: Path) -> None:
    told = json.loads((folder / "1x16" / PART).read_bytes())
    told["files"] = [file for file in told["files"] if file["path"] != "weights.safetensors"]
    (folder / "1x16" / PART).write_bytes(encode(told))


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        pytest.param(lambda folder: shutil.rmtree(folder / "2x16"), "there is no part.json", id="missing"),
        pytest.param(
            lambda folder: (folder / "2x16/graphs/b2_s16.pt").unlink(), "is missing", id="file missing"
        ),
        pytest.param(_changed, "is not the file that was traced", id="changed"),
        pytest.param(_linked_outside, "which no bucket has", id="another name"),
        pytest.param(_swapped, "is of 1x16", id="another bucket"),
        pytest.param(_without_weights, "does not name the files", id="no weights"),
        pytest.param(
            lambda folder: (folder / "2x16" / PART).write_bytes(b"[]"), "cannot be read", id="not a part"
        ),
    ],
)
def test_a_part_that_is_not_what_its_job_left_is_refused(
    parts: Path, tmp_path: Path, harm: Callable[[Path], None], why: str
) -> None:
    """Before anything of it is loaded."""
    folder = Path(shutil.copytree(parts, tmp_path / "parts"))
    harm(folder)

    with pytest.raises(PartUnusable) as refused:
        assemble(folder, SHAPES, staging=tmp_path / "staging", weights="weights.safetensors", seq2seq=False)

    assert why in refused.value.why


def test_parts_of_two_models_are_refused(parts: Path, tmp_path: Path) -> None:
    """Their tensors differ, whatever their names say."""
    folder = Path(shutil.copytree(parts, tmp_path / "parts"))
    other = tiny_model(tmp_path / "other", seed=1)
    traced = trace_in(make_world(make_request(other, tmp_path / "out", "2x16"), tmp_path / "work"))
    (traced.staging / "weights.safetensors").unlink()
    shutil.rmtree(folder / "2x16")
    write_part(traced, folder / "2x16")

    with pytest.raises(BucketsDisagree):
        assemble(folder, SHAPES, staging=tmp_path / "staging", weights="weights.safetensors", seq2seq=False)


def test_a_part_never_replaces_what_is_there(parts: Path, tmp_path: Path) -> None:
    """As with an artifact."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/notes.txt").write_text("mine")
    world = make_world(
        make_request(tiny_model(tmp_path / "model"), tmp_path / "x", "1x16"), tmp_path / "work"
    )

    with pytest.raises(OutputExists):
        write_part(trace_in(world), tmp_path / "out")

    assert (tmp_path / "out/notes.txt").read_text() == "mine"


def test_a_bucket_that_the_model_does_not_have_cannot_be_traced_alone(tmp_path: Path) -> None:
    """It would belong to no artifact."""
    told = _compile(tiny_model(tmp_path / "model"), tmp_path / "out", "--bucket", "1x16", "--only", "2x16")

    assert (told["id"], told["why"]) == ("bad-bucket", "it is not among the model's buckets")


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b"[" * 100_000])
def test_what_is_no_part_is_told_so(data: bytes) -> None:
    """Whatever lies there."""
    with pytest.raises(TraceshipError) as refused:
        parse_part(data, SHAPES[0])

    assert refused.value.id == "part-unusable"
