"""Whoever signs, what comes out verifies: here, with another implementation, and with openssl."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from moto import mock_aws
from securesystemslib.dsse import Envelope as TheirEnvelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey

from artifact.aws import AwsDenied, AwsRefused
from artifact.canonical import encode
from artifact.envelope import pae, read_envelope
from artifact.keys import PublicKey, read_key
from artifact.statement import PAYLOAD_TYPE, release_statement
from artifact.trust import SignatureWrong, check_signature
from cli.signers import (
    ENV_PASSPHRASE,
    KeyFile,
    KeyThere,
    KmsKey,
    SignatureNotOurs,
    SigningKeyUnusable,
    create_key,
    key_file,
    seal,
)
from tests.kit.keys import Key

KEY = Key()
DIGEST = "ab" * 32
PAYLOAD = release_statement(DIGEST)


def _theirs(key: PublicKey) -> SSlibKey:
    """A public key as securesystemslib has it, under the id that we give it."""
    return SSlibKey(key.id, "ecdsa", "ecdsa-sha2-nistp256", {"public": key.pem})


@pytest.fixture
def signer(tmp_path: Path) -> KeyFile:
    return KeyFile(KEY.write_private(tmp_path / "release.pem"), passphrase=None)


def test_another_implementation_verifies_what_we_sign(signer: KeyFile) -> None:
    """securesystemslib, which is TUF's and in-toto's; and it refuses what was changed."""
    envelope = json.loads(seal(PAYLOAD, signer))
    changed = {**envelope, "payload": base64.b64encode(PAYLOAD.replace(b"ab", b"cd")).decode()}

    found = TheirEnvelope.from_dict(json.loads(json.dumps(envelope))).verify([_theirs(KEY.public)], 1)

    assert list(found) == [KEY.public.id]
    with pytest.raises(VerificationError):
        TheirEnvelope.from_dict(changed).verify([_theirs(KEY.public)], 1)


def test_we_verify_what_another_implementation_signs() -> None:
    """And refuse it once it was changed; their JSON is spelt in another way than ours."""
    signer = CryptoSigner(KEY.private, _theirs(KEY.public))
    envelope = TheirEnvelope(PAYLOAD, PAYLOAD_TYPE, {})
    envelope.sign(signer)
    data = json.dumps(envelope.to_dict(), indent=4).encode()
    other = {**envelope.to_dict(), "payload": base64.b64encode(release_statement("cd" * 32)).decode()}

    assert check_signature(DIGEST, data, [KEY.public]) == KEY.public
    with pytest.raises(SignatureWrong):
        check_signature("cd" * 32, encode(other), [KEY.public])


def test_both_implementations_sign_the_same_bytes() -> None:
    """DSSE's pre-authentication encoding, also of a type and a payload that are not ASCII."""
    kind, payload = "application/ü", b"\x00\xff\n"

    assert pae(kind, payload) == TheirEnvelope(payload, kind, {}).pae()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not on this machine")
def test_openssl_verifies_what_we_sign(signer: KeyFile, tmp_path: Path) -> None:
    """By hand, with a file of the signed bytes and one of the signature."""
    envelope = read_envelope(seal(PAYLOAD, signer))
    public = KEY.write_public(tmp_path / "release.pub.pem")
    (tmp_path / "signed").write_bytes(envelope.signed)
    (tmp_path / "signature").write_bytes(envelope.signatures[0].data)
    command = ["openssl", "dgst", "-sha256", "-verify", public, "-signature", tmp_path / "signature"]

    found = subprocess.run([*command, tmp_path / "signed"], capture_output=True, text=True, check=True)

    assert found.stdout == "Verified OK\n"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not on this machine")
@pytest.mark.parametrize("form", ["pkcs8", "sec1"])
def test_a_key_that_openssl_made_signs(tmp_path: Path, form: str) -> None:
    """In either form in which openssl writes one."""
    path = tmp_path / "release.pem"
    made = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path]
    if form == "sec1":
        made = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path]
    subprocess.run(made, check=True, capture_output=True)

    signer = key_file(path)

    assert check_signature(DIGEST, seal(PAYLOAD, signer), [signer.public_key]) == signer.public_key


def test_a_new_key_is_its_owner_s_alone_and_never_overwrites_one(tmp_path: Path) -> None:
    """Nobody else on the machine reads it, and no second run destroys it."""
    path = tmp_path / "release.pem"

    made = create_key(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert key_file(path).public_key == made.public_key
    with pytest.raises(KeyThere) as refused:
        create_key(path)
    assert refused.value.exit_code == 5
    assert key_file(path).public_key == made.public_key


def test_a_key_is_encrypted_with_the_environment_s_passphrase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, or with another one, it cannot sign."""
    path = tmp_path / "release.pem"
    monkeypatch.setenv(ENV_PASSPHRASE, "correct horse")
    made = create_key(path)

    assert b"ENCRYPTED" in path.read_bytes()
    assert key_file(path).public_key == made.public_key
    monkeypatch.setenv(ENV_PASSPHRASE, "battery staple")
    with pytest.raises(SigningKeyUnusable, match="passphrase is wrong"):
        key_file(path)
    monkeypatch.delenv(ENV_PASSPHRASE)
    with pytest.raises(SigningKeyUnusable, match=f"{ENV_PASSPHRASE} is not set"):
        key_file(path)


def _pem(private: Any) -> bytes:
    data: bytes = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return data


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (_pem(ec.generate_private_key(ec.SECP384R1())), "P-256"),
        (_pem(ec.generate_private_key(ec.SECP256K1())), "P-256"),
        (_pem(rsa.generate_private_key(65537, 2048)), "P-256"),
        (KEY.public.pem.encode(), "no private key"),
        (b"", "no private key"),
        (None, "No such file"),
    ],
)
def test_a_file_that_cannot_sign_says_why(tmp_path: Path, content: bytes | None, why: str) -> None:
    """Arguments that are wrong, exit code 2; the key's bytes are in no message."""
    path = tmp_path / "release.pem"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(SigningKeyUnusable, match=why) as refused:
        key_file(path)

    assert refused.value.exit_code == 2
    assert (f"`traceship key create --out {path}`" in refused.value.fix) is (content is None)


class KmsThatSignsDigests:
    """KMS as AWS documents it: MessageType DIGEST signs the 32 bytes as they are."""

    def __init__(self, key: Key, *, signs_with: Key | None = None, usage: str = "SIGN_VERIFY") -> None:
        self.key, self.signs_with, self.usage = key, signs_with or key, usage
        self.asked: list[dict[str, Any]] = []

    def get_public_key(self, **asked: Any) -> dict[str, Any]:
        self.asked.append(asked)
        return {"KeyId": "arn:key", "PublicKey": self.key.public.der, "KeyUsage": self.usage}

    def sign(self, **asked: Any) -> dict[str, Any]:
        self.asked.append(asked)
        assert (asked["MessageType"], asked["SigningAlgorithm"]) == ("DIGEST", "ECDSA_SHA_256")
        algorithm = ec.ECDSA(Prehashed(SHA256()))
        return {"Signature": self.signs_with.private.sign(asked["Message"], algorithm)}


def test_a_key_of_kms_signs_and_only_the_digest_leaves_the_machine() -> None:
    """The ARN is used once it is known: an alias could be moved between two calls."""
    kms = KmsThatSignsDigests(KEY)

    envelope = seal(PAYLOAD, KmsKey("alias/signing", kms))

    assert check_signature(DIGEST, envelope, [KEY.public]) == KEY.public
    assert kms.asked[0] == {"KeyId": "alias/signing"}
    assert kms.asked[1]["KeyId"] == "arn:key"
    assert kms.asked[1]["Message"] == hashlib.sha256(pae(PAYLOAD_TYPE, PAYLOAD)).digest()


def test_a_signature_that_the_signer_s_own_key_refuses_is_never_used() -> None:
    """A key that was swapped, or a service that signs something else."""
    kms = KmsThatSignsDigests(KEY, signs_with=Key())

    with pytest.raises(SignatureNotOurs, match="alias/signing"):
        seal(PAYLOAD, KmsKey("alias/signing", kms))


def test_a_p256_key_that_is_for_something_else_is_refused() -> None:
    """KMS has them for key agreement too."""
    with pytest.raises(SigningKeyUnusable, match="KEY_AGREEMENT"):
        KmsKey("alias/agreement", KmsThatSignsDigests(KEY, usage="KEY_AGREEMENT"))


@pytest.fixture
def moto_kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        yield boto3.client("kms", region_name="us-east-1")


def test_a_service_that_hashes_the_digest_again_is_found_out(moto_kms: Any) -> None:
    """moto does: it knows no MessageType DIGEST (local_aws does, tests/local_aws/test_signing.py)."""
    key = moto_kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    signer = KmsKey(key, moto_kms)

    assert read_key(signer.public_key.line, name="k") == signer.public_key
    with pytest.raises(SignatureNotOurs):
        seal(PAYLOAD, signer)


@pytest.mark.parametrize(
    ("spec", "usage"),
    [("ECC_NIST_P384", "SIGN_VERIFY"), ("RSA_2048", "SIGN_VERIFY"), ("RSA_2048", "ENCRYPT_DECRYPT")],
)
def test_a_key_of_kms_that_is_of_another_kind_is_refused(moto_kms: Any, spec: str, usage: str) -> None:
    """Before anything is signed."""
    key = moto_kms.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["KeyId"]

    with pytest.raises(SigningKeyUnusable):
        KmsKey(key, moto_kms)


def test_a_key_of_kms_that_is_not_there_is_said_in_our_words(moto_kms: Any) -> None:
    """What KMS answered, as what, why and fix."""
    with pytest.raises((AwsRefused, AwsDenied)) as refused:
        KmsKey("alias/nothing", moto_kms)

    assert "alias/nothing" in refused.value.what
