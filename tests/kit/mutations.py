"""Requests as broken and hostile clients send them: valid ones with seeded damage.

Some damage keeps the framing right, so that it reaches the decoders; some spoils the framing. Each
request carries a canary, a string that must come out of the server nowhere.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

CANARIES = tuple(f"canary{number:03d}zq" for number in range(100))

_ODD_VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1e308, 10**400, 2**63, -(2**63) - 1, 0.1, [], {}, [[]], [{}]),
    *(
        "",
        "\0",
        "\ud800",
        "\ufffe",
        "é" * 40,
        "w1 " * 60,
        {"": ""},
        {"text": None},
        ["w1", None],
        [["w1", "w2"]],
    ),
)
_ODD_TEXT = (
    *(
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"1e999",
        b"-",
        b"01",
        b"0x1",
        b"undefined",
        b"'w1'",
        b"/*",
        b"\x00",
    ),
    *(b'"\\ud800"', b'"\\u0000"', b'"\xff"', b"\xef\xbb\xbf", b"9" * 5000, b"1." + b"0" * 5000),
    *(b"[" * 200, b"[" * 200 + b"]" * 200, b'{"a":' * 200),
)
_ODD_BYTES = (
    *(
        b"\r",
        b"\n",
        b"\r\n",
        b"\r\n\r\n",
        b"\0",
        b" ",
        b"\t",
        b":",
        b",",
        b";",
        b"\x80",
        b"\xff" * 9,
        b"%00",
        b"%",
    ),
    *(b"+", b"0", b"-1", b"99999999999999999999999", b"chunked", b"HTTP/1.0", b"HTTP/9.9", b"a" * 3000),
    *(b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n"),
    *(b"Connection: close\r\n", b"Connection: Upgrade\r\n", b"Upgrade: h2c\r\n", b"x: y\r\n" * 60),
)
_METHODS = ("GET", "POST", "POST", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "TRACE", "BREW")
_PATHS = (
    "/invocations",
    "/invocations",
    "/invocations",
    "/ping",
    "/metrics",
    "/",
    "/../ping",
    "//ping",
    "/v1/x",
    "*",
)
_SECRET_HEADERS = (
    "Authorization: Bearer",
    "Cookie: session=",
    "X-Api-Key:",
    "X-Amz-Security-Token:",
    "Referer:",
)


def mutated(chance: random.Random) -> bytes:
    """One damaged request."""
    canary = chance.choice(CANARIES)
    body = spoiled(chance, _valid(chance, canary))
    data = _framed(chance, canary, body)
    if chance.random() < 0.5:
        for _ in range(chance.choice((1, 1, 2, 5))):
            data = _damaged(chance, data)
    return data


def spoiled(chance: random.Random, value: Any) -> bytes:
    """A request's JSON ``value`` as a body: a part of it odd, or some bytes, or (one in five) as it is."""
    kind = chance.random()
    if kind < 0.35:
        return json.dumps(_twisted(chance, value)).encode()
    text = json.dumps(value).encode()
    if kind < 0.6:
        at = chance.choice([at for at, byte in enumerate(text) if byte in b'"[{:,}] '])
        return text[:at] + chance.choice(_ODD_TEXT) + text[at + chance.randrange(2) :]
    if kind < 0.8:
        return _damaged(chance, text)
    return text


def _valid(chance: random.Random, canary: str) -> Any:
    text = f"w1 {canary} w2"
    inputs: Any = chance.choice([text, [text, "w3"], {"text": text, "text_pair": "w4"}, [{"text": text}]])
    value: dict[str, Any] = {"inputs": inputs}
    if chance.random() < 0.5:
        value["parameters"] = {}
    return value


def _twisted(chance: random.Random, value: Any) -> Any:
    """``value`` with one part in it exchanged for something odd."""
    if isinstance(value, dict) and value and chance.random() < 0.7:
        key = chance.choice(sorted(value))
        return {**value, key: _twisted(chance, value[key])}
    if isinstance(value, list) and value and chance.random() < 0.7:
        at = chance.randrange(len(value))
        return [*value[:at], _twisted(chance, value[at]), *value[at + 1 :]]
    return chance.choice(_ODD_VALUES)


def _framed(chance: random.Random, canary: str, body: bytes) -> bytes:
    method, path = chance.choice(_METHODS), chance.choice(_PATHS)
    if chance.random() < 0.3:
        path += f"?token={canary}"
    lines = [f"{method} {path} HTTP/1.1", "Host: a", f"{chance.choice(_SECRET_HEADERS)} {canary}"]
    if chance.random() < 0.95:
        lines.append("Content-Type: application/json")
    if chance.random() < 0.25:
        lines.append("Transfer-Encoding: chunked")
        return _head(lines) + _chunked(chance, body)
    lines.append(f"Content-Length: {len(body)}")
    return _head(lines) + body


def _head(lines: list[str]) -> bytes:
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def _chunked(chance: random.Random, body: bytes) -> bytes:
    at = chance.randrange(len(body) + 1)
    parts = [part for part in (body[:at], body[at:]) if part]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def _damaged(chance: random.Random, data: bytes) -> bytes:
    damage: Callable[[random.Random, bytes, int, int], bytes] = chance.choice(
        (_flip, _cut, _repeat, _insert, _insert, _truncate, _swap)
    )
    start = chance.randrange(len(data) + 1)
    return damage(chance, data, start, min(len(data), start + chance.choice((1, 2, 8, 40))))


def _flip(chance: random.Random, data: bytes, start: int, end: int) -> bytes:
    return data[:start] + bytes(byte ^ (1 << chance.randrange(8)) for byte in data[start:end]) + data[end:]


def _cut(_chance: random.Random, data: bytes, start: int, end: int) -> bytes:
    return data[:start] + data[end:]


def _repeat(chance: random.Random, data: bytes, start: int, end: int) -> bytes:
    return data[:start] + data[start:end] * chance.choice((2, 3, 100)) + data[end:]


def _insert(chance: random.Random, data: bytes, start: int, _end: int) -> bytes:
    return data[:start] + chance.choice(_ODD_BYTES) + data[start:]


def _truncate(_chance: random.Random, data: bytes, start: int, _end: int) -> bytes:
    return data[:start]


def _swap(_chance: random.Random, data: bytes, start: int, end: int) -> bytes:
    return data[end:] + data[start:end] + data[:start]
