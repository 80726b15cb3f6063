"""Which files of a checkpoint are read. The same rule for a folder, the Hub and S3.

The rule sees names and, where there are shards, the index; so of a checkpoint that is far away
only what is needed is brought.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from compile.sources.errors import ConfigMissing, PickleRefused, TokenizerMissing, WeightsMissing

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
PICKLE = "pytorch_model.bin"
PICKLE_INDEX = "pytorch_model.bin.index.json"
GENERATION_CONFIG = "generation_config.json"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
VOCABULARIES = (TOKENIZER, "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model")
TOKENIZER_EXTRAS = (TOKENIZER_CONFIG, "special_tokens_map.json", "added_tokens.json", "merges.txt")
MARIAN_PIECES = ("source.spm", "target.spm")

Read = Callable[[str], bytes]
"""Gives the bytes of one of the files by its name."""


@dataclass(frozen=True)
class Allowed:
    """What the user accepts beyond plain tensors: a pickle's tensors, the checkpoint's own code."""

    pickle: bool = False
    remote_code: bool = False


@dataclass(frozen=True)
class Selection:
    """The files to read. ``config`` is config.json as it stands, ``index`` names the shards,
    ``pickled`` says what the weights are, ``code`` are the checkpoint's own modules,
    ``generation`` how it generates, where it does."""

    config: dict[str, Any]
    weights: tuple[str, ...]
    index: str | None
    pickled: bool
    tokenizer: tuple[str, ...]
    code: tuple[str, ...]
    generation: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, sorted."""
        index = () if self.index is None else (self.index,)
        return tuple(sorted({CONFIG, *self.weights, *index, *self.tokenizer, *self.code, *self.generation}))


def select(names: Collection[str], read: Read, *, where: str, allowed: Allowed) -> Selection:
    """Choose among ``names``, the files directly in the checkpoint's folder.

    Args:
        where: the folder as errors call it.
        allowed: ``remote_code`` takes every Python file along where ``auto_map`` names any, since
            each may import another.

    Raises:
        ConfigMissing, WeightsMissing, PickleRefused, TokenizerMissing: see there.
    """
    config = _config(names, read, where)
    weights, index = _weights(names, read, where, allowed)
    with_code = allowed.remote_code and bool(config.get("auto_map"))
    return Selection(
        config=config,
        weights=weights,
        index=index,
        pickled=PICKLE in weights or index == PICKLE_INDEX,
        tokenizer=_tokenizer(names, where),
        code=tuple(sorted(name for name in names if name.endswith(".py"))) if with_code else (),
        generation=_generation(names, config, read, where),
    )


def _generation(names: Collection[str], config: dict[str, Any], read: Read, where: str) -> tuple[str, ...]:
    """How the model generates, which is read only where it does.

    transformers passes over a file that is not JSON without a word, and generates otherwise.
    """
    generates = bool(config.get("is_encoder_decoder", config["model_type"] == "marian"))
    if not generates or GENERATION_CONFIG not in names:
        return ()
    try:
        json.loads(read(GENERATION_CONFIG))
    except ValueError as error:
        raise ConfigMissing(folder=where, why=f"its {GENERATION_CONFIG} is not JSON ({error})") from None
    return (GENERATION_CONFIG,)


def _config(names: Collection[str], read: Read, where: str) -> dict[str, Any]:
    if CONFIG not in names:
        raise ConfigMissing(folder=where, why=f"it holds no {CONFIG}")
    try:
        config = json.loads(read(CONFIG))
    except ValueError as error:
        raise ConfigMissing(folder=where, why=f"its {CONFIG} is not JSON ({error})") from None
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ConfigMissing(folder=where, why=f"its {CONFIG} names no model_type")
    return config


def _weights(
    names: Collection[str], read: Read, where: str, allowed: Allowed
) -> tuple[tuple[str, ...], str | None]:
    """The weights files and their index; safetensors wherever there are any."""
    for single, index in ((WEIGHTS, WEIGHTS_INDEX), (PICKLE, PICKLE_INDEX)):
        found = [name for name in (single, index) if name in names]
        if not found:
            continue
        if single == PICKLE and not allowed.pickle:
            raise PickleRefused(file=f"{where}/{found[0]}")
        if found[0] == single:
            return (single,), None
        return _shards(names, read, index, where), index
    raise WeightsMissing(folder=where, why=f"there is neither {WEIGHTS} nor {WEIGHTS_INDEX}")


def _shards(names: Collection[str], read: Read, index: str, where: str) -> tuple[str, ...]:
    try:
        shards = sorted(set(json.loads(read(index))["weight_map"].values()))
        misplaced = [name for name in shards if PurePosixPath(name).name != name or name not in names]
    except (ValueError, KeyError, AttributeError, TypeError):
        raise WeightsMissing(folder=where, why=f"{index} has no weight_map") from None
    if misplaced or not shards:
        named = misplaced[0] if misplaced else "no file"
        raise WeightsMissing(folder=where, why=f"the index names {named}, which is not there")
    return tuple(shards)


def _tokenizer(names: Collection[str], where: str) -> tuple[str, ...]:
    found = [name for name in VOCABULARIES if name in names]
    if not found:
        raise TokenizerMissing(folder=where, why=f"none of {', '.join(VOCABULARIES)} is there")
    return tuple(found + [name for name in (*TOKENIZER_EXTRAS, *MARIAN_PIECES) if name in names])
