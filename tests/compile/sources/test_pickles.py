"""Tensors come out of a pickle; anything else in it is named and never run."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from compile.source import Allowed, resolve
from compile.sources.errors import PickleRefused, PickleUnsafe, SourceUnreadable, WeightsCorrupted
from compile.sources.pickles import convert, scan
from compile.sources.unpickle import UnpickleJob, tensors_of, unpickle
from tests.compile.world import make_request, make_world
from tests.kit.models import tiny_model

ALLOWED = Allowed(pickle=True)


class Evil:
    """Creates a file when it is unpickled by a reader that obeys."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.made),)


@pytest.fixture(scope="session")
def twins(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """One model as safetensors, as one pickle, and as two."""
    safe = tiny_model(tmp_path_factory.mktemp("pickles") / "safe")
    state = load_file(str(safe / "model.safetensors"))
    single, sharded = (Path(shutil.copytree(safe, safe.with_name(name))) for name in ("single", "sharded"))
    for folder in (single, sharded):
        (folder / "model.safetensors").unlink()
    torch.save(state, single / "pytorch_model.bin")
    weight_map = {}
    for number, part in enumerate((list(state)[::2], list(state)[1::2]), start=1):
        name = f"pytorch_model-{number:05d}-of-00002.bin"
        torch.save({key: state[key] for key in part}, sharded / name)
        weight_map.update(dict.fromkeys(part, name))
    (sharded / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return safe, single, sharded


@pytest.fixture
def evil(twins: tuple[Path, Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """A checkpoint with code in it, and the folder that the code would make."""
    folder, made = Path(shutil.copytree(twins[1], tmp_path / "evil")), tmp_path / "made by code"
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    torch.save({**state, "x": Evil(made)}, folder / "pytorch_model.bin")
    return folder, made


def test_the_fixture_is_dangerous_to_a_careless_reader(evil: tuple[Path, Path]) -> None:
    """Otherwise the refusals below would prove nothing."""
    folder, made = evil

    torch.load(folder / "pytorch_model.bin", **_careless())

    assert made.exists()


def _careless() -> dict[str, bool]:
    """torch before 2.6 reads everything unless told otherwise."""
    return {"weights_only": False}


def test_a_pickle_is_refused_unless_it_is_allowed(twins: tuple[Path, Path, Path]) -> None:
    """The option is named."""
    for folder in twins[1:]:
        with pytest.raises(PickleRefused) as refused:
            resolve(str(folder))
        assert "--allow-pickle" in refused.value.fix


@pytest.mark.parametrize("number", [1, 2])
def test_an_allowed_pickle_becomes_the_same_tensors(
    twins: tuple[Path, Path, Path], tmp_path: Path, number: int
) -> None:
    """Single or sharded; recorded are the files that were read, exposed are safetensors alone."""
    found = resolve(str(twins[number]), allowed=ALLOWED)

    exposed = found.expose(tmp_path / "exposed")

    read = {file.path for file in found.identity.files if "pytorch_model" in file.path}
    assert read == {path.name for path in twins[number].glob("pytorch_model*")}
    assert not list(exposed.glob("*.bin*"))
    made: dict[str, torch.Tensor] = {}
    for path in exposed.glob("*.safetensors"):
        made.update(load_file(str(path)))
    wanted = load_file(str(twins[0] / "model.safetensors"))
    assert made.keys() == wanted.keys()
    assert all(torch.equal(made[name], wanted[name]) for name in wanted)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("unpickle")] == []


@pytest.mark.parametrize("number", [1, 2])
def test_the_converted_model_is_loaded_and_answers_as_the_original(
    twins: tuple[Path, Path, Path], tmp_path: Path, number: int
) -> None:
    """transformers finds every weight, also through the index of shards."""
    from compile.model import load_model

    request = make_request(twins[number], tmp_path / "out", allow_pickle=True)
    made = load_model(make_world(request, tmp_path / "made").model)
    original = load_model(make_world(make_request(twins[0], tmp_path / "out"), tmp_path / "safe").model)

    ids = torch.arange(5, 13).reshape(1, 8)
    assert torch.equal(made(ids)[0], original(ids)[0])


def test_safetensors_are_taken_where_there_are_both(twins: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """Allowing a pickle does not ask for one."""
    both = Path(shutil.copytree(twins[0], tmp_path / "both"))
    (both / "pytorch_model.bin").write_bytes(b"not read")

    assert resolve(str(both), allowed=ALLOWED).weights == ("model.safetensors",)


def test_code_in_a_pickle_is_named_and_not_run(evil: tuple[Path, Path]) -> None:
    """Even where pickles are allowed."""
    folder, made = evil

    with pytest.raises(PickleUnsafe, match=r"mkdir"):
        resolve(str(folder), allowed=ALLOWED)

    assert not made.exists()


def test_torchs_own_reader_refuses_it_too(evil: tuple[Path, Path]) -> None:
    """The second wall holds without the first."""
    folder, made = evil

    with pytest.raises(PickleUnsafe, match=r"weights only \(.*mkdir") as refused:
        tensors_of(folder / "pytorch_model.bin")

    assert "Re-running" not in refused.value.why
    assert not made.exists()


def test_a_pickle_that_turned_bad_after_it_was_resolved_is_refused_by_the_child(
    evil: tuple[Path, Path], tmp_path: Path
) -> None:
    """The child looks for itself, and its error arrives as what it was."""
    folder, made = evil
    (tmp_path / "into").mkdir()

    with pytest.raises(PickleUnsafe, match="mkdir"):
        convert(folder, ("pytorch_model.bin",), tmp_path / "into")

    assert not made.exists()
    assert list((tmp_path / "into").iterdir()) == []


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_is_found_in_any_spelling(tmp_path: Path, protocol: int) -> None:
    """Old protocols name things by text, new ones through the stack."""
    made, path = tmp_path / "made", tmp_path / "pytorch_model.bin"
    torch.save({"x": Evil(made)}, path, pickle_protocol=protocol)

    with pytest.raises(PickleUnsafe):
        scan(path)

    assert not made.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_writes_for_a_state_dict_passes(tmp_path: Path, zipped: bool) -> None:
    """Every dtype of weights, parameters, tied tensors, and the format from before torch 1.6."""
    path = tmp_path / "pytorch_model.bin"
    kinds = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool)
    state: OrderedDict[str, Any] = torch.nn.Linear(2, 3).state_dict()
    state.update({str(kind): torch.ones(3, dtype=kind) for kind in kinds})
    state["tied"] = state["weight"]
    state["view"] = state["weight"].t()
    state["parameter"] = torch.nn.Parameter(torch.ones(2))
    torch.save(state, path, _use_new_zipfile_serialization=zipped)

    scan(path)
    result = unpickle(UnpickleJob(pickles=(str(path),), into=str(tmp_path)))

    assert result.files == ("model.safetensors",)
    made = load_file(str(tmp_path / "model.safetensors"))
    assert all(torch.equal(made[name], state[name]) for name in state)


def test_a_torchscript_archive_is_refused(tmp_path: Path) -> None:
    """torch before 2.6 would run it in spite of ``weights_only``."""
    path = tmp_path / "pytorch_model.bin"
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), str(path))

    with pytest.raises(PickleUnsafe, match="TorchScript"):
        scan(path)


@pytest.mark.parametrize(
    "value", [torch.ones(2), {"epoch": 3}, {"state_dict": {"w": torch.ones(1)}}, {7: torch.ones(1)}]
)
def test_what_is_no_dict_of_tensors_is_refused(tmp_path: Path, value: Any) -> None:
    """A trainer's checkpoint is not a model."""
    path = tmp_path / "pytorch_model.bin"
    torch.save(value, path)

    with pytest.raises(PickleUnsafe, match="tensor"):
        unpickle(UnpickleJob(pickles=(str(path),), into=str(tmp_path)))


@pytest.mark.parametrize("keep", [0, 3, 200, -1, -3000])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_cut_file_is_corrupted(tmp_path: Path, keep: int, zipped: bool) -> None:
    """By one byte or nearly all; noticed before or by torch."""
    path = tmp_path / "pytorch_model.bin"
    torch.save({"w": torch.ones(1000)}, path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(WeightsCorrupted, match="pytorch_model"):
        unpickle(UnpickleJob(pickles=(str(path),), into=str(tmp_path)))


@pytest.mark.parametrize("change", ["twice", "compressed", "missing"])
def test_an_archive_that_torch_did_not_write_is_corrupted(tmp_path: Path, change: str) -> None:
    """Two readers may see two different pickles in it, or one that grows without end."""
    path = tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range({"twice": 2, "compressed": 1, "missing": 0}[change]):
            packing = zipfile.ZIP_DEFLATED if change == "compressed" else zipfile.ZIP_STORED
            archive.writestr(f"archive{number}/data.pkl", pickle.dumps({}, protocol=2), packing)
        archive.writestr("archive/version", "3")

    with pytest.raises(WeightsCorrupted):
        scan(path)


def test_a_pickle_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    """A folder stands in for a file without permission."""
    with pytest.raises(SourceUnreadable):
        scan(tmp_path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300) | st.binary(max_size=300).map(lambda tail: b"PK\x03\x04" + tail))
def test_no_bytes_surprise_the_scan(tmp_path: Path, data: bytes) -> None:
    """Anything is either refused in our words or harmless."""
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(data)

    with pytest.raises((PickleUnsafe, WeightsCorrupted)):
        scan(path)
