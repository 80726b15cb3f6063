"""An artifact and a signature in, the same artifact with the key that vouches for it out.

The order: every byte against the manifest, the envelope against the pinned keys, the statement
in it against the manifest, and last the digest that was asked for, which no signature replaces:
an older release is signed as well as the newest. Pairs with ``cli/signing.py``.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from artifact.descriptors import check_descriptors
from artifact.envelope import MAX_ENVELOPE_BYTES, EnvelopeUnreadable, read_envelope
from artifact.errors import ProofFailed
from artifact.keys import PublicKey
from artifact.manifest import Manifest
from artifact.statement import PAYLOAD_TYPE, RELEASE, Statement, StatementUnreadable, read_statement
from artifact.verify import VerifiedArtifact, nothing, verify


class SignatureMissing(ProofFailed):
    """A key is pinned, and there is no signature at all."""

    id = "signature-missing"

    def __init__(self, *, place: str) -> None:
        super().__init__(
            what="the artifact is not signed, and a key is pinned",
            why=f"there is no envelope at {place}",
            fix="sign it with `traceship sign`, or ship it with signing.key set (docs/signing.md)",
        )


class WrongKey(ProofFailed):
    """Somebody signed it, but nobody who is trusted here."""

    id = "wrong-key"

    def __init__(self, *, found: Sequence[str], pinned: Sequence[str]) -> None:
        super().__init__(
            what="the artifact is signed with a key that is not trusted here",
            why=f"the signature names {_short(found)}, the pinned keys are {_short(pinned)}",
            fix="fetch a release that is signed with a pinned key, or pin that key if you know whose it is",
        )


class SignatureWrong(ProofFailed):
    """The envelope names a trusted key, which did not sign these bytes."""

    id = "signature-wrong"

    def __init__(self, *, keyid: str) -> None:
        super().__init__(
            what="the signature does not fit what it is said to sign",
            why=f"the envelope or the signature was changed after the key {keyid[:12]} signed",
            fix="fetch the release's envelope again; if it repeats, find out who wrote that file",
        )


class SignedAnother(ProofFailed):
    """A genuine signature, of another manifest."""

    id = "signed-another"

    def __init__(self, *, signed: str, found: str) -> None:
        super().__init__(
            what="the signature belongs to another artifact",
            why=f"it is for the manifest {signed[:12]}, this one's sha256 begins {found[:12]}",
            fix="fetch artifact and envelope of one release together",
        )


class AnotherRelease(ProofFailed):
    """Signed and whole, but not the release that was asked for: an older one, or another model's."""

    id = "another-release"

    def __init__(self, *, found: str, pinned: str) -> None:
        super().__init__(
            what="this is a signed release, but not the one that was asked for",
            why=f"its manifest begins {found[:12]}, the lock, template or --digest names {pinned[:12]}",
            fix="fetch the release that the lock names; to go back on purpose, deploy the older lock",
        )


def signature_path(root: Path) -> Path:
    """Where the envelope of the artifact in the folder ``root`` lies: beside it."""
    return _beside(root, ".dsse.json")


def provenance_path(root: Path, *, signed: bool = False) -> Path:
    """Where the folder's provenance lies: a plain statement, or one in an envelope."""
    return _beside(root, ".provenance.dsse.json" if signed else ".provenance.json")


def sbom_path(root: Path) -> Path:
    """Where the folder's bill of materials lies."""
    return _beside(root, ".sbom.cdx.json")


def verify_signed(
    root: Path,
    *,
    digest: str | None = None,
    keys: Sequence[PublicKey] = (),
    signature: bytes | None = None,
    hold: Callable[[Manifest], Collection[str]] = nothing,
) -> VerifiedArtifact:
    """Check a folder against its manifest, its signature and the digest that was asked for.

    Args:
        hold: see ``verify``.
        keys: of which one must have signed; none: no signature is asked for.
        signature: the envelope; ``None``: the one beside the folder.

    Raises:
        SignatureMissing, AnotherRelease: see there.
        What ``verify`` and ``check_signature`` raise.
    """
    if not keys:
        return verify(root, digest=digest, hold=hold)
    artifact = verify(root, hold=hold)
    envelope = read_beside(root) if signature is None else signature
    check_signature(artifact.digest, envelope, keys)
    if digest is not None and digest != artifact.digest:
        raise AnotherRelease(found=artifact.digest, pinned=digest)
    return artifact


def check_signature(digest: str, envelope: bytes, keys: Sequence[PublicKey]) -> PublicKey:
    """See that one of ``keys`` signed the manifest with SHA-256 ``digest``, and return that key.

    Raises:
        SignedAnother: it was another manifest.
        What ``open_statement`` raises.
    """
    statement, key = open_statement(envelope, keys, predicate_type=RELEASE)
    signed = statement.subject[0].digest.sha256
    if signed != digest:
        raise SignedAnother(signed=signed, found=digest)
    return key


def open_statement(
    envelope: bytes, keys: Sequence[PublicKey], *, predicate_type: str
) -> tuple[Statement, PublicKey]:
    """The statement in an envelope, once a key of ``keys`` was seen to have signed it, and that key.

    Signatures of other keys are left alone; every one that names a key of ``keys`` must be right.

    Raises:
        EnvelopeUnreadable, SignatureEmpty, WrongKey, SignatureWrong, StatementUnreadable: see there.
    """
    read = read_envelope(envelope)
    trusted = {key.id: key for key in keys}
    ours = [signature for signature in read.signatures if signature.keyid in trusted]
    if not ours:
        raise WrongKey(found=[s.keyid for s in read.signatures], pinned=list(trusted))
    for signature in ours:
        if not trusted[signature.keyid].accepts(signature.data, read.signed):
            raise SignatureWrong(keyid=signature.keyid)
    if read.payload_type != PAYLOAD_TYPE:
        raise StatementUnreadable(why=f"its type is {read.payload_type[:80]!r}, not {PAYLOAD_TYPE!r}")
    return read_statement(read.data, predicate_type=predicate_type), trusted[ours[0].keyid]


def read_beside(root: Path) -> bytes:
    """The bytes of the envelope beside the folder ``root``.

    Raises:
        SignatureMissing: there is none.
        EnvelopeUnreadable: it is no plain file, or too large.
    """
    return read_envelope_file(signature_path(root))


def read_envelope_file(path: Path) -> bytes:
    """The bytes of an envelope's file.

    Raises:
        SignatureMissing, EnvelopeUnreadable: see ``read_beside``.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise SignatureMissing(place=str(path)) from None
    except OSError as error:
        check_descriptors(error, doing="read the signature")
        raise EnvelopeUnreadable(why=f"{path} cannot be opened ({error.strerror})") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # before Python refuses a folder in words of its own
        os.close(descriptor)
        raise EnvelopeUnreadable(why=f"{path} is not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        return file.read(MAX_ENVELOPE_BYTES + 1)


def _beside(root: Path, ending: str) -> Path:
    folder = root.resolve() if root.name in {"", "..", "."} else root
    return folder.with_name(folder.name + ending)


def _short(ids: Sequence[str]) -> str:
    return ", ".join(name[:12] if name else "none" for name in ids)
