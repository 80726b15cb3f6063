"""One kept compile as a folder, the same on this machine and in S3.

artifact/     the artifact, whole
key.json      the key's document, canonical: what the folder's name is the digest of
result.json   what the compile reported: digest, sizes, parity figures; written last
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from artifact.errors import ProofFailed, TraceshipError
from artifact.verify import verify
from compile.cache.key import CacheKey
from compile.request import CompiledArtifact
from compile.result import read_result, result_data

ARTIFACT = "artifact"
KEY = "key.json"
RESULT = "result.json"


class EntryDamaged(ProofFailed):
    """A cache entry is not what was put there. It is never used; the compile is done again."""

    id = "cache-entry-damaged"

    def __init__(self, *, entry: str, why: str) -> None:
        super().__init__(
            what=f"the cache entry {entry} is damaged",
            why=why,
            fix="run the compile again, which replaces it; if this repeats, check that disk or bucket",
        )


@dataclass(frozen=True)
class Entry:
    """An entry whose key and result were read; its artifact is not verified yet."""

    folder: Path
    key: CacheKey
    result: CompiledArtifact

    def check(self, root: Path) -> None:
        """Verify that ``root``, this entry's artifact or a copy of it, is whole and this key's.

        Raises:
            EntryDamaged: it is not.
        """
        try:
            manifest = verify(root, digest=self.result.digest).manifest
        except TraceshipError as error:
            raise EntryDamaged(entry=self.key.digest, why=f"{error.what}: {error.why}") from error
        if not self.key.fits(manifest):
            raise EntryDamaged(entry=self.key.digest, why="its artifact was made from another model")


def write_texts(folder: Path, key: CacheKey, result: CompiledArtifact) -> None:
    """Write key and result beside the artifact that is already in ``folder``."""
    (folder / KEY).write_bytes(key.data)
    (folder / RESULT).write_bytes(result_bytes(result))


def result_bytes(result: CompiledArtifact) -> bytes:
    """What is kept of a result: everything but where the artifact lay."""
    kept = {**result_data(replace(result, cached=True)), "path": ""}
    return json.dumps(kept, ensure_ascii=False, indent=1).encode()


def read_entry(folder: Path, key: CacheKey) -> Entry:
    """Read the texts of an entry that is there.

    Raises:
        EntryDamaged: a text is missing, is not ours, or belongs to another key.
    """
    try:
        texts = (folder / KEY).read_bytes(), (folder / RESULT).read_bytes()
    except OSError as error:
        raise EntryDamaged(entry=key.digest, why=f"{error.filename}: {error.strerror}") from error
    if not (folder / ARTIFACT).is_dir():
        raise EntryDamaged(entry=key.digest, why="it holds no artifact")
    return Entry(folder=folder, key=key, result=parse_texts(*texts, key, folder / ARTIFACT))


def parse_texts(key_text: bytes, result_text: bytes, key: CacheKey, path: Path) -> CompiledArtifact:
    """The result that an entry holds, once its key was seen to be ``key``.

    Raises:
        EntryDamaged: see ``read_entry``.
    """
    if key_text != key.data:
        raise EntryDamaged(entry=key.digest, why=f"its {KEY} is the document of another key")
    try:
        found: dict[str, Any] = json.loads(result_text)
        return read_result(found, path)
    except (ValueError, KeyError, TypeError, msgspec.ValidationError) as error:
        raise EntryDamaged(entry=key.digest, why=f"its {RESULT} cannot be read ({error})") from None
