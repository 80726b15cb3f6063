"""Public keys that releases are signed with: ECDSA on P-256, and nothing else.

A key comes as PEM, or as one line: the PEM's text without its frame, as settings and environment
carry it. Only the uncompressed SubjectPublicKeyInfo is taken (RFC 5480), so a key has one
spelling and one id, and no envelope can choose an algorithm. ``cryptography`` is imported when a
signature is verified: a server without a pinned key needs none.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from artifact.errors import TraceshipError, UsageError

_BEGIN, _END = "-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"
_P256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + b"\x04"
"""What every uncompressed P-256 key starts with; 64 bytes of coordinates follow."""
_COORDINATES = 64


class KeyUnusable(UsageError):
    """What was given as a public key is none that we verify with."""

    id = "key-unusable"

    def __init__(self, *, name: str, why: str) -> None:
        super().__init__(
            what=f"{name} is not a public key of ours",
            why=why,
            fix="give the public half of an ECDSA P-256 key, see `traceship key show` (docs/signing.md)",
        )


class CryptographyMissing(TraceshipError):
    """A key is pinned, but nothing here can verify a signature."""

    id = "cryptography-missing"

    def __init__(self) -> None:
        super().__init__(
            what="the signature cannot be verified, so nothing is loaded",
            why="a public key is pinned and the package `cryptography` is not installed",
            fix="install the packages of inference_code/requirements.txt",
        )


@dataclass(frozen=True)
class PublicKey:
    """A P-256 key. ``der`` is its SubjectPublicKeyInfo."""

    der: bytes

    @property
    def id(self) -> str:
        """SHA-256 of ``der`` in hex: the ``keyid`` of our signatures, `openssl` computes it too."""
        return hashlib.sha256(self.der).hexdigest()

    @property
    def line(self) -> str:
        """The key on one line, for settings and environment."""
        return base64.b64encode(self.der).decode()

    @property
    def pem(self) -> str:
        """The key as a PEM file's text."""
        rows = [self.line[at : at + 64] for at in range(0, len(self.line), 64)]
        return "\n".join([_BEGIN, *rows, _END, ""])

    def accepts(self, signature: bytes, message: bytes) -> bool:
        """Whether this key made ``signature`` (DER, ECDSA with SHA-256) over ``message``.

        Both values of s that fit are accepted: neither KMS nor other tools keep to the low one, and
        nothing of ours takes a signature's bytes for an identity.

        Raises:
            KeyUnusable: the coordinates are no point of the curve.
            CryptographyMissing: see there.
        """
        try:
            from cryptography.exceptions import InvalidSignature
            from cryptography.hazmat.primitives.asymmetric import ec
            from cryptography.hazmat.primitives.hashes import SHA256
            from cryptography.hazmat.primitives.serialization import load_der_public_key
        except ImportError:
            raise CryptographyMissing from None
        try:
            key = load_der_public_key(self.der)
        except ValueError:
            raise KeyUnusable(name=f"the key {self.id[:12]}", why="it is no point of the curve") from None
        assert isinstance(key, ec.EllipticCurvePublicKey)
        try:
            key.verify(signature, message, ec.ECDSA(SHA256()))
        except InvalidSignature:
            return False
        return True


def read_key(text: str, *, name: str) -> PublicKey:
    """Read PEM, or the one line.

    Args:
        name: of the file or the setting, for the error.

    Raises:
        KeyUnusable: see there.
    """
    stripped = text.strip()
    if "PRIVATE KEY" in stripped:
        raise KeyUnusable(name=name, why="it holds a private key, which must not be handed around")
    if stripped.startswith(_BEGIN):
        if not stripped.endswith(_END):
            raise KeyUnusable(name=name, why=f"it does not end with {_END}")
        stripped = "".join(stripped[len(_BEGIN) : -len(_END)].split())
    try:
        der = base64.b64decode(stripped, validate=True)
    except (binascii.Error, ValueError):
        raise KeyUnusable(name=name, why="it is neither PEM (BEGIN PUBLIC KEY) nor its one line") from None
    return key_of(der, name=name)


def key_of(der: bytes, *, name: str) -> PublicKey:
    """The key whose SubjectPublicKeyInfo is ``der``.

    Raises:
        KeyUnusable: another algorithm, another curve, or a compressed point.
    """
    if not der.startswith(_P256) or len(der) != len(_P256) + _COORDINATES:
        raise KeyUnusable(name=name, why="it is not an ECDSA key on P-256 with an uncompressed point")
    return PublicKey(der=der)


def read_keys(lines: str, *, name: str) -> tuple[PublicKey, ...]:
    """Keys as one line each, with commas between them, as the stacks hand them to the server.

    Raises:
        KeyUnusable: one of them is none.
    """
    return tuple(read_key(line, name=name) for line in lines.split(","))
