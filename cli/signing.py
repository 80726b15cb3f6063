"""What vouches for a release: its signature, its provenance and its bill of materials.

Pairs with ``artifact/trust.py``, which verifies them.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

import msgspec

from artifact.errors import ProofFailed, UsageError
from artifact.keys import PublicKey, read_key
from artifact.release import (
    PROVENANCE_FILE,
    SBOM_FILE,
    SIGNATURE_FILE,
    SIGNED_PROVENANCE_FILE,
    ReleaseLock,
    Signed,
)
from artifact.statement import release_statement
from artifact.trust import check_signature, provenance_path, sbom_path, signature_path
from artifact.verify import VerifiedArtifact
from cli.project import Project
from cli.recording import recorded
from cli.signers import KMS, KmsKey, Signer, key_file, seal
from compile.durable import write_whole


class SignerNotTrusted(UsageError):
    """The settings sign with a key that they do not trust: no stack of theirs would take the release."""

    id = "signer-not-trusted"

    def __init__(self, *, signer: str, key: PublicKey) -> None:
        super().__init__(
            what=f"a release signed with {signer} would be refused wherever it is deployed",
            why=f"its key {key.id[:12]} is not among signing.trusted_keys",
            fix=f'add "{key.line}" to them, or sign with a key that is among them',
        )


def signed_files(project: Project, artifact: VerifiedArtifact) -> dict[str, bytes]:
    """What belongs beside the manifest of a release, by file name.

    With ``signing.key`` the provenance is in an envelope and there is one for the manifest; without,
    the provenance is a plain statement.

    Raises:
        SigningKeyUnusable, SignatureNotOurs: see there.
        StatementUnreadable, SignedAnother: what lies beside the folder is not about it.
        SignerNotTrusted: see there.
        AwsDenied, AwsUnreachable, AwsRefused: what KMS said.
    """
    return _files(artifact, signer_of(project))


def signer_of(project: Project) -> Signer | None:
    """Whoever the settings name, or None.

    Raises:
        SigningKeyUnusable, SignerNotTrusted: see there; and what KMS said.
    """
    key, trusted = project.settings.signing.key, trusted_keys(project)
    signer = None if key is None else find_signer(key, project, beside=project.root)
    if signer is not None and trusted and signer.public_key not in trusted:
        raise SignerNotTrusted(signer=signer.name, key=signer.public_key)
    return signer


def find_signer(key: str, project: Project, *, beside: Path) -> Signer:
    """The signer that ``key`` names: ``awskms:…``, or a file, relative to ``beside``."""
    if key.startswith(KMS):
        return KmsKey(key.removeprefix(KMS), project.client("kms"))
    return key_file(beside / key)


def public_key_of(key: str, project: Project) -> PublicKey:
    """The public half of a signer, or the key in a public key's file."""
    if not key.startswith(KMS):
        path = Path(key)
        if path.is_file() and b"BEGIN PUBLIC KEY" in path.read_bytes():
            return read_key(path.read_text(encoding="utf-8", errors="replace"), name=key)
    return find_signer(key, project, beside=Path()).public_key


def sign_folder(artifact: VerifiedArtifact, signer: Signer) -> None:
    """Write the envelopes, and what they cover, beside the artifact's folder."""
    places = {
        SIGNATURE_FILE: signature_path(artifact.root),
        SIGNED_PROVENANCE_FILE: provenance_path(artifact.root, signed=True),
        SBOM_FILE: sbom_path(artifact.root),
    }
    for name, data in _files(artifact, signer).items():
        write_whole(places[name], data)


def signed_by(files: Mapping[str, bytes], signer: Signer | None) -> Signed | msgspec.UnsetType:
    """What the lock says of the signature among the published ``files``."""
    if signer is None or SIGNATURE_FILE not in files:
        return msgspec.UNSET
    envelope = base64.b64encode(files[SIGNATURE_FILE]).decode()
    return Signed(key=signer.public_key.id, envelope=envelope)


def is_signed_by(lock: ReleaseLock, signer: Signer | None) -> bool:
    """Whether nothing is left to sign: the lock holds this signer's signature, or needs none."""
    if signer is None:
        return True
    if isinstance(lock.signed, msgspec.UnsetType):
        return False
    try:
        check_signature(lock.digest, lock.signed.data, [signer.public_key])
    except ProofFailed:
        return False
    return True


def trusted_keys(project: Project) -> tuple[PublicKey, ...]:
    """The public keys that the settings pin."""
    lines = project.settings.signing.trusted_keys
    return tuple(read_key(line, name="signing.trusted_keys") for line in lines)


def _files(artifact: VerifiedArtifact, signer: Signer | None) -> dict[str, bytes]:
    kept = recorded(artifact)
    if signer is None:
        return {PROVENANCE_FILE: kept.provenance, SBOM_FILE: kept.sbom}
    return {
        SIGNATURE_FILE: seal(release_statement(artifact.digest), signer),
        SIGNED_PROVENANCE_FILE: seal(kept.provenance, signer),
        SBOM_FILE: kept.sbom,
    }
