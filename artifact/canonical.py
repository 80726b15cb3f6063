"""Canonical JSON: one value has exactly one spelling, so a digest of the bytes is an identity.

Keys sorted, no white space, UTF-8, numbers as Python's shortest round-trip form, one newline
at the end. Reading refuses every other spelling of the same value, which also refuses
duplicate keys, NaN and trailing data. Pairs with manifest.py and release.py.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


class NotCanonical(ValueError):
    """The bytes are not the canonical spelling of a value of the expected type."""


def encode(value: Any) -> bytes:
    """Return ``value`` (a msgspec Struct or plain JSON data) as canonical JSON bytes."""
    plain = msgspec.to_builtins(value)
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def decode(data: bytes, as_type: type[T]) -> T:
    """Return the value of ``as_type`` that ``data`` spells canonically.

    Raises:
        NotCanonical: not JSON, not of the type (unknown keys included), or spelt another way.
    """
    try:
        # Straight to the type: what is not of it is refused before memory is spent on it.
        value = msgspec.json.decode(data, type=as_type)
        again = encode(value)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise NotCanonical(str(error)) from None
    if again != data:
        raise NotCanonical("the bytes are not in canonical form")
    return value
