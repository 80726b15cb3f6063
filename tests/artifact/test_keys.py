"""One kind of public key, in one spelling."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from artifact.keys import KeyUnusable, read_key, read_keys
from tests.kit.keys import Key

KEY, OTHER = Key(), Key()
_PEM = serialization.Encoding.PEM
_SPKI = serialization.PublicFormat.SubjectPublicKeyInfo


def _pem(private: object) -> str:
    public: str = private.public_key().public_bytes(_PEM, _SPKI).decode()  # type: ignore[attr-defined]
    return public


def test_a_key_reads_back_from_pem_and_from_its_line() -> None:
    """Also from the PEM that the library writes, with another end of line."""
    for text in (KEY.public.pem, KEY.public.line, _pem(KEY.private), KEY.public.pem.replace("\n", "\r\n")):
        assert read_key(text, name="k") == KEY.public

    assert KEY.public.pem == _pem(KEY.private)


def test_several_keys_fit_on_one_line() -> None:
    """As the environment carries them."""
    assert read_keys(f"{KEY.public.line},{OTHER.public.line}", name="k") == (KEY.public, OTHER.public)


UNUSABLE = {
    "RSA": _pem(rsa.generate_private_key(65537, 2048)),
    "Ed25519": _pem(ed25519.Ed25519PrivateKey.generate()),
    "another curve": _pem(ec.generate_private_key(ec.SECP384R1())),
    "another curve of that size": _pem(ec.generate_private_key(ec.SECP256K1())),
    "a compressed point": KEY.private.public_key()
    .public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    .hex(),
    "two keys": KEY.public.pem + OTHER.public.pem,
    "a certificate": KEY.public.pem.replace("PUBLIC KEY", "CERTIFICATE"),
    "no end": KEY.public.pem[:-10],
    "another end of the same length": KEY.public.pem.replace("END PUBLIC", "END SECRET"),
    "nothing": "",
    "a wrong letter": KEY.public.line[:-3] + "!==",
    "too much": KEY.public.line + KEY.public.line,
}


@pytest.mark.parametrize("text", UNUSABLE.values(), ids=UNUSABLE)
def test_anything_else_is_refused(text: str) -> None:
    """No envelope and no file chooses an algorithm."""
    with pytest.raises(KeyUnusable) as refused:
        read_key(text, name="release.pub")

    assert "release.pub" in refused.value.what
    assert refused.value.exit_code == 2


def test_a_private_key_is_refused_by_its_own_words(tmp_path: Path) -> None:
    """Whoever mixed the two up should know what they just handed around."""
    text = KEY.write_private(tmp_path / "key.pem").read_text()

    with pytest.raises(KeyUnusable, match="private key"):
        read_key(text, name="key.pem")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not on this machine")
def test_openssl_computes_the_same_id(tmp_path: Path) -> None:
    """Nobody needs us to know whose key a signature names."""
    public = KEY.write_public(tmp_path / "release.pub.pem")
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-in", str(public), "-outform", "DER"], capture_output=True, check=True
    ).stdout
    digest = subprocess.run(["openssl", "dgst", "-sha256"], input=der, capture_output=True, check=True).stdout

    assert digest.decode().split()[-1] == KEY.public.id
