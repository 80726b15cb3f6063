"""Does a checkpoint need Python code of its own, and may that run?

A checkpoint's ``auto_map`` names modules beside config.json that transformers would import. Where
transformers has the model type itself they are not needed, and left out. Where it has not, the
user must have allowed them; then they are hashed like every file, and the manifest says so.
The code of a tokenizer is never run: a server tokenizes with tokenizer.json alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compile.architectures import ARCHITECTURES
from compile.children import run
from compile.sources.errors import RemoteCodeElsewhere, RemoteCodeNeeded
from compile.sources.known import KnownJob, KnownResult
from compile.sources.selection import Selection

_TOKENIZER = "AutoTokenizer"


def trusted_map(selection: Selection, *, source: str, trusted: bool) -> dict[str, str]:
    """The part of ``auto_map`` that transformers will follow; empty where its own classes do.

    Args:
        trusted: the user allowed this checkpoint's code.

    Raises:
        RemoteCodeNeeded: without its code the model cannot be loaded, and it is not allowed.
        RemoteCodeElsewhere: the code is not among the checkpoint's files.
    """
    named = selection.config.get("auto_map")
    if not isinstance(named, Mapping) or not named:
        return {}
    model_type = selection.config["model_type"]
    if not trusted:
        if model_type not in ARCHITECTURES and not _known(model_type):
            raise RemoteCodeNeeded(source=source, model_type=model_type)
        return {}
    followed = {str(key): str(value) for key, value in named.items() if key != _TOKENIZER}
    for value in followed.values():
        _check_here(value, selection.code, source)
    return followed


def class_names(auto_map: Any) -> set[str]:
    """Names of the classes that an ``auto_map`` of any shape mentions, without their modules."""
    if isinstance(auto_map, str):
        return {auto_map.rpartition(".")[2]}
    values = auto_map.values() if isinstance(auto_map, Mapping) else auto_map
    if not isinstance(values, list | tuple) and not isinstance(auto_map, Mapping):
        return set()
    return {name for value in values for name in class_names(value)}


def _check_here(reference: str, code: tuple[str, ...], source: str) -> None:
    """``REPOSITORY--module.Class`` is code that no revision of this model pins."""
    repository, separator, local = reference.rpartition("--")
    if separator:
        why = f"the code of {repository} has no pinned revision"
        raise RemoteCodeElsewhere(source=source, name=reference, why=why)
    file = f"{local.split('.')[0]}.py"
    if file not in code:
        raise RemoteCodeElsewhere(source=source, name=reference, why=f"{file} is not there")


def _known(model_type: str) -> bool:
    """Asked of transformers itself, in a child: this process imports neither it nor torch."""
    with tempfile.TemporaryDirectory(prefix="traceship-known-") as work:
        job = KnownJob(model_type=model_type)
        answer = run("compile.sources.known", job, KnownResult, folder=Path(work), name="known", timeout=None)
    return answer.result.known
