"""A pinned key opens what it signed, and nothing else, before anything is loaded."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifact.canonical import encode
from artifact.envelope import (
    MAX_ENVELOPE_BYTES,
    MAX_SIGNATURES,
    EnvelopeUnreadable,
    RawSignature,
    SignatureEmpty,
    pae,
    read_envelope,
    write_envelope,
)
from artifact.errors import ProofFailed
from artifact.keys import PublicKey
from artifact.manifest import MANIFEST
from artifact.serving import MAX_ENV_BYTES
from artifact.statement import (
    PAYLOAD_TYPE,
    RELEASE,
    StatementUnreadable,
    about_manifest,
    release_statement,
)
from artifact.trust import (
    AnotherRelease,
    SignatureMissing,
    SignatureWrong,
    SignedAnother,
    WrongKey,
    check_signature,
    signature_path,
    verify_signed,
)
from artifact.verify import ArtifactChanged
from tests.kit.folders import CONTENT, write_folder, write_manifest
from tests.kit.keys import Key, other_s

KEY, OTHER = Key(), Key()
DIGEST = "ab" * 32
ENVELOPE = KEY.release(DIGEST)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "artifact"


def _changed(**changes: Any) -> bytes:
    return encode({**json.loads(ENVELOPE), **changes})


def test_a_signed_artifact_is_trusted(root: Path) -> None:
    """The positive case of every test below."""
    digest = write_folder(root, CONTENT)
    KEY.sign_folder(root, digest)

    assert verify_signed(root, keys=[KEY.public]).digest == digest
    assert verify_signed(root, keys=[OTHER.public, KEY.public], digest=digest).digest == digest


def test_without_a_pinned_key_nothing_is_asked_for(root: Path) -> None:
    """An artifact that never left this machine needs no signature."""
    digest = write_folder(root, CONTENT)

    assert verify_signed(root).digest == digest
    assert verify_signed(root, digest=digest).digest == digest


def test_a_missing_signature_is_refused_where_a_key_is_pinned(root: Path) -> None:
    """Taking the envelope away is no way around it."""
    write_folder(root, CONTENT)

    with pytest.raises(SignatureMissing, match=r"artifact\.dsse\.json") as refused:
        verify_signed(root, keys=[KEY.public])

    assert refused.value.exit_code == 3


def test_the_wrong_key_is_refused_and_both_are_named() -> None:
    """Whoever reads it can see whose key it is."""
    with pytest.raises(WrongKey) as refused:
        check_signature(DIGEST, OTHER.release(DIGEST), [KEY.public])

    assert OTHER.public.id[:12] in refused.value.why
    assert KEY.public.id[:12] in refused.value.why


def test_a_signature_of_another_key_under_the_pinned_key_s_id_is_refused() -> None:
    """The id only says which key to try."""
    payload = release_statement(DIGEST)
    forged = RawSignature(keyid=KEY.public.id, signature=OTHER.sign(pae(PAYLOAD_TYPE, payload)))

    with pytest.raises(SignatureWrong):
        check_signature(DIGEST, write_envelope(PAYLOAD_TYPE, payload, forged), [KEY.public])


@pytest.mark.parametrize("signatures", [[], [{"keyid": KEY.public.id, "sig": ""}]])
def test_an_empty_signature_is_refused(signatures: list[Any]) -> None:
    """No signatures, or one without bytes."""
    with pytest.raises(SignatureEmpty):
        check_signature(DIGEST, _changed(signatures=signatures), [KEY.public])


def test_the_signature_of_another_manifest_is_refused() -> None:
    """A genuine signature says nothing about anything else."""
    with pytest.raises(SignedAnother, match="cdcdcdcdcdcd"):
        check_signature(DIGEST, KEY.release("cd" * 32), [KEY.public])


def test_an_older_signed_release_is_refused_where_the_lock_names_a_newer_one(root: Path) -> None:
    """The digest that was asked for beats a valid signature: nobody can serve yesterday's model again."""
    older = write_folder(root, CONTENT)
    newer = write_folder(root.with_name("newer"), {**CONTENT, "golden.json": b'{"cases": [1]}\n'})
    KEY.sign_folder(root, older)

    with pytest.raises(AnotherRelease) as refused:
        verify_signed(root, keys=[KEY.public], digest=newer)

    assert older[:12] in refused.value.why
    assert newer[:12] in refused.value.why


def test_a_changed_file_is_refused_though_its_manifest_is_signed(root: Path) -> None:
    """The signature covers the manifest, and the manifest every byte."""
    KEY.sign_folder(root, write_folder(root, CONTENT))
    (root / "golden.json").write_bytes(b'{"cases": [2]}\n')

    with pytest.raises(ArtifactChanged):
        verify_signed(root, keys=[KEY.public])


@settings(max_examples=300, deadline=None)
@given(offset=st.integers(0, len(ENVELOPE) - 1), bit=st.integers(0, 7))
def test_any_flipped_bit_of_the_envelope_is_refused(offset: int, bit: int) -> None:
    """Every time with one of our errors that say what is wrong."""
    changed = bytearray(ENVELOPE)
    changed[offset] ^= 1 << bit

    with pytest.raises(ProofFailed):
        check_signature(DIGEST, bytes(changed), [KEY.public])


@settings(max_examples=200, deadline=None)
@given(offset=st.integers(0, len(ENVELOPE) - 1), byte=st.integers(0, 255))
def test_any_other_byte_of_the_envelope_is_refused_or_says_the_same(offset: int, byte: int) -> None:
    """Only white space between values has more than one spelling."""
    changed = bytearray(ENVELOPE)
    changed[offset] = byte

    try:
        check_signature(DIGEST, bytes(changed), [KEY.public])
    except ProofFailed:
        return
    assert read_envelope(bytes(changed)) == read_envelope(ENVELOPE)


@settings(max_examples=200, deadline=None)
@given(digest=st.text("0123456789abcdef", min_size=64, max_size=64).filter(lambda d: d != DIGEST))
def test_any_other_manifest_is_refused(digest: str) -> None:
    """Whatever was flipped in the manifest, its digest is another one."""
    with pytest.raises(SignedAnother):
        check_signature(digest, ENVELOPE, [KEY.public])


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed folder whose manifest a test changes and puts back."""
    root = tmp_path_factory.mktemp("signed") / "artifact"
    KEY.sign_folder(root, write_folder(root, CONTENT))
    return root


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_of_the_manifest_is_refused(signed: Path, data: st.DataObject) -> None:
    """Also by somebody who writes the digest beside it anew, as anybody can."""
    original = (signed / MANIFEST).read_bytes()
    changed = bytearray(original)
    changed[data.draw(st.integers(0, len(original) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    write_manifest(signed, bytes(changed))

    try:
        with pytest.raises(ProofFailed):
            verify_signed(signed, keys=[KEY.public])
    finally:
        write_manifest(signed, original)


@settings(max_examples=50, deadline=None)
@given(payload=st.binary(max_size=200), kind=st.text("abc/+.-", min_size=1, max_size=20))
def test_an_envelope_reads_back_as_it_was_written(payload: bytes, kind: str) -> None:
    """Whatever is in it, and what is signed is DSSE's encoding of it."""
    envelope = read_envelope(KEY.seal(payload, kind=kind))

    assert (envelope.data, envelope.payload_type) == (payload, kind)
    assert envelope.signed == b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(payload), payload)
    assert KEY.public.accepts(envelope.signatures[0].data, envelope.signed)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=400))
def test_whatever_the_bytes_are_the_answer_is_one_of_our_errors(data: bytes) -> None:
    """A parser that raises something else could be told apart, or crash a server."""
    with pytest.raises(ProofFailed):
        read_envelope(data)


LOOSE: dict[str, Callable[[], bytes]] = {
    "an unknown key": lambda: _changed(ext={}),
    "a missing key": lambda: encode({"payload": "", "signatures": []}),
    "a repeated key": lambda: ENVELOPE.replace(b'{"payload":', b'{"payload":"QQ==","payload":', 1),
    "base64 with line breaks": lambda: _changed(payload=json.loads(ENVELOPE)["payload"] + "\n"),
    "base64 with spare bits": lambda: _changed(payload="QR=="),
    "base64 of URLs": lambda: _changed(payload="-_-_"),
    "not UTF-8": lambda: b'{"payload":"\xff"}',
    "NaN": lambda: b'{"payload":NaN}',
    "something behind it": lambda: ENVELOPE + ENVELOPE,
    "a deep nest": lambda: b"[" * 100_000,
    "half a surrogate pair as type": lambda: ENVELOPE.replace(b'"application/', b'"\\ud800application/'),
    "half a surrogate pair as payload": lambda: ENVELOPE.replace(b'"payload":"', b'"payload":"\\udfff'),
    "half a surrogate pair as key": lambda: ENVELOPE.replace(b'{"payload"', b'{"\\ud800":1,"payload"'),
    "a key id that is no word": lambda: _changed(signatures=[{"keyid": "a\nb", "sig": "QQ=="}]),
    "no key id": lambda: _changed(signatures=[{"sig": "QQ=="}]),
    "two signatures of one key": lambda: _changed(signatures=json.loads(ENVELOPE)["signatures"] * 2),
    "too many signatures": lambda: _changed(
        signatures=[{"keyid": str(n), "sig": "QQ=="} for n in range(MAX_SIGNATURES + 1)]
    ),
}


@pytest.mark.parametrize("loose", LOOSE.values(), ids=LOOSE)
def test_a_loosely_spelt_envelope_is_refused(loose: Callable[[], bytes]) -> None:
    """What could be read in two ways is read in none."""
    with pytest.raises(EnvelopeUnreadable):
        read_envelope(loose())


def test_a_huge_envelope_is_refused_before_it_is_parsed() -> None:
    """A good one with white space behind it, up to the limit and beyond."""
    most = ENVELOPE.ljust(MAX_ENVELOPE_BYTES)

    assert read_envelope(most) == read_envelope(ENVELOPE)
    with pytest.raises(EnvelopeUnreadable, match=str(MAX_ENVELOPE_BYTES)):
        read_envelope(most + b" ")


def test_a_signature_of_a_stranger_beside_the_pinned_key_s_does_no_harm() -> None:
    """That is how keys are rotated: for a while both sign."""
    payload = release_statement(DIGEST)
    envelope = write_envelope(PAYLOAD_TYPE, payload, OTHER.sealed(payload), KEY.sealed(payload))

    assert check_signature(DIGEST, envelope, [KEY.public]) == KEY.public


def test_a_wrong_signature_of_one_pinned_key_is_not_made_good_by_another_s() -> None:
    """Whoever claims a pinned key must be right."""
    payload = release_statement(DIGEST)
    forged = RawSignature(keyid=OTHER.public.id, signature=KEY.sign(b"something else"))
    envelope = write_envelope(PAYLOAD_TYPE, payload, KEY.sealed(payload), forged)

    with pytest.raises(SignatureWrong):
        check_signature(DIGEST, envelope, [KEY.public, OTHER.public])


def test_both_forms_of_an_ecdsa_signature_are_accepted_and_a_padded_one_is_not() -> None:
    """KMS gives either s, and nothing takes a signature for an identity; its DER has one spelling."""
    payload = release_statement(DIGEST)
    message = pae(PAYLOAD_TYPE, payload)
    signature = KEY.sign(message)

    assert KEY.public.accepts(signature, message)
    assert KEY.public.accepts(other_s(signature), message)
    assert not KEY.public.accepts(signature + b"\0", message)
    assert not KEY.public.accepts(b"\x30\x81" + signature[1:], message)
    assert not KEY.public.accepts(bytes.fromhex("3006020100020100"), message)


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (release_statement(DIGEST), "application/json"),
        (encode(about_manifest(DIGEST, "https://slsa.dev/provenance/v1", {})), PAYLOAD_TYPE),
        (encode({**json.loads(release_statement(DIGEST)), "_type": "https://in-toto.io/Statement/v0.1"}),
         PAYLOAD_TYPE),
        (encode({**json.loads(release_statement(DIGEST)), "subject": []}), PAYLOAD_TYPE),
        (encode({**json.loads(release_statement(DIGEST)), "more": 1}), PAYLOAD_TYPE),
        (encode({**json.loads(release_statement(DIGEST)), "subject":
                 json.loads(release_statement(DIGEST))["subject"] * 2}), PAYLOAD_TYPE),
        (release_statement(DIGEST).replace(MANIFEST.encode(), b"something.json"), PAYLOAD_TYPE),
        (b"no JSON", PAYLOAD_TYPE),
        (b"[" * 100_000, PAYLOAD_TYPE),
    ],
)  # fmt: skip
def test_a_statement_of_another_kind_is_no_release_though_the_key_signed_it(
    payload: bytes, kind: str
) -> None:
    """A scanner's report about the same manifest, signed with the same key, does not release it."""
    with pytest.raises(StatementUnreadable):
        check_signature(DIGEST, KEY.seal(payload, kind=kind), [KEY.public])


def test_a_release_says_nothing_but_which_manifest_it_is() -> None:
    """The form that other tools read: one subject, an empty predicate."""
    assert json.loads(base64.b64decode(json.loads(ENVELOPE)["payload"])) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "manifest.json", "digest": {"sha256": DIGEST}}],
        "predicateType": RELEASE,
        "predicate": {},
    }


def test_the_envelope_fits_into_a_container_s_environment() -> None:
    """In base64, below SageMaker's limit for a value, with DER's longest signature."""
    longest = RawSignature(keyid=KEY.public.id, signature=bytes(72))
    envelope = write_envelope(PAYLOAD_TYPE, release_statement(DIGEST), longest)

    assert len(base64.b64encode(envelope)) <= MAX_ENV_BYTES


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to(os.devnull)])
def test_an_envelope_that_is_no_plain_file_is_refused_without_waiting(
    root: Path, make: Callable[[Path], None]
) -> None:
    """A pipe, a folder or a device neither passes nor blocks, and no descriptor is left open."""
    write_folder(root, CONTENT)
    make(signature_path(root))
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count

    with pytest.raises(EnvelopeUnreadable, match="regular file"):
        verify_signed(root, keys=[KEY.public])
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_statement_with_half_a_surrogate_pair_is_refused_though_it_is_signed() -> None:
    """It would end in a file name, a command line or a terminal that cannot hold it."""
    payload = release_statement(DIGEST).replace(b'"predicate":{}', b'"predicate":{"a":["\\ud800"]}')
    assert b"ud800" in payload

    with pytest.raises(StatementUnreadable, match="surrogates"):
        check_signature(DIGEST, KEY.seal(payload), [KEY.public])


def test_the_envelope_lies_beside_the_folder_however_the_folder_is_named(tmp_path: Path) -> None:
    """Never in it: the manifest names every file of the folder."""
    (tmp_path / "artifact").mkdir()
    before = Path.cwd()
    os.chdir(tmp_path / "artifact")
    try:
        assert signature_path(Path()).resolve() == tmp_path / "artifact.dsse.json"
    finally:
        os.chdir(before)
    assert signature_path(tmp_path / "artifact") == tmp_path / "artifact.dsse.json"


def test_without_a_pinned_key_the_library_is_not_even_imported(root: Path) -> None:
    """A server that asks for no signature needs no package for it."""
    write_folder(root, CONTENT)
    code = (
        "import sys; from pathlib import Path; from artifact.trust import verify_signed;"
        f"verify_signed(Path({str(root)!r})); assert 'cryptography' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_without_the_library_a_pinned_key_refuses_everything(root: Path) -> None:
    """Nothing is served because it could not be checked."""
    KEY.sign_folder(root, write_folder(root, CONTENT))
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from pathlib import Path; from artifact.trust import verify_signed; from artifact.keys import *\n"
        f"try: verify_signed(Path({str(root)!r}), keys=[read_key({KEY.public.line!r}, name='k')])\n"
        "except CryptographyMissing as error: print(error.id)"
    )

    found = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )

    assert found.stdout == "cryptography-missing\n"


def test_a_point_off_the_curve_is_no_key() -> None:
    """It has the right form, so only the library can tell."""
    from artifact.keys import KeyUnusable

    off = PublicKey(der=KEY.public.der[:-1] + bytes([KEY.public.der[-1] ^ 1]))

    with pytest.raises(KeyUnusable, match="point of the curve"):
        off.accepts(KEY.sign(b"x"), b"x")
