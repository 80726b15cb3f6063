"""The child that reads pickles: ``python -m compile.sources.unpickle``. See ``pickles.py``."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from compile.children import child_main
from compile.sources.errors import PickleUnsafe, WeightsCorrupted
from compile.sources.pickles import UnpickleJob, UnpickleResult, scan
from compile.sources.selection import WEIGHTS, WEIGHTS_INDEX

_NO_REASON = ("Weights only load failed", "Check the documentation")
"""How the lines of torch's refusal begin that say nothing of the file."""


def unpickle(job: UnpickleJob) -> UnpickleResult:
    """Write each pickle's tensors under the names that ``save_pretrained`` would give the files.

    Raises:
        PickleUnsafe: a file holds more than tensors.
        WeightsCorrupted: a file cannot be read.
    """
    into, count = Path(job.into), len(job.pickles)
    weight_map: dict[str, str] = {}
    names: list[str] = []
    for number, path in enumerate(map(Path, job.pickles), start=1):
        name = WEIGHTS if count == 1 else f"model-{number:05d}-of-{count:05d}.safetensors"
        scan(path)
        tensors = tensors_of(path)
        save_file(tensors, str(into / name), metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(tensors, name))
        names.append(name)
    if count > 1:
        index = {"metadata": {}, "weight_map": weight_map}
        (into / WEIGHTS_INDEX).write_text(json.dumps(index, sort_keys=True), encoding="utf-8")
        names.append(WEIGHTS_INDEX)
    return UnpickleResult(files=tuple(names))


def tensors_of(path: Path) -> dict[str, torch.Tensor]:
    """The state dict of one file, each tensor with memory of its own as safetensors asks.

    Raises:
        PickleUnsafe: torch's weights-only reader refuses it, or it is no dict of tensors.
        WeightsCorrupted: it is cut.
    """
    state = _loaded(path)
    if not isinstance(state, dict):
        raise PickleUnsafe(file=str(path), why=f"it holds one {type(state).__name__}, not tensors by name")
    tensors = {}
    for name in list(state):
        value = state.pop(name)  # one at a time, so that a checkpoint is not in memory twice
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise PickleUnsafe(file=str(path), why=f"{name!r} is a {type(value).__name__}, not a tensor")
        tensors[name] = value.detach().clone().contiguous()
    return tensors


def _loaded(path: Path) -> Any:
    try:
        return torch.load(str(path), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refused(path, str(error)) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise WeightsCorrupted(file=str(path), why=f"torch cannot read it ({error})") from None


def _refused(path: Path, words: str) -> PickleUnsafe | WeightsCorrupted:
    """torch's refusal, without its advice to read the file carelessly."""
    told = (line.strip() for line in words.rpartition("WeightsUnpickler error:")[2].splitlines())
    reason = next((line for line in told if line and not line.startswith(_NO_REASON)), "no reason given")
    if "EOF" in reason:
        return WeightsCorrupted(file=str(path), why=f"torch cannot read it ({reason})")
    return PickleUnsafe(file=str(path), why=f"torch refuses to read it as weights only ({reason})")


if __name__ == "__main__":
    sys.exit(child_main(UnpickleJob, unpickle, sys.argv[1:]))
