"""What ``traceship verify`` is given, and who can check it: a folder, an archive, a release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from artifact.errors import UsageError
from artifact.keys import PublicKey
from artifact.release import ReleaseLock
from artifact.trust import AnotherRelease, check_signature, read_beside, verify_signed
from infra.lock import read_lock

_BUFFER = 1024 * 1024


class NoSuchRelease(UsageError):
    """A plain word that is neither a path nor the release of a lock."""

    id = "no-such-release"

    def __init__(self, *, name: str, held: list[str]) -> None:
        super().__init__(
            what=f"there is nothing to verify at {name}",
            why=f"no folder and no archive has that name, and the locks here hold {', '.join(held)}",
            fix=f"run `traceship verify {held[0]}`, or give a folder, an archive or a release's s3://…",
        )


@dataclass(frozen=True)
class Proof:
    """What an artifact is held to.

    ``digest``: the manifest's SHA-256. ``keys``: of which one must have signed; none: no signature
    is asked for. ``envelope``: in place of the one that lies beside it.
    """

    digest: str | None
    keys: tuple[PublicKey, ...] = ()
    envelope: bytes | None = None


@dataclass(frozen=True)
class Verified:
    """What was found to be whole: the manifest's SHA-256, how many files, the id of who signed it."""

    digest: str
    files: int
    signed_by: str | None


def verified(what: str, proof: Proof, *, lock_paths: Sequence[Path]) -> Verified:
    """Check the artifact that ``what`` names: a path if there is one, else a release.

    Args:
        lock_paths: where a release may be named; its digest counts unless ``proof`` has one.

    Raises:
        NotAnArtifact, NoSuchRelease: neither of them.
        ProofFailed: it is not whole, not the one that was asked for, or not signed by a key of ``proof``.
        OptionInvalid, ReleaseMissing, DownloadBroken: see ``inference_code/fetch.py``.
    """
    path = Path(what)
    if what.startswith("s3://"):
        return _release(what, proof, owner=None)
    if path.is_file():
        return _archive(path, proof)
    locks = {} if path.exists() else _by_name(lock_paths)
    if (lock := locks.get(what)) is not None:
        at = lock.location
        named = replace(proof, digest=proof.digest or lock.digest)
        return _release(f"s3://{at.bucket}/{at.prefix}", named, owner=at.account)
    if path.name == what and locks:
        raise NoSuchRelease(name=what, held=list(locks))
    artifact = verify_signed(path, digest=proof.digest, keys=proof.keys, signature=proof.envelope)
    signer = _signer(artifact.digest, proof, path) if proof.keys else None
    return Verified(artifact.digest, len(artifact.manifest.files), signer)


def _signer(digest: str, proof: Proof, path: Path) -> str:
    """Who of ``proof.keys`` signed; the envelope lies beside ``path`` unless it was given."""
    envelope = read_beside(path) if proof.envelope is None else proof.envelope
    return check_signature(digest, envelope, proof.keys).id


def _by_name(lock_paths: Sequence[Path]) -> dict[str, ReleaseLock]:
    return {lock.name: lock for path in lock_paths if (lock := read_lock(path)) is not None}


def _archive(path: Path, proof: Proof) -> Verified:
    from artifact.packed import verify_packed
    from cli.cdk import CHECKOUT
    from compile.stock import code_files
    from compile.wheels import FETCHED

    pinned = None if proof.keys else proof.digest
    with path.open("rb", buffering=_BUFFER) as file:
        packed = verify_packed(file, digest=pinned, code=lambda: code_files(CHECKOUT, CHECKOUT / FETCHED))
    signer = _signer(packed.digest, proof, path) if proof.keys else None
    if proof.digest not in (None, packed.digest):
        raise AnotherRelease(found=packed.digest, pinned=str(proof.digest))
    return Verified(packed.digest, len(packed.manifest.files), signer)


def _release(url: str, proof: Proof, *, owner: str | None) -> Verified:
    from inference_code.fetch import fetch_options, s3_client, verify_release

    options = fetch_options({}, release=url, digest=proof.digest, owner=owner)
    found = verify_release(replace(options, keys=proof.keys, signature=proof.envelope), s3_client())
    signer = None if found.signer is None else found.signer.id
    return Verified(options.digest, len(found.manifest.files), signer)
