"""A folder in, a trusted artifact out, or an error that names the file.

One implementation for ``traceship verify``, the server and the fetch. ``verify`` checks the
whole folder before anything of it is used; ``read`` hashes the very bytes that it returns, so
that nothing can change between the check and the use.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from artifact.canonical import NotCanonical, decode
from artifact.errors import ProofFailed, UsageError
from artifact.manifest import MANIFEST, MANIFEST_DIGEST, SCHEMA, File, Manifest

MAX_MANIFEST_BYTES = 4 * 1024 * 1024
MAX_FILES = 4096
_CHUNK = 1024 * 1024


class NotAnArtifact(UsageError):
    """The path holds no artifact at all."""

    id = "not-an-artifact"

    def __init__(self, *, path: str, why: str) -> None:
        super().__init__(
            what=f"{path} is not an artifact",
            why=why,
            fix="give the folder that `traceship compile --out DIR` wrote",
        )


class ArtifactChanged(ProofFailed):
    """A file is missing, added, replaced or changed since the artifact was made."""

    id = "artifact-changed"

    def __init__(self, *, file: str, why: str) -> None:
        super().__init__(
            what=f"{file} is not the file that was published",
            why=why,
            fix="fetch or compile the artifact again; do not edit it",
        )
        self.file = file


class UnknownSchema(ProofFailed):
    """The manifest is of a version that this traceship does not know."""

    id = "unknown-schema"

    def __init__(self, *, found: str) -> None:
        super().__init__(
            what="the artifact's manifest cannot be read by this traceship",
            why=f"its schema is {found!r}, this version reads {SCHEMA!r}",
            fix="use the traceship version that made the artifact, or compile the model again",
        )


@dataclass(frozen=True)
class VerifiedArtifact:
    """An artifact whose every file matched its manifest. ``digest`` is the manifest's SHA-256."""

    root: Path
    manifest: Manifest
    digest: str

    def read(self, path: str) -> bytes:
        """Return the bytes of a file of the manifest, hashed on the way.

        Raises:
            ArtifactChanged: the bytes are not (or no longer) those of the manifest.
        """
        entry = next((f for f in self.manifest.files if f.path == path), None)
        if entry is None:
            raise ArtifactChanged(file=path, why="the manifest does not name it")
        data = _read_regular(self.root, path, entry.size)
        _check_digest(entry, hashlib.sha256(data).hexdigest())
        return data


def verify(root: Path, *, digest: str | None = None) -> VerifiedArtifact:
    """Check a folder against its manifest, and the manifest against ``digest`` where given.

    Args:
        digest: SHA-256 of the manifest in hex, from a lock, a template or the command line.

    Raises:
        NotAnArtifact: there is no such folder, or no manifest in it.
        UnknownSchema: a manifest of another schema.
        ArtifactChanged: any file missing, extra, linked, special, resized or changed.
    """
    manifest_bytes = _read_manifest(root)
    found = hashlib.sha256(manifest_bytes).hexdigest()
    _check_manifest_digest(root, found, digest)
    manifest = parse_manifest(manifest_bytes)
    _check_listing(root, manifest)
    for entry in manifest.files:
        _check_digest(entry, _hash_regular(root, entry))
    return VerifiedArtifact(root=root, manifest=manifest, digest=found)


def _read_manifest(root: Path) -> bytes:
    if not root.is_dir():
        raise NotAnArtifact(path=str(root), why="there is no such folder")
    path = root / MANIFEST
    if not path.exists() and not path.is_symlink():
        raise NotAnArtifact(path=str(root), why=f"it holds no {MANIFEST}")
    return _read_regular(root, MANIFEST, None)


def _check_manifest_digest(root: Path, found: str, pinned: str | None) -> None:
    if not (root / MANIFEST_DIGEST).exists():
        raise ArtifactChanged(file=MANIFEST_DIGEST, why="it is missing")
    written = _read_regular(root, MANIFEST_DIGEST, None)
    if written != f"{found}\n".encode():
        raise ArtifactChanged(file=MANIFEST, why=f"its sha256 is not the one in {MANIFEST_DIGEST}")
    if pinned is not None and pinned != found:
        raise ArtifactChanged(
            file=MANIFEST, why=f"its sha256 begins {found[:12]}, the digest asked for begins {pinned[:12]}"
        )


def parse_manifest(data: bytes) -> Manifest:
    """Return the manifest that ``data`` spells, its file names checked to be plain and complete.

    Whoever calls this has already compared the digest of ``data``.

    Raises:
        UnknownSchema, ArtifactChanged: see there.
    """
    try:
        peek = json.loads(data)
        schema = peek.get("schema") if isinstance(peek, dict) else None
    except (ValueError, RecursionError):
        raise ArtifactChanged(file=MANIFEST, why="it is not JSON") from None
    if schema != SCHEMA:
        raise UnknownSchema(found=str(schema))
    try:
        manifest = decode(data, Manifest)
    except NotCanonical as error:
        raise ArtifactChanged(file=MANIFEST, why=str(error)) from None
    _check_names(manifest)
    return manifest


def _check_names(manifest: Manifest) -> None:
    paths = [entry.path for entry in manifest.files]
    if len(paths) > MAX_FILES:
        raise ArtifactChanged(file=MANIFEST, why=f"it names {len(paths)} files, the limit is {MAX_FILES}")
    if len(set(paths)) != len(paths):
        raise ArtifactChanged(file=MANIFEST, why="it names a file twice")
    for path in paths:
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or str(pure) != path or "\\" in path or "\0" in path:
            raise ArtifactChanged(file=MANIFEST, why=f"it names {path!r}, which is not a plain relative path")
    decoders = (b.decoder for b in manifest.buckets if b.decoder is not None)
    named = {*(b.path for b in manifest.buckets), *decoders, manifest.tokenizer}
    if manifest.weights is not None:
        named.add(manifest.weights)
    for path in sorted(named - set(paths)):
        raise ArtifactChanged(file=MANIFEST, why=f"it uses {path} without listing it among its files")


def _check_listing(root: Path, manifest: Manifest) -> None:
    expected = {entry.path for entry in manifest.files} | {MANIFEST, MANIFEST_DIGEST}
    found = set()
    for folder, _, names in _walk(root):
        for name in names:
            found.add((Path(folder) / name).relative_to(root).as_posix())
    for path in sorted(expected - found):
        raise ArtifactChanged(file=path, why="it is missing")
    for path in sorted(found - expected):
        raise ArtifactChanged(file=path, why="the manifest does not name it")


def _walk(root: Path) -> list[tuple[str, list[str], list[str]]]:
    rows = []
    for folder, folders, names in os.walk(root, followlinks=False):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        rows.append((folder, folders, names + links))
    return rows


def _open_regular(root: Path, path: str) -> int:
    """Open below ``root`` without following a link in any part of ``path``."""
    parts = path.split("/")
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = inner
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return os.open(parts[-1], flags, dir_fd=folder)
    except OSError as error:
        raise ArtifactChanged(
            file=path, why=f"it cannot be opened as a plain file ({error.strerror})"
        ) from None
    finally:
        os.close(folder)


def _checked_descriptor(root: Path, path: str, size: int | None) -> int:
    descriptor = _open_regular(root, path)
    status = os.fstat(descriptor)
    why = None
    if not stat.S_ISREG(status.st_mode):
        why = "it is not a regular file"
    elif size is not None and status.st_size != size:
        why = f"it has {status.st_size} bytes, the manifest says {size}"
    elif size is None and status.st_size > MAX_MANIFEST_BYTES:
        why = f"it has {status.st_size} bytes, the limit is {MAX_MANIFEST_BYTES}"
    if why is not None:
        os.close(descriptor)
        raise ArtifactChanged(file=path, why=why)
    return descriptor


def _read_regular(root: Path, path: str, size: int | None) -> bytes:
    limit = MAX_MANIFEST_BYTES if size is None else size
    with os.fdopen(_checked_descriptor(root, path, size), "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ArtifactChanged(file=path, why="it grew while it was read")
    return data


def _hash_regular(root: Path, entry: File) -> str:
    digest = hashlib.sha256()
    with os.fdopen(_checked_descriptor(root, entry.path, entry.size), "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _check_digest(entry: File, found: str) -> None:
    if found != entry.sha256:
        raise ArtifactChanged(
            file=entry.path, why=f"its sha256 begins {found[:12]}, the manifest says {entry.sha256[:12]}"
        )
