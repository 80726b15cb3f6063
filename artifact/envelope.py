"""DSSE envelopes: bytes with signatures over them, read as strictly as a manifest.

Source: secure-systems-lab/dsse:protocol.md and envelope.md, version 1. Verified are the very
bytes of the payload; nothing is spelt anew. Stricter than the specification where it leaves
room: no unknown or repeated keys, canonical base64, a ``keyid`` with every signature.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from artifact.canonical import encode
from artifact.errors import ProofFailed
from artifact.manifest import Record

MAX_ENVELOPE_BYTES = 4 * 1024 * 1024
MAX_SIGNATURES = 16
KeyId = Annotated[str, msgspec.Meta(pattern="^[!-~]{1,256}$")]
"""Printable, because it is shown; ours are 64 hex digits."""


class EnvelopeUnreadable(ProofFailed):
    """The file is no envelope, or one that says something twice or loosely."""

    id = "envelope-unreadable"

    def __init__(self, *, why: str) -> None:
        super().__init__(
            what="the signature's envelope cannot be read",
            why=why,
            fix="fetch the release's envelope again, or sign anew with `traceship sign`",
        )


class SignatureEmpty(ProofFailed):
    """An envelope around something that nobody signed."""

    id = "signature-empty"

    def __init__(self, *, why: str) -> None:
        super().__init__(
            what="the envelope holds no signature",
            why=why,
            fix="fetch the release's envelope again, or sign anew with `traceship sign`",
        )


class Signature(Record, frozen=True, kw_only=True):
    """``sig`` in base64; ``keyid`` says which key to try and proves nothing."""

    keyid: KeyId
    sig: str

    @property
    def data(self) -> bytes:
        return _bytes_of(self.sig, "a signature")


class Envelope(Record, frozen=True, kw_only=True, rename="camel"):
    """``payload`` in base64, of the type that ``payload_type`` names."""

    payload: str
    payload_type: str
    signatures: tuple[Signature, ...]

    @property
    def data(self) -> bytes:
        """The payload's own bytes."""
        return _bytes_of(self.payload, "the payload")

    @property
    def signed(self) -> bytes:
        """What a signature is made over."""
        return pae(self.payload_type, self.data)


@dataclass(frozen=True)
class RawSignature:
    """A signature's bytes and the id of the key that made it."""

    keyid: str
    signature: bytes


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: type and payload with their lengths in bytes."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def write_envelope(payload_type: str, payload: bytes, *signatures: RawSignature) -> bytes:
    """The envelope as canonical JSON."""
    envelope = Envelope(
        payload=_text_of(payload),
        payload_type=payload_type,
        signatures=tuple(Signature(keyid=s.keyid, sig=_text_of(s.signature)) for s in signatures),
    )
    return encode(envelope)


def read_envelope(data: bytes) -> Envelope:
    """Return the envelope that ``data`` spells; no signature is verified by this.

    Raises:
        EnvelopeUnreadable, SignatureEmpty: see there.
    """
    if len(data) > MAX_ENVELOPE_BYTES:
        raise EnvelopeUnreadable(why=f"it has {len(data)} bytes, the limit is {MAX_ENVELOPE_BYTES}")
    try:
        envelope = msgspec.convert(strict_json(data), type=Envelope)
    except (msgspec.ValidationError, ValueError, RecursionError) as error:
        raise EnvelopeUnreadable(why=str(error)) from None
    if not envelope.signatures:
        raise SignatureEmpty(why="its list of signatures is empty")
    if len(envelope.signatures) > MAX_SIGNATURES:
        raise EnvelopeUnreadable(
            why=f"it has {len(envelope.signatures)} signatures, the limit is {MAX_SIGNATURES}"
        )
    if len({signature.keyid for signature in envelope.signatures}) != len(envelope.signatures):
        raise EnvelopeUnreadable(why="it has two signatures of one key")
    if not all(signature.data for signature in envelope.signatures):
        raise SignatureEmpty(why="a signature of it has no bytes")
    _bytes_of(envelope.payload, "the payload")
    return envelope


def strict_json(data: bytes) -> Any:
    """The JSON value that ``data`` spells in UTF-8.

    Raises:
        ValueError: not JSON, not UTF-8, an object with the same key twice, or half of a surrogate pair,
            which is no character and has no bytes.
    """
    value = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_no_constant)
    json.dumps(value, ensure_ascii=False).encode()
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object has the same key twice")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _bytes_of(text: str, what: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise EnvelopeUnreadable(why=f"{what} is not base64") from None
    if _text_of(data) != text:
        raise EnvelopeUnreadable(why=f"{what} is not in canonical base64")
    return data


def _text_of(data: bytes) -> str:
    return base64.b64encode(data).decode()
