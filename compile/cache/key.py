"""The key of a compile: a canonical JSON document of everything that shapes the artifact.

Every option of the request is in it unless it is listed here as no part of the result, so that an
option that is added later cannot be forgotten. A file that an option names counts by its content.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from artifact.canonical import encode
from artifact.manifest import Manifest, Source
from compile.cache.environment import Environment
from compile.cache.remembered import Remembered
from compile.request import CompileRequest
from compile.source import CONFIG, ModelSource, SourceUnreadable

SCHEMA = "traceship.cache-key/1"
NO_PART_OF_THE_RESULT = frozenset({"out", "debug", "work"})
SAID_BY_THE_SOURCE = frozenset({"model", "revision", "identity"})
"""Recorded as ``source``, as the manifest has it."""

_CONTENT_ID = "sha256:"
_SAFETENSORS = ".safetensors"
_INDEX = ".index.json"


@dataclass(frozen=True)
class CacheKey:
    """``document`` is plain JSON data; ``source`` is what the artifact's manifest must record."""

    document: dict[str, Any]
    source: Source

    @cached_property
    def data(self) -> bytes:
        """The document's canonical bytes."""
        return encode(self.document)

    @cached_property
    def digest(self) -> str:
        """The key itself, 64 hex digits."""
        return hashlib.sha256(self.data).hexdigest()

    def fits(self, manifest: Manifest) -> bool:
        """Whether an artifact can be this key's: made from these very files for this purpose.

        The last guard against digests that were remembered wrongly, and against a folder put
        into the wrong place.
        """
        wanted = (self.source, self.document["task"], self.document["target"])
        return (manifest.source, manifest.task, manifest.requires.target) == wanted


def make_key(
    request: CompileRequest, found: ModelSource, environment: Environment, remembered: Remembered
) -> CacheKey:
    """The key of ``request`` for the model ``found``, compiled in ``environment``.

    Raises:
        OSError: a file cannot be read.
    """
    document = {
        "schema": SCHEMA,
        **_options(request, remembered),
        **_model(request, found, remembered),
        "versions": dict(environment.versions),
        "cpu": dict(environment.cpu),
        "code": dict(environment.code),
    }
    plain: dict[str, Any] = json.loads(encode(document))
    return CacheKey(document=plain, source=found.identity)


def _options(request: CompileRequest, remembered: Remembered) -> dict[str, Any]:
    """The request's own fields; the tier in force and the shapes in order, however they were given."""

    def content(value: Any) -> Any:
        if isinstance(value, Path):
            return _content(value, remembered)
        raise NotImplementedError(f"no canonical form of {type(value).__name__}")

    left_out = NO_PART_OF_THE_RESULT | SAID_BY_THE_SOURCE
    names = [field.name for field in dataclasses.fields(request) if field.name not in left_out]
    values = {name: msgspec.to_builtins(getattr(request, name), enc_hook=content) for name in names}
    waivers = {waiver.gate: waiver.reason for waiver in request.waivers}
    shapes = [str(shape) for shape in sorted(request.shapes)]
    return {**values, "tier": request.resolved_tier, "shapes": shapes, "waivers": waivers}


def _content(path: Path, remembered: Remembered) -> str | None:
    """The file's SHA-256; None where it cannot be read: the compile has the words for that."""
    try:
        return remembered.file(path.parent, path.name).sha256
    except SourceUnreadable:
        return None


def _model(request: CompileRequest, found: ModelSource, remembered: Remembered) -> dict[str, Any]:
    """The model by content: tensors by name, config by key, other files by name, and who says so.

    ``spelling`` holds what tensors and config leave open (layout and metadata of the files),
    because the manifest records the files as they were.
    """
    weights: dict[str, str] = {}
    spelling: dict[str, str] = {}
    files: dict[str, str] = {}
    for file in found.identity.files:
        if file.path in found.weights and file.path.endswith(_SAFETENSORS):
            digests = remembered.tensors(found.folder / file.path)
            weights.update(digests.tensors)
            spelling[file.path] = digests.header
        elif file.path in found.weights:
            weights[file.path] = file.sha256
        elif file.path == CONFIG or file.path.endswith(_INDEX):
            spelling[file.path] = file.sha256
        else:
            files[file.path] = file.sha256
    identity = found.identity
    by_content = request.identity is None and identity.id.startswith(_CONTENT_ID)
    said = msgspec.to_builtins(identity)
    del said["files"]
    return {
        "source": {**said, "id": "its content" if by_content else identity.id},
        "weights": weights,
        "config": found.config,
        "files": files,
        "spelling": spelling,
    }
