"""Canonical JSON: one value, one spelling."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifact.canonical import NotCanonical, decode, encode
from artifact.manifest import File, Manifest
from tests.kit.folders import CONTENT, manifest_of

SHA = "0" * 64
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_every_json_value_survives_a_round_trip(value: object) -> None:
    """What is written is read back, and written again to the same bytes."""
    data = encode(value)

    again = decode(data, object)

    assert encode(again) == data


def test_the_order_of_keys_does_not_change_the_bytes() -> None:
    """Two spellings of one mapping give one identity."""
    assert encode({"b": 1, "a": 2}) == encode({"a": 2, "b": 1}) == b'{"a":2,"b":1}\n'


@pytest.mark.parametrize(
    ("reason", "data"),
    [
        ("white space", b'{"path": "a","sha256":"%s","size":1}\n' % SHA.encode()),
        ("no newline", b'{"path":"a","sha256":"%s","size":1}' % SHA.encode()),
        ("keys out of order", b'{"size":1,"path":"a","sha256":"%s"}\n' % SHA.encode()),
        ("a key twice", b'{"path":"b","path":"a","sha256":"%s","size":1}\n' % SHA.encode()),
        ("an unknown key", b'{"extra":1,"path":"a","sha256":"%s","size":1}\n' % SHA.encode()),
        ("a missing key", b'{"path":"a","size":1}\n'),
        ("a wrong type", b'{"path":"a","sha256":"%s","size":"1"}\n' % SHA.encode()),
        ("an upper-case digest", b'{"path":"a","sha256":"%s","size":1}\n' % (b"A" * 64)),
        ("a negative size", b'{"path":"a","sha256":"%s","size":-1}\n' % SHA.encode()),
        ("trailing data", b'{"path":"a","sha256":"%s","size":1}\n{}\n' % SHA.encode()),
        ("not UTF-8", b'{"path":"\xff","sha256":"%s","size":1}\n' % SHA.encode()),
        ("not a number", b'{"path":"a","sha256":"%s","size":NaN}\n' % SHA.encode()),
        ("deep nesting", b"[" * 100_000),
        ("nothing", b""),
    ],
)
def test_every_other_spelling_is_refused(reason: str, data: bytes) -> None:
    """Reading accepts the canonical bytes and nothing else."""
    with pytest.raises(NotCanonical):
        decode(data, File)


def test_a_manifest_reads_back_as_it_was_written() -> None:
    """The types and the bytes say the same."""
    manifest = manifest_of(CONTENT)

    assert decode(encode(manifest), Manifest) == manifest


def test_a_manifest_with_an_unknown_key_is_refused_by_name() -> None:
    """An unknown key may carry a promise that this version would break."""
    plain = json.loads(encode(manifest_of(CONTENT)))
    plain["promise"] = True

    with pytest.raises(NotCanonical, match="promise"):
        decode(encode(plain), Manifest)
