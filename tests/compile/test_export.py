"""An exported file is the guide's traced_bert.pt: plain TorchScript that knows which bucket it is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from artifact.graphs import NeuronMissing, load_graph, load_weights
from artifact.manifest import Bucket, Tensor
from artifact.verify import AnotherArtifact, ArtifactChanged, NotAnArtifact, VerifiedArtifact, verify
from compile.children import ChildFailed
from compile.drafts import OutputNotWritable
from compile.export import BucketNotInArtifact, OutputInsideArtifact, TwoGraphs, export
from compile.guarded import ExportDiffers, check_same, guarded
from compile.package import OutputExists
from compile.request import Shape
from compile.standalone import DESCRIPTION, ExportJob, NotExportable, export_bucket, settled
from tests.kit.folders import write_folder
from tests.kit.handmade import Recipe, World, build, replaced, rewrite
from tests.neuron_double import FOLDER

_ROOT = Path(__file__).resolve().parents[2]
SMALL, LARGE = Shape(batch=1, length=8), Shape(batch=4, length=16)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A small artifact with the buckets 1x8 and 4x16."""
    return build(tmp_path_factory.mktemp("export") / "artifact", Recipe(buckets=((1, 8), (4, 16))))


@pytest.fixture(scope="module")
def large(made: World) -> Path:
    """The bucket 4x16 as a file, written through the command's own path."""
    out = made.root.parent / "large.pt"
    export(made.root, out, shape=LARGE, report=[].append)
    return out


def _feed(batch: int, length: int) -> tuple[torch.Tensor, ...]:
    ids = torch.arange(batch * length).reshape(batch, length) % 100
    mask = (ids % 7 > 0).to(torch.int64)
    mask[:, 0] = 1
    return ids, mask, ids % 2


def _load(path: Path) -> Any:
    return torch.jit.load(str(path))  # type: ignore[no-untyped-call]


def _graph(artifact: VerifiedArtifact, path: str) -> Any:
    return load_graph(artifact.take(path), load_weights(artifact.take("weights.safetensors")))


def test_plain_torch_opens_the_file_and_gets_the_artifacts_answers(made: World, large: Path) -> None:
    """A tuple, by position, to the last bit; and by name, which a stranger finds in the code."""
    ids, mask, types = _feed(4, 16)
    expected = _graph(verify(made.root), "graphs/b4_s16.pt")(ids, mask, types)

    found = _load(large)(ids, mask, types)
    named = _load(large)(token_type_ids=types, attention_mask=mask, input_ids=ids)

    assert isinstance(found, tuple)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(named[0], expected[0])


def test_a_process_that_has_only_torch_opens_the_file(large: Path, tmp_path: Path) -> None:
    """Nothing of traceship is on its path."""
    code = (
        f"import sys, torch; m = torch.jit.load({str(large)!r}); x = torch.ones(4, 16, dtype=torch.int64)\n"
        "print(m(x, x, x)[0].shape, m.training, 'compile' in sys.modules, 'artifact' in sys.modules)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    finished = subprocess.run(
        [sys.executable, "-I", "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )

    assert finished.stdout.split("\n")[0] == "torch.Size([4, 8]) False False False"


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("shape", [(2, 16), (4, 8), (8, 16), (64,), (4, 16, 1), (0, 16)])
def test_another_shape_is_refused_with_the_name_of_the_bucket(
    large: Path, shape: tuple[int, ...], position: int
) -> None:
    """Whichever input has it; the traced graph alone would have taken most of them."""
    feed = list(_feed(4, 16))
    feed[position] = torch.ones(shape, dtype=torch.int64)
    name = ("input_ids", "attention_mask", "token_type_ids")[position]
    words = f"this graph is the bucket 4x16: {name} has shape {list(shape)}, it takes [4, 16]"

    with pytest.raises(torch.jit.Error) as refused:
        _load(large)(*feed)

    assert words in str(refused.value)


def test_the_graph_in_the_artifact_really_takes_other_shapes(made: World) -> None:
    """Or the check would be for nothing."""
    graph = _graph(verify(made.root), "graphs/b4_s16.pt")

    assert graph(*_feed(2, 8))[0].shape == (2, 8)


def test_one_bucket_has_the_same_bytes_alone_and_among_all(made: World, large: Path, tmp_path: Path) -> None:
    """A file is identified by its digest, on any machine and in any order."""
    exported = export(made.root, tmp_path / "all", shape=None, report=[].append)

    assert [file.bucket for file in exported.files] == ["1x8", "4x16"]
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["b1_s8.pt", "b4_s16.pt"]
    assert (tmp_path / "all/b4_s16.pt").read_bytes() == large.read_bytes()
    assert list(tmp_path.iterdir()) == [tmp_path / "all"]


def test_the_file_says_what_it_is(made: World, large: Path) -> None:
    """Which artifact, which bucket, which tensors: readable without running it."""
    extra = {DESCRIPTION: b""}

    torch.jit.load(str(large), _extra_files=extra)  # type: ignore[no-untyped-call]

    described = json.loads(extra[DESCRIPTION])
    assert (described["artifact"], described["bucket"]) == (made.digest, "4x16")
    assert described["inputs"][0] == {"name": "input_ids", "dtype": "int64", "shape": [4, 16]}
    assert described["outputs"] == [{"name": "embedding", "dtype": "float32", "shape": [4, 8]}]


def test_a_real_models_file_answers_as_transformers_does(packaged_bert: Path, tmp_path: Path) -> None:
    """From the checkpoint to the file, with the inputs in the order of BERT's forward()."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(packaged_bert.parent / "model").eval()
    ids = torch.arange(48).reshape(2, 24) % 50
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    types = (torch.arange(24) > 5).to(torch.int64).expand(2, 24).contiguous()
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state

    export(packaged_bert, tmp_path / "bert.pt", shape=Shape(batch=2, length=24), report=[].append)
    (found,) = _load(tmp_path / "bert.pt")(ids, mask, types)

    assert float((found - expected)[mask.bool()].abs().max()) <= 1e-5
    assert not found.requires_grad


def test_a_bucket_that_is_not_there_is_answered_with_those_that_are(made: World, tmp_path: Path) -> None:
    """And nothing is written."""
    with pytest.raises(BucketNotInArtifact, match="1x8, 4x16") as refused:
        export(made.root, tmp_path / "x.pt", shape=Shape(batch=8, length=128), report=[].append)

    assert "--bucket 1x8" in refused.value.fix
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_ever_overwritten(made: World, tmp_path: Path) -> None:
    """Neither a file, nor a link, nor a folder with anything in it; all are as they were."""
    (tmp_path / "file.pt").write_text("mine")
    (tmp_path / "link.pt").symlink_to(tmp_path / "nowhere")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")

    for name, shape in (
        ("file.pt", SMALL),
        ("link.pt", SMALL),
        ("full", SMALL),
        ("file.pt", None),
        ("full", None),
    ):
        with pytest.raises(OutputExists) as refused:
            export(made.root, tmp_path / name, shape=shape, report=[].append)
        assert refused.value.exit_code == 5

    assert (tmp_path / "file.pt").read_text() == "mine"
    assert (tmp_path / "link.pt").is_symlink()
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.pt", "full", "link.pt"]


@pytest.mark.parametrize("shape", [SMALL, None], ids=["file", "folder"])
def test_a_name_that_is_taken_during_the_export_is_not_overwritten_either(
    made: World, tmp_path: Path, shape: Shape | None
) -> None:
    """The look before the work is not what protects it."""
    out = tmp_path / "out"

    def somebody_else(_line: str) -> None:
        if shape is not None:
            out.write_text("theirs")
        else:
            out.mkdir(exist_ok=True)
            (out / "theirs").touch()

    with pytest.raises(OutputExists):
        export(made.root, out, shape=shape, report=somebody_else)

    kept = out.read_text() if shape is not None else [path.name for path in out.iterdir()]
    assert kept == ("theirs" if shape is not None else ["theirs"])
    assert list(tmp_path.iterdir()) == [out]


def test_an_empty_folder_is_filled(made: World, tmp_path: Path) -> None:
    """`mkdir` first is no mistake."""
    (tmp_path / "all").mkdir()

    export(made.root, tmp_path / "all", shape=None, report=[].append)

    assert len(list((tmp_path / "all").iterdir())) == 2


def test_a_place_that_cannot_be_written_is_named(made: World, tmp_path: Path) -> None:
    """A file where a folder must be."""
    (tmp_path / "file").write_text("x")

    with pytest.raises(OutputNotWritable):
        export(made.root, tmp_path / "file" / "x.pt", shape=SMALL, report=[].append)
    with pytest.raises(OutputNotWritable):
        export_bucket(_job(made, tmp_path / "absent" / "x.pt"))


def test_the_artifact_itself_stays_as_it_was_proven(made: World) -> None:
    """A file in its folder would make it another one."""
    with pytest.raises(OutputInsideArtifact):
        export(made.root, made.root / "graphs" / "x.pt", shape=SMALL, report=[].append)

    verify(made.root, digest=made.digest)


def test_a_changed_artifact_is_not_exported(tmp_path: Path) -> None:
    """The first thing that happens is the proof; no folder at all is named too."""
    made = build(tmp_path / "artifact")
    (made.root / "graphs/b1_s8.pt").write_bytes(b"other")

    with pytest.raises(ArtifactChanged, match="b1_s8"):
        export(made.root, tmp_path / "x.pt", shape=SMALL, report=[].append)
    with pytest.raises(NotAnArtifact):
        export(tmp_path / "absent", tmp_path / "x.pt", shape=SMALL, report=[].append)

    assert not (tmp_path / "x.pt").exists()


def test_an_artifact_replaced_between_the_proof_and_the_child_is_refused(made: World, tmp_path: Path) -> None:
    """The child trusts the digest that the parent verified, not the folder."""
    other = build(tmp_path / "artifact", Recipe(buckets=((1, 8), (4, 16)), pooling="none"))

    with pytest.raises(AnotherArtifact):
        export_bucket(_job(World(other.root, made.digest, made.recipe), tmp_path / "x.pt"))


def _job(made: World, out: Path) -> ExportJob:
    return ExportJob(root=str(made.root), digest=made.digest, batch=1, length=8, out=str(out))


def test_a_file_that_answers_otherwise_is_never_handed_out(made: World) -> None:
    """Other numbers, NaN, or another shape: the child compares before it answers."""
    artifact = verify(made.root)
    inputs = settled(artifact.manifest.inputs, artifact.manifest.buckets[0], artifact.manifest)
    graph = _graph(artifact, "graphs/b1_s8.pt")
    data = guarded(graph, inputs, bucket="1x8", extra_files={})
    check_same(data, graph, inputs, bucket="1x8", tolerance=0.0)
    (right,) = graph(*(torch.ones(1, 8, dtype=torch.int64),) * 3)

    for wrong in (right + 0.1, right * float("nan"), right[:, :4]):
        with pytest.raises(ExportDiffers, match="1x8"):
            check_same(data, lambda *_, answer=wrong: (answer,), inputs, bucket="1x8", tolerance=1e-5)
    with pytest.raises(ExportDiffers):
        check_same(data, lambda *_: (right, right), inputs, bucket="1x8", tolerance=1e-5)


@pytest.mark.parametrize(
    ("tensor", "why"),
    [
        (Tensor(name="input ids", dtype="int64", shape=("batch", "length")), "argument"),
        (Tensor(name="self", dtype="int64", shape=("batch", "length")), "argument"),
        (Tensor(name="lambda", dtype="int64", shape=("batch", "length")), "argument"),
        (Tensor(name="x):\n  pass #", dtype="int64", shape=("batch", "length")), "argument"),
        (Tensor(name="decoder_input_ids", dtype="int64", shape=("batch", "target_length")), "target_length"),
        (Tensor(name="input_ids", dtype="int64", shape=("batch", "choices", "length")), "choices"),
    ],
)
def test_a_tensor_without_a_fixed_place_is_refused(made: World, tensor: Tensor, why: str) -> None:
    """Names become code and shapes become the check: neither is guessed."""
    manifest = verify(made.root).manifest

    with pytest.raises(NotExportable, match=why):
        settled((tensor,), manifest.buckets[0], manifest)


def test_an_encoder_is_not_handed_out_as_if_it_were_the_whole_translation(tmp_path: Path) -> None:
    """Its file would load, run and mean nothing by itself."""
    made = build(tmp_path / "artifact")
    manifest = verify(made.root).manifest
    buckets = tuple(
        Bucket(batch=b.batch, length=b.length, path=b.path, decoder=b.path) for b in manifest.buckets
    )
    write_folder(made.root, {}, replaced(manifest, buckets=buckets))

    with pytest.raises(TwoGraphs):
        export(made.root, tmp_path / "x.pt", shape=SMALL, report=[].append)

    assert [path.name for path in tmp_path.iterdir()] == ["artifact"]


def test_multiple_choice_has_a_third_dimension(made: World) -> None:
    """It comes from the manifest."""
    manifest = replaced(verify(made.root).manifest, choices=4)
    tensor = Tensor(name="input_ids", dtype="int64", shape=("batch", "choices", "length"))

    assert settled((tensor,), manifest.buckets[1], manifest)[0].shape == (4, 4, 16)


def test_a_child_that_breaks_is_reported_with_its_log_on_request(tmp_path: Path) -> None:
    """A graph whose answer is no tensor: torch's own traceback, and nothing written."""
    made = build(tmp_path / "artifact")
    script = torch.jit.script(_AnswersNothing())  # type: ignore[no-untyped-call]
    torch.jit.save(script, str(tmp_path / "graph.pt"))  # type: ignore[no-untyped-call]
    rewrite(made.root, "graphs/b1_s8.pt", (tmp_path / "graph.pt").read_bytes())
    lines: list[str] = []

    with pytest.raises(ChildFailed, match="b1_s8"):
        export(made.root, tmp_path / "x.pt", shape=SMALL, report=lines.append, debug=True)

    assert "Traceback" in lines[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["artifact", "graph.pt"]


class _AnswersNothing(torch.nn.Module):
    def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor) -> int:
        return ids.dim() + mask.dim() + types.dim()


@pytest.fixture(scope="module")
def inf1(tiny_classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact compiled against the double of torch_neuron."""
    out = tmp_path_factory.mktemp("inf1") / "artifact"
    words = ["--model", str(tiny_classifier), "--task", "text-classification", "--target", "inf1"]
    _in_process("compile", *words, "--bucket", "2x16", "--out", str(out), path=f"{FOLDER}{os.pathsep}{_ROOT}")
    return out


def _in_process(module: str, *words: str, path: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )


def test_an_inf1_graph_is_exported_where_neuron_is_installed(inf1: Path, tmp_path: Path) -> None:
    """And refuses another shape before the device sees it; only the vendor's torch loads it."""
    out = tmp_path / "inf1.pt"
    code = (
        "from compile.export import export; from compile.request import Shape; from pathlib import Path\n"
        f"export(Path({str(inf1)!r}), Path({str(out)!r}), shape=Shape(batch=2, length=16), report=print)\n"
        f"import torch, torch_neuron; m = torch.jit.load({str(out)!r})\n"
        "x = torch.ones(2, 16, dtype=torch.int64); print(m(x, x, x)[0].shape)\n"
        "try: m(x[:1], x, x)\n"
        "except torch.jit.Error as error: print(error)\n"
    )

    finished = subprocess.run(
        [sys.executable, "-c", code],
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(FOLDER), str(_ROOT)])},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "torch.Size([2, 3])" in finished.stdout
    assert "this graph is the bucket 2x16: input_ids has shape [1, 16]" in finished.stdout
    with pytest.raises(RuntimeError, match="neuron::forward_1"):
        _load(out)


def test_an_inf1_graph_without_neuron_is_refused(inf1: Path, tmp_path: Path) -> None:
    """Not a builtin-op error of torch."""
    with pytest.raises(NeuronMissing):
        export(inf1, tmp_path / "x.pt", shape=Shape(batch=2, length=16), report=[].append)

    assert list(tmp_path.iterdir()) == []


def test_the_pages_python_runs_on_an_exported_file(
    packaged_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every Python block of docs/torchscript.md, in its order, for a smaller bucket."""
    page = (_ROOT / "docs/torchscript.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    export(packaged_bert, tmp_path / "traced_bert.pt", shape=Shape(batch=2, length=24), report=[].append)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}

    for block in blocks:
        exec(block.replace("8, 128", "2, 24"), names)

    assert len(blocks) == 2
    assert names["states"].shape[:2] == (2, 24)
    assert "2x24 ['input_ids', 'attention_mask', 'token_type_ids']" in capsys.readouterr().out


def test_a_moved_artifact_gives_the_same_file(made: World, large: Path, tmp_path: Path) -> None:
    """Nothing of the place is in it."""
    moved = Path(shutil.copytree(made.root, tmp_path / "elsewhere"))

    export(moved, tmp_path / "x.pt", shape=LARGE, report=[].append)

    assert (tmp_path / "x.pt").read_bytes() == large.read_bytes()
    assert str(tmp_path).encode() not in large.read_bytes()
