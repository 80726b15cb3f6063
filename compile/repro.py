"""A failed bucket as a folder that can be sent to somebody and run there: ``python repro.py``.

Holds the code that traced (the checkpoint's own too, where it was trusted), the example inputs,
the config, every option, the versions and the log. The model's weights stay at home unless they
are asked for; so does its tokenizer, which takes no part in tracing. ``repro_script.py`` is the
script.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from artifact.canonical import encode
from artifact.errors import Conflict, TraceshipError
from compile.compiler_options import neuron_arguments
from compile.jobs import ModelJob
from compile.memory import is_weights
from compile.request import CompileRequest, Shape

_ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("artifact", "compile")
_DISTRIBUTIONS = (
    *("torch", "transformers", "tokenizers", "safetensors", "numpy", "protobuf", "msgspec"),
    *("torch-neuron", "neuron-cc"),
)
_NEEDED = ("config.json", "generation_config.json")


class ReproductionExists(Conflict):
    """The folder for a reproduction holds one already, or something else."""

    id = "reproduction-exists"

    def __init__(self, *, path: str) -> None:
        super().__init__(
            what=f"{path} is not empty",
            why="a failed bucket's reproduction goes there, and nothing is overwritten",
            fix="give `traceship compile --repro DIR` a new folder, or remove that one",
        )


def check_folder(folder: Path | None) -> None:
    """Refuse early a folder that a reproduction could not be written to.

    Raises:
        ReproductionExists: it is a file, or not empty.
    """
    if folder is None or not folder.exists():
        return
    if not folder.is_dir() or any(folder.iterdir()):
        raise ReproductionExists(path=str(folder))


@dataclass(frozen=True)
class Case:
    """A bucket that failed. ``inputs`` is the file of ``inputs.py``, if it came as far as having any."""

    request: CompileRequest
    model: ModelJob
    shape: Shape
    inputs: Path
    log: str


def write(folder: Path, error: TraceshipError, case: Case) -> Path:
    """Write the reproduction of one bucket below ``folder`` and return its place."""
    place = folder / case.shape.name
    (place / "model").mkdir(parents=True)
    for package in _PACKAGES:
        shutil.copytree(
            _ROOT / package, place / "code" / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copyfile(Path(__file__).with_name("repro_script.py"), place / "repro.py")
    for file in _model_files(Path(case.model.folder), with_weights=case.request.work.repro_weights):
        shutil.copyfile(file, place / "model" / file.name)
    if case.inputs.exists():
        shutil.copyfile(case.inputs, place / "inputs.json")
    (place / "model.json").write_bytes(encode(msgspec.structs.replace(case.model, folder="model")))
    (place / "log.txt").write_text(case.log, encoding="utf-8")
    _dump(place / "arguments.json", _arguments(case.request, case.shape))
    _dump(place / "neuron_arguments.json", list(neuron_arguments(case.request)))
    _dump(place / "versions.json", versions())
    _dump(place / "error.json", {"id": error.id, "what": error.what, "why": error.why, "fix": error.fix})
    return place


def versions() -> dict[str, str | None]:
    """Python, machine and the packages that take part; ``None`` where one is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version(), "machine": platform.machine()}
    return {**found, **{name: _version(name) for name in _DISTRIBUTIONS}}


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _model_files(folder: Path, *, with_weights: bool) -> list[Path]:
    files = sorted(folder.iterdir())
    weights = [path for path in files if is_weights(path.name) or path.name.endswith(".index.json")]
    described = [path for path in files if path.name in _NEEDED or path.suffix == ".py"]
    return described + (weights if with_weights else [])


def _arguments(request: CompileRequest, shape: Shape) -> list[str]:
    """The options of ``python -m compile`` for this bucket alone.

    Without a place of this machine, and without the user's own examples: tracing sees no text.
    """
    from compile.runners import arguments

    alone = replace(
        request,
        model="model",
        out=Path("out"),
        shapes=(shape,),
        samples=None,
        work=replace(request.work, jobs=1, repro=None, repro_weights=False),
    )
    return arguments(alone)


def _dump(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
