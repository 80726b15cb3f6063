"""Who signs: a key file, or a key in AWS KMS that never leaves it. ECDSA on P-256 with SHA-256.

Pairs with ``artifact/keys.py``, which verifies. Every signature is verified here before it is
handed out, so that a key that was swapped under us, or a service that signs something else than it
was asked to, is found before anything is published.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from artifact.aws import AwsClient, translated
from artifact.envelope import RawSignature, pae, write_envelope
from artifact.errors import Conflict, ProofFailed, UsageError
from artifact.keys import KeyUnusable, PublicKey, key_of
from artifact.statement import PAYLOAD_TYPE
from compile.durable import naming

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

KMS = "awskms:"
ENV_PASSPHRASE = "TRACESHIP_KEY_PASSPHRASE"  # noqa: S105 - a variable's name
"""Opens an encrypted key file. A variable, because arguments are seen by everybody on the machine."""


class SigningKeyUnusable(UsageError):
    """What should sign cannot."""

    id = "signing-key-unusable"

    def __init__(self, *, key: str, why: str, absent: bool = False) -> None:
        made = f"make one with `traceship key create --out {key}`" if absent else ""
        given = "give a PEM file that `traceship key create` wrote"
        super().__init__(
            what=f"{key} cannot sign a release",
            why=why,
            fix=f"{made or given}, or give awskms: with an ECC_NIST_P256 key",
        )


class SignatureNotOurs(ProofFailed):
    """What the signer gave back is no signature of its own key over what was asked."""

    id = "signature-not-ours"

    def __init__(self, *, key: str) -> None:
        super().__init__(
            what=f"the signature that {key} made does not verify, so it is not used",
            why="its public key does not accept it for what was to be signed",
            fix="see that the key was not replaced meanwhile and that it signs digests, then run again",
        )


class KeyThere(Conflict):
    """A key lies there already; without it nothing that it signed could be signed again."""

    id = "key-there"

    def __init__(self, *, path: Path) -> None:
        super().__init__(
            what=f"{path} is there already",
            why="a key is never overwritten",
            fix="give another file, or move that one away",
        )


class Signer(Protocol):
    """A private key, wherever it is."""

    @property
    def name(self) -> str:
        """As the settings name it."""

    @property
    def public_key(self) -> PublicKey: ...

    def sign(self, message: bytes) -> bytes:
        """ECDSA with SHA-256 over ``message``, in DER."""


class KeyFile:
    """A PEM file (PKCS#8, or openssl's older form), encrypted or not."""

    def __init__(self, path: Path, *, passphrase: str | None) -> None:
        self.name = str(path)
        self._key = _load(path, passphrase)

    @property
    def public_key(self) -> PublicKey:
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        form = PublicFormat.SubjectPublicKeyInfo
        return key_of(self._key.public_key().public_bytes(Encoding.DER, form), name=self.name)

    def sign(self, message: bytes) -> bytes:
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.hashes import SHA256

        return self._key.sign(message, ECDSA(SHA256()))


class KmsKey:
    """A key of AWS KMS. Only the digest is sent."""

    def __init__(self, key: str, kms: AwsClient) -> None:
        self.name = f"{KMS}{key}"
        self._kms = kms
        with translated(f"read the public key of {key}"):
            found = kms.get_public_key(KeyId=key)
        if found.get("KeyUsage") != "SIGN_VERIFY":
            raise SigningKeyUnusable(key=self.name, why=f"its usage is {found.get('KeyUsage')}")
        # an alias may be moved between two calls; the ARN stays what was read
        self._arn = found["KeyId"]
        try:
            self.public_key = key_of(found["PublicKey"], name=self.name)
        except KeyUnusable as error:
            raise SigningKeyUnusable(key=self.name, why=error.why) from None

    def sign(self, message: bytes) -> bytes:
        with translated(f"sign with {self.name}"):
            answer = self._kms.sign(
                KeyId=self._arn,
                Message=hashlib.sha256(message).digest(),
                MessageType="DIGEST",
                SigningAlgorithm="ECDSA_SHA_256",
            )
        signature: bytes = answer["Signature"]
        return signature


def key_file(path: Path) -> KeyFile:
    """The key in ``path``, opened with the passphrase of the environment.

    Raises:
        SigningKeyUnusable: see there.
    """
    return KeyFile(path, passphrase=os.environ.get(ENV_PASSPHRASE) or None)


def seal(payload: bytes, signer: Signer) -> bytes:
    """An envelope around a statement's bytes, signed and verified.

    Raises:
        SignatureNotOurs: see there.
        AwsDenied, AwsUnreachable, AwsRefused: what KMS said.
    """
    message = pae(PAYLOAD_TYPE, payload)
    signature = signer.sign(message)
    if not signer.public_key.accepts(signature, message):
        raise SignatureNotOurs(key=signer.name)
    return write_envelope(
        PAYLOAD_TYPE, payload, RawSignature(keyid=signer.public_key.id, signature=signature)
    )


def create_key(path: Path) -> KeyFile:
    """Make a key, encrypted with the environment's passphrase if there is one, readable by its owner only.

    Raises:
        KeyThere: see there.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    passphrase = os.environ.get(ENV_PASSPHRASE)
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
    data = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise KeyThere(path=path) from None
    try:
        with naming(path), os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
    except BaseException:  # half a key is none, and would be in the way of the next attempt
        path.unlink()
        raise
    return key_file(path)


def _load(path: Path, passphrase: str | None) -> EllipticCurvePrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        data = path.read_bytes()
    except OSError as error:
        absent = isinstance(error, FileNotFoundError)
        raise SigningKeyUnusable(key=str(path), why=error.strerror or str(error), absent=absent) from None
    try:
        key = load_pem_private_key(data, passphrase.encode() if passphrase else None)
    except TypeError:
        why = f"it is encrypted, and {ENV_PASSPHRASE} is not set"
        if passphrase:
            why = f"it is not encrypted, and {ENV_PASSPHRASE} is set"
        raise SigningKeyUnusable(key=str(path), why=why) from None
    except (ValueError, UnsupportedAlgorithm):
        why = "it is no private key in PEM, or the passphrase is wrong"
        raise SigningKeyUnusable(key=str(path), why=why) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise SigningKeyUnusable(key=str(path), why="it is not an ECDSA key on P-256")
    return key
