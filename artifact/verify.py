"""A folder in, a trusted artifact out, or an error that names the file.

One implementation for ``traceship verify``, the server and the fetch. The whole folder is checked
before anything of it is used, each file is opened once, and what is going to be loaded is *held*:
copied into sealed memory, hashed there, and handed to the loader from there. ``packed.py`` does
the same for model.tar.gz; both go by ``listing.py``.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from artifact import folder
from artifact.listing import (
    MAX_FILES,
    MAX_MANIFEST_BYTES,
    check_digest,
    digest_file,
    parse_manifest,
    trusted_manifest,
)
from artifact.manifest import MANIFEST, MANIFEST_DIGEST, File, Manifest
from artifact.refusals import AnotherArtifact, ArtifactChanged, NotAnArtifact, UnknownSchema
from artifact.sealed import Sealed

__all__ = [
    "MAX_FILES",
    "MAX_MANIFEST_BYTES",
    "AnotherArtifact",
    "ArtifactChanged",
    "ListedArtifact",
    "NotAnArtifact",
    "UnknownSchema",
    "VerifiedArtifact",
    "listed",
    "parse_manifest",
    "verify",
]


@dataclass(frozen=True)
class ListedArtifact:
    """A folder with the manifest that was asked for and the files of its list, which nobody has read yet.

    ``digest`` is the manifest's SHA-256.
    """

    root: Path
    manifest: Manifest
    digest: str

    def chunks(self, path: str) -> Iterator[bytes]:
        """The bytes of a file in pieces. They are proven only when the last one has been taken.

        Raises:
            ArtifactChanged: at the end, or as soon as it is known.
        """
        entry, digest = self._entry(path), hashlib.sha256()
        for chunk in folder.chunks(self.root, entry):
            digest.update(chunk)
            yield chunk
        check_digest(entry, digest.hexdigest())

    def _entry(self, path: str) -> File:
        entry = next((f for f in self.manifest.files if f.path == path), None)
        if entry is None:
            raise ArtifactChanged(file=path, why="the manifest does not name it")
        return entry


@dataclass(frozen=True)
class VerifiedArtifact(ListedArtifact):
    """An artifact whose every file matched its manifest.

    Bytes that were held are given away once, so that no more memory is taken than is needed;
    what was not held, or is asked for again, is opened and hashed anew.
    """

    _held: dict[str, Sealed] = field(default_factory=dict, repr=False, compare=False)

    def take(self, path: str) -> Sealed:
        """The bytes of a file of the manifest, which can no longer change; the caller closes them.

        Raises:
            ArtifactChanged: the bytes are not (or no longer) those of the manifest.
        """
        return self._held.pop(path, None) or _sealed(self.root, self._entry(path))

    def read(self, path: str) -> bytes:
        """A copy of what ``take`` gives; errors as there."""
        with self.take(path) as sealed:
            return sealed.read()


def nothing(manifest: Manifest) -> Collection[str]:  # noqa: ARG001 - one of the answers to ``hold``
    """Check only."""
    return ()


def listed(root: Path, *, digest: str | None = None) -> ListedArtifact:
    """Check all of a folder but its files' content; for those who read each of them once, to the end.

    Raises:
        As ``verify``, what the files hold excepted.
    """
    manifest, found = _manifest(root, digest)
    folder.check_names(root, {entry.path for entry in manifest.files} | {MANIFEST, MANIFEST_DIGEST})
    return ListedArtifact(root=root, manifest=manifest, digest=found)


def verify(
    root: Path, *, digest: str | None = None, hold: Callable[[Manifest], Collection[str]] = nothing
) -> VerifiedArtifact:
    """Check a folder against its manifest, and the manifest against ``digest`` where given.

    Args:
        digest: SHA-256 of the manifest in hex, from a lock, a template or the command line.
        hold: which files' bytes to keep in memory, for ``take``; given to loaders, they are the
            bytes that were verified.

    Raises:
        NotAnArtifact: there is no such folder, or no manifest in it.
        AnotherArtifact: a manifest of another digest.
        UnknownSchema: a manifest of another schema.
        ArtifactChanged: any file missing, extra, linked, special, resized or changed.
    """
    there = listed(root, digest=digest)
    wanted, held = frozenset(hold(there.manifest)), {}
    for entry in there.manifest.files:
        if entry.path in wanted:
            held[entry.path] = _sealed(root, entry)
        else:
            deque(there.chunks(entry.path), maxlen=0)
    return VerifiedArtifact(root=root, manifest=there.manifest, digest=there.digest, _held=held)


def _manifest(root: Path, pinned: str | None) -> tuple[Manifest, str]:
    if not root.is_dir():
        raise NotAnArtifact(path=str(root), why="there is no such folder")
    for name in (MANIFEST, MANIFEST_DIGEST):
        path = root / name
        if not path.exists() and not path.is_symlink():
            if name == MANIFEST:
                raise NotAnArtifact(path=str(root), why=f"it holds no {MANIFEST}")
            raise ArtifactChanged(file=MANIFEST_DIGEST, why="it is missing")
    data = folder.read_small(root, MANIFEST, MAX_MANIFEST_BYTES)
    written = folder.read_small(root, MANIFEST_DIGEST, len(digest_file("0" * 64)))
    return trusted_manifest(data, written, pinned)


def _sealed(root: Path, entry: File) -> Sealed:
    sealed = Sealed(folder.chunks(root, entry))
    check_digest(entry, sealed.sha256())
    return sealed
