"""manifest.json's bytes in, a manifest whose list of files can be relied on out.

Whatever follows (a folder, an archive, a release in S3) is held to exactly this list.
"""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath

import msgspec

from artifact.canonical import NotCanonical, decode
from artifact.manifest import MANIFEST, MANIFEST_DIGEST, SCHEMA, File, Manifest
from artifact.refusals import AnotherArtifact, ArtifactChanged, UnknownSchema

MAX_MANIFEST_BYTES = 4 * 1024 * 1024
MAX_FILES = 4096
MAX_PATH_BYTES = 100


class _Peek(msgspec.Struct):
    """The one key that is read of a manifest of unknown version; the rest is not even built."""

    schema: str = ""


def trusted_manifest(data: bytes, written: bytes, pinned: str | None) -> tuple[Manifest, str]:
    """The manifest that ``data`` spells, and its digest.

    Args:
        written: content of the digest file beside it.
        pinned: SHA-256 of the manifest in hex, from a lock, a template or the command line.

    Raises:
        AnotherArtifact, UnknownSchema, ArtifactChanged: see there.
    """
    found = hashlib.sha256(data).hexdigest()
    if written != digest_file(found):
        raise ArtifactChanged(file=MANIFEST, why=f"its sha256 is not the one in {MANIFEST_DIGEST}")
    if pinned is not None and pinned != found:
        raise AnotherArtifact(found=found, pinned=pinned)
    return parse_manifest(data), found


def digest_file(digest: str) -> bytes:
    """What ``manifest.sha256`` holds."""
    return f"{digest}\n".encode()


def parse_manifest(data: bytes) -> Manifest:
    """Return the manifest that ``data`` spells, its file names checked to be plain and complete.

    Whoever calls this has already compared the digest of ``data``.

    Raises:
        UnknownSchema, ArtifactChanged: see there.
    """
    try:
        schema = msgspec.json.decode(data, type=_Peek).schema
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise ArtifactChanged(file=MANIFEST, why="it is not the JSON of a manifest") from None
    if schema != SCHEMA:
        raise UnknownSchema(found=schema)
    try:
        manifest = decode(data, Manifest)
    except NotCanonical as error:
        raise ArtifactChanged(file=MANIFEST, why=str(error)) from None
    _check_names(manifest)
    return manifest


def check_digest(entry: File, found: str) -> None:
    """
    Raises:
        ArtifactChanged: ``found`` is not the SHA-256 of ``entry``.
    """
    if found != entry.sha256:
        raise ArtifactChanged(
            file=entry.path, why=f"its sha256 begins {found[:12]}, the manifest says {entry.sha256[:12]}"
        )


def is_plain(path: str) -> bool:
    """Whether ``path`` leads to one place below any folder, and fits into an archive's header."""
    pure = PurePosixPath(path)
    inside = bool(pure.parts) and not pure.is_absolute() and ".." not in pure.parts
    spelt = str(pure) == path and "\\" not in path and path.isprintable()
    return inside and spelt and len(path.encode()) <= MAX_PATH_BYTES


def folders_of(paths: set[str]) -> set[str]:
    """Every folder on the way to one of ``paths``."""
    return {str(parent) for path in paths for parent in PurePosixPath(path).parents} - {"."}


def _check_names(manifest: Manifest) -> None:
    paths = [entry.path for entry in manifest.files]
    if len(paths) > MAX_FILES:
        raise ArtifactChanged(file=MANIFEST, why=f"it names {len(paths)} files, the limit is {MAX_FILES}")
    if len(set(paths)) != len(paths):
        raise ArtifactChanged(file=MANIFEST, why="it names a file twice")
    for path in paths:
        if not is_plain(path):
            raise ArtifactChanged(file=MANIFEST, why=f"it names {path!r}, which is not a plain relative path")
    for path in sorted({*paths} & {MANIFEST, MANIFEST_DIGEST, *folders_of({*paths})}):
        raise ArtifactChanged(file=MANIFEST, why=f"it names {path}, which cannot be a file of its list")
    decoders = (b.decoder for b in manifest.buckets if b.decoder is not None)
    named = {*(b.path for b in manifest.buckets), *decoders, manifest.tokenizer}
    if manifest.weights is not None:
        named.add(manifest.weights)
    for path in sorted(named - set(paths)):
        raise ArtifactChanged(file=MANIFEST, why=f"it uses {path} without listing it among its files")
