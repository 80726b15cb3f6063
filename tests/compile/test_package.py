"""The folder is whole or not there, and the same inputs give the same bytes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from artifact.canonical import decode
from artifact.golden import Golden
from artifact.verify import ArtifactChanged, verify
from compile import parity
from compile.drafts import OutputNotWritable
from compile.golden import BucketTooShort
from compile.package import OutputExists, Packaged, check_out, install, package
from compile.parity import ProvenModel, judge
from tests.compile.world import compare_in, make_request, make_world, subject_in, trace_in


def _packaged(model: Path, base: Path, out: Path, **options: object) -> Packaged:
    world = make_world(make_request(model, out, "1x16", "2x24", **options), base / "world")
    traced = trace_in(world)
    result = compare_in(world, traced)
    waivers = judge(result.verdicts, ())
    (world.place.staging / "parity.json").write_bytes(b"{}\n")
    proven = ProvenModel(
        traced=traced,
        parity=parity.Parity(tier="cpu", tolerance=1e-5, compared=1),
        figures=(),
        waivers=waivers,
        mask_token_id=result.mask_token_id,
        metric=None,
        seal=parity._SEAL,
    )
    return package(proven, world.found, world.plan, world.request)


def test_an_artifact_verifies_and_says_what_the_server_needs(tiny_classifier: Path, tmp_path: Path) -> None:
    """Inputs in order, labels, padding, buckets, golden cases for each bucket."""
    made = _packaged(tiny_classifier, tmp_path, tmp_path / "out", task="text-classification")

    found = verify(tmp_path / "out", digest=made.digest)
    manifest = found.manifest
    assert [tensor.name for tensor in manifest.inputs] == ["input_ids", "attention_mask", "token_type_ids"]
    assert manifest.outputs[0].shape == ("batch", 3)
    assert manifest.labels == ("no", "yes", "maybe")
    assert manifest.padding.token_id == 0
    golden = decode(found.read("golden.json"), Golden)
    assert [case.bucket for case in golden.cases] == ["b1_s16", "b2_s24"]
    assert all(len(case.expected) == len(case.request["inputs"]) for case in golden.cases)
    assert {entry["label"] for entry in golden.cases[0].expected[0]} == {"no", "yes", "maybe"}


def test_nothing_of_the_machine_is_in_the_folder(tiny_bert: Path, tmp_path: Path) -> None:
    """No path of the model, the output, or the library's version in the config."""
    _packaged(tiny_bert, tmp_path, tmp_path / "out")

    for path in (tmp_path / "out").rglob("*.json"):
        assert str(tmp_path) not in path.read_text()
    assert "transformers_version" not in json.loads((tmp_path / "out" / "config.json").read_text())


def test_the_identical_artifact_is_left_as_it_is_and_another_is_refused(
    tiny_bert: Path, tmp_path: Path
) -> None:
    """A rerun is harmless; a different result never replaces what is there."""
    out = tmp_path / "out"
    made = _packaged(tiny_bert, tmp_path / "a", out)
    before = (out / "manifest.json").stat().st_mtime_ns

    install(Path(shutil.copytree(out, tmp_path / "again")), out, made.digest)
    with pytest.raises(OutputExists, match="another artifact") as refused:
        _packaged(tiny_bert, tmp_path / "c", out, pooling="mean")

    assert refused.value.exit_code == 5
    assert (out / "manifest.json").stat().st_mtime_ns == before
    verify(out)


def test_a_damaged_artifact_in_the_way_is_named(tiny_bert: Path, tmp_path: Path) -> None:
    """It is not overwritten silently either."""
    out = tmp_path / "out"
    _packaged(tiny_bert, tmp_path / "a", out)
    (out / "config.json").write_bytes(b"{}\n")

    with pytest.raises(OutputExists, match="damaged"):
        _packaged(tiny_bert, tmp_path / "b", out)


def test_something_else_in_the_way_is_refused_before_the_work(tmp_path: Path) -> None:
    """A file, or a folder with anything in it; an empty folder is fine."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("x")
    (tmp_path / "empty").mkdir()

    for name in ("file", "full"):
        with pytest.raises(OutputExists):
            check_out(tmp_path / name)
    check_out(tmp_path / "empty")
    check_out(tmp_path / "absent")


def test_a_place_that_cannot_be_written_is_named(tiny_bert: Path, tmp_path: Path) -> None:
    """A file where a folder must be: works as root too."""
    from compile.pipeline import compile_model

    (tmp_path / "file").write_text("x")

    with pytest.raises(OutputNotWritable, match="nothing can be written"):
        compile_model(make_request(tiny_bert, tmp_path / "file" / "out"), [].append)


def test_a_file_changed_between_proof_and_packaging_is_seen(tiny_bert: Path, tmp_path: Path) -> None:
    """What the manifest names is what was on the disk when it was read back."""
    made = _packaged(tiny_bert, tmp_path, tmp_path / "out")
    path = tmp_path / "out" / "graphs" / "b1_s16.pt"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    with pytest.raises(ArtifactChanged, match="b1_s16"):
        verify(tmp_path / "out", digest=made.digest)


def test_only_a_proven_model_is_packaged(tiny_bert: Path, tmp_path: Path) -> None:
    """Not a traced one."""
    world = make_world(make_request(tiny_bert, tmp_path / "out"), tmp_path / "world")

    with pytest.raises(TypeError, match="ProvenModel"):
        package(trace_in(world), world.found, world.plan, world.request)  # type: ignore[arg-type]


def test_a_bucket_that_no_text_fits_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    """Nothing could be proven about it."""
    from compile.golden import make_cases

    world = make_world(make_request(tiny_bert, tmp_path / "out", "1x3"), tmp_path / "world")
    subject = subject_in(world, trace_in(world))

    with pytest.raises(BucketTooShort, match="special tokens"):
        make_cases(subject, subject.examples, ())
