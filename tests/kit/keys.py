"""Keys and signatures by hand, without ``cli/signers.py``: for tests of what verifies them."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from artifact.envelope import RawSignature, pae, write_envelope
from artifact.keys import PublicKey, key_of
from artifact.statement import PAYLOAD_TYPE, release_statement
from artifact.trust import signature_path

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of the curve P-256 (SEC 2, secp256r1)."""


class Key:
    """A P-256 key that signs whatever a test wants."""

    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())

    @property
    def public(self) -> PublicKey:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        der = self.private.public_key().public_bytes(serialization.Encoding.DER, form)
        return key_of(der, name="a test's key")

    def sign(self, message: bytes) -> bytes:
        return self.private.sign(message, ec.ECDSA(SHA256()))

    def seal(self, payload: bytes, *, kind: str = PAYLOAD_TYPE) -> bytes:
        """An envelope around any payload."""
        return write_envelope(kind, payload, self.sealed(payload, kind=kind))

    def sealed(self, payload: bytes, *, kind: str = PAYLOAD_TYPE) -> RawSignature:
        return RawSignature(keyid=self.public.id, signature=self.sign(pae(kind, payload)))

    def release(self, digest: str) -> bytes:
        """The envelope that vouches for a manifest."""
        return self.seal(release_statement(digest))

    def sign_folder(self, root: Path, digest: str) -> bytes:
        """Put the envelope beside the folder."""
        envelope = self.release(digest)
        signature_path(root).write_bytes(envelope)
        return envelope

    def write_public(self, path: Path) -> Path:
        path.write_text(self.public.pem)
        return path

    def write_private(self, path: Path, passphrase: bytes | None = None) -> Path:
        """A PKCS#8 file."""
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if passphrase is not None:
            encryption = serialization.BestAvailableEncryption(passphrase)
        form = serialization.PrivateFormat.PKCS8
        path.write_bytes(self.private.private_bytes(serialization.Encoding.PEM, form, encryption))
        return path


def other_s(signature: bytes) -> bytes:
    """The second signature that fits the same message and key: s in place of -s."""
    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, ORDER - s)
