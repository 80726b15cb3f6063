"""What ``traceship verify`` is given, and who can check it: a folder, an archive, a release."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from artifact.release import ReleaseLock
from artifact.verify import verify
from infra.lock import read_lock

_BUFFER = 1024 * 1024


@dataclass(frozen=True)
class Verified:
    """What was found to be whole: the manifest's SHA-256, and how many files it names."""

    digest: str
    files: int


def verified(what: str, *, digest: str | None, lock_path: Path) -> Verified:
    """Check the artifact that ``what`` names: a path if there is one, else a release.

    Args:
        digest: what the manifest must have; the lock's own unless it is given.
        lock_path: where a release may be named.

    Raises:
        NotAnArtifact: neither of them.
        ProofFailed: it is not whole, or not the one that was asked for.
        OptionInvalid, ReleaseMissing, DownloadBroken: see ``inference_code/fetch.py``.
    """
    path = Path(what)
    if what.startswith("s3://"):
        return _release(what, digest, owner=None)
    if path.is_file():
        return _archive(path, digest)
    if not path.exists() and (lock := _named(what, lock_path)) is not None:
        at = lock.location
        return _release(f"s3://{at.bucket}/{at.prefix}", digest or lock.digest, owner=at.account)
    artifact = verify(path, digest=digest)
    return Verified(digest=artifact.digest, files=len(artifact.manifest.files))


def _named(name: str, lock_path: Path) -> ReleaseLock | None:
    lock = read_lock(lock_path)
    return lock if lock is not None and lock.name == name else None


def _archive(path: Path, digest: str | None) -> Verified:
    from artifact.packed import verify_packed
    from cli.cdk import CHECKOUT
    from compile.archive import code_files

    with path.open("rb", buffering=_BUFFER) as file:
        packed = verify_packed(file, digest=digest, code=code_files(CHECKOUT))
    return Verified(digest=packed.digest, files=len(packed.manifest.files))


def _release(url: str, digest: str | None, *, owner: str | None) -> Verified:
    from inference_code.fetch import fetch_options, s3_client, verify_release

    options = fetch_options({}, release=url, digest=digest, owner=owner)
    manifest = verify_release(options, s3_client())
    return Verified(digest=options.digest, files=len(manifest.files))
