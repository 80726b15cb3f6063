"""Trace context of a request: W3C ``traceparent`` and ``tracestate``, and AWS's ``X-Amzn-Trace-Id``.

Read strictly; what is malformed counts as not sent, as the specification demands, and nobody who sent
none gets one. Our part of the trace is one span, named in the answer and in the log, so that the
caller's spans and our lines can be joined. Sources: W3C Trace Context, level 2 (candidate
recommendation of 2024-03-28); AWS X-Ray developer guide, "Tracing header"; Elastic Load Balancing,
"Request tracing".
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

TRACEPARENT, TRACESTATE, AMAZON = b"traceparent", b"tracestate", b"x-amzn-trace-id"

MAX_MEMBERS = 32
MAX_STATE_BYTES = 4096
"""Longest ``tracestate`` that is passed on: 32 members may be far longer, the specification asks for 512."""
MAX_AMAZON_BYTES = 1024

_SAMPLED = 0x01
_RANDOM = 0x02
_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", flags=re.DOTALL)
_MEMBER = re.compile(
    rb"([a-z0-9][a-z0-9_\-*/@]{0,255})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_FIELD = re.compile(rb"([A-Za-z][A-Za-z0-9_-]{0,63})=([\x21-\x3a\x3c\x3e-\x7e]{1,256})")
_ROOT = re.compile(rb"1-([0-9a-f]{8})-([0-9a-f]{24})")
_SPAN = re.compile(rb"[0-9a-f]{16}")
_WHITE = b" \t"


@dataclass(frozen=True)
class Parent:
    """A valid ``traceparent``: lower-case hex of 32 and 16 digits. ``random``: flag of level 2."""

    trace_id: str
    span_id: str
    sampled: bool
    random: bool = False


@dataclass(frozen=True)
class Amazon:
    """A valid ``X-Amzn-Trace-Id``. ``sampled`` None: the caller leaves it open or does not say."""

    root: str
    parent: str | None = None
    sampled: bool | None = None

    @property
    def trace_id(self) -> str:
        """The same id as W3C writes it: without version and dashes."""
        return self.root[2:].replace("-", "")


@dataclass(frozen=True)
class Trace:
    """What came in, and the id of our own span. One of the two is there, or both."""

    parent: Parent | None
    state: bytes
    amazon: Amazon | None
    span_id: str

    def headers(self) -> list[tuple[bytes, bytes]]:
        """What the answer carries: each context that came, with our span in the place of the parent."""
        found = []
        if self.parent is not None:
            flags = self.parent.sampled * _SAMPLED | self.parent.random * _RANDOM
            value = f"00-{self.parent.trace_id}-{self.span_id}-{flags:02x}"
            found.append((TRACEPARENT, value.encode("ascii")))
            if self.state:
                found.append((TRACESTATE, self.state))
        if self.amazon is not None:
            sampled = "" if self.amazon.sampled is None else f";Sampled={self.amazon.sampled:d}"
            value = f"Root={self.amazon.root};Parent={self.span_id}{sampled}"
            found.append((AMAZON, value.encode("ascii")))
        return found

    def facts(self) -> dict[str, object]:
        """For the log. ``trace_id`` in W3C's form; ``xray_root`` as AWS's consoles search for it."""
        found: dict[str, object] = {}
        if self.amazon is not None:
            found = {"trace_id": self.amazon.trace_id, "xray_root": self.amazon.root}
            if self.amazon.parent is not None:
                found["parent_id"] = self.amazon.parent
            if self.amazon.sampled is not None:
                found["sampled"] = self.amazon.sampled
        if self.parent is not None:
            found["trace_id"], found["parent_id"] = self.parent.trace_id, self.parent.span_id
            found["sampled"] = self.parent.sampled
        return {**found, "span_id": self.span_id}


def trace_of(parents: Sequence[bytes], states: Sequence[bytes], amazon: Sequence[bytes]) -> Trace | None:
    """Return the context in the values of the three headers, or None where there is no valid one.

    Each is a list, because a header may come twice: two parents are none, states are joined.
    """
    parent = parse_parent(parents[0]) if len(parents) == 1 else None
    found = parse_amazon(amazon[0]) if len(amazon) == 1 else None
    if parent is None and found is None:
        return None
    state = parse_state(b",".join(states)) if parent is not None and states else b""
    return Trace(parent=parent, state=state, amazon=found, span_id=os.urandom(8).hex())


def parse_parent(value: bytes) -> Parent | None:
    """A ``traceparent``, or None. Versions after 00 are read as far as this one knows them."""
    match = _PARENT.fullmatch(value.strip(_WHITE))
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == b"ff" or (version == b"00" and more is not None):
        return None
    if not trace_id.strip(b"0") or not span_id.strip(b"0"):
        return None
    bits = int(flags, 16)
    return Parent(
        trace_id=trace_id.decode(),
        span_id=span_id.decode(),
        sampled=bool(bits & _SAMPLED),
        random=bool(bits & _RANDOM),
    )


def parse_state(value: bytes) -> bytes:
    """A ``tracestate`` in its plain form, or nothing where any member is malformed or comes twice."""
    members = [member for part in value.split(b",") if (member := part.strip(_WHITE))]
    plain = b",".join(members)
    if len(members) > MAX_MEMBERS or len(plain) > MAX_STATE_BYTES:
        return b""
    matches = [_MEMBER.fullmatch(member) for member in members]
    keys = {match[1] for match in matches if match is not None}
    return plain if len(keys) == len(members) else b""


def parse_amazon(value: bytes) -> Amazon | None:
    """An ``X-Amzn-Trace-Id``, or None. Fields that we do not know (``Self``, ``Lineage``, …) are allowed."""
    if len(value) > MAX_AMAZON_BYTES:
        return None
    fields: dict[bytes, bytes] = {}
    for part in value.split(b";"):
        match = _FIELD.fullmatch(part.strip(_WHITE))
        if match is None or match[1] in fields:
            return None
        fields[match[1]] = match[2]
    root, parent, sampled = (fields.get(name) for name in (b"Root", b"Parent", b"Sampled"))
    if root is None or not _is_root(root):
        return None
    if parent is not None and not (_SPAN.fullmatch(parent) and parent.strip(b"0")):
        return None
    if sampled not in {None, b"0", b"1", b"?"}:
        return None
    return Amazon(
        root=root.decode(),
        parent=None if parent is None else parent.decode(),
        sampled={b"0": False, b"1": True}.get(sampled or b""),
    )


def _is_root(value: bytes) -> bool:
    match = _ROOT.fullmatch(value)
    return match is not None and bool(match[2].strip(b"0"))
