"""Who is asking, as far as the headers tell: ids for the answer and the log, never a payload.

Every value is of a narrow alphabet and length before it goes anywhere; anything else counts as not sent.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from inference_code.trace import AMAZON, TRACEPARENT, TRACESTATE, Trace, trace_of

REQUEST_ID = b"x-request-id"
INFERENCE_ID = b"x-amzn-sagemaker-inference-id"
ATTRIBUTES = b"x-amzn-sagemaker-custom-attributes"

_CHANCE = random.Random()  # noqa: S311 - an id is no secret; the kernel gives the seed
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_INFERENCE_ID = re.compile(rb"[\x21-\x7e][\x20-\x7e]{0,63}")
_ATTRIBUTES = re.compile(rb"[\x20-\x7e]{1,1024}")
"""Lengths of SageMaker's two: API reference, InvokeEndpoint."""


class Identity(msgspec.Struct, frozen=True):
    """``request_id``: the caller's, or a new one. The rest is None where it was not sent."""

    request_id: str
    trace: Trace | None = None
    inference_id: str | None = None
    attributes: str | None = None

    def headers(self) -> list[tuple[bytes, bytes]]:
        """What the answer carries of it."""
        ids = [(REQUEST_ID, self.request_id.encode("ascii"))]
        return ids if self.trace is None else ids + self.trace.headers()

    def facts(self) -> dict[str, object]:
        """For the log."""
        found: dict[str, object] = {"id": self.request_id}
        if self.trace is not None:
            found |= self.trace.facts()
        if self.inference_id is not None:
            found["inference_id"] = self.inference_id
        if self.attributes is not None:
            found["custom_attributes"] = self.attributes
        return found


def identity_of(headers: Iterable[tuple[bytes, bytes]]) -> Identity:
    """Read the headers of a request, whose names are in lower case."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        found.setdefault(name, []).append(value)
    return identity_in(found)


def identity_in(headers: Mapping[bytes, Sequence[bytes]]) -> Identity:
    """``identity_of`` headers that are sorted by their names."""
    trace = None
    if TRACEPARENT in headers or AMAZON in headers:
        trace = trace_of(*(headers.get(name, ()) for name in (TRACEPARENT, TRACESTATE, AMAZON)))
    return Identity(
        request_id=_one(headers, REQUEST_ID, _REQUEST_ID) or f"{_CHANCE.getrandbits(128):032x}",
        trace=trace,
        inference_id=_one(headers, INFERENCE_ID, _INFERENCE_ID),
        attributes=_one(headers, ATTRIBUTES, _ATTRIBUTES),
    )


def _one(headers: Mapping[bytes, Sequence[bytes]], name: bytes, wanted: re.Pattern[bytes]) -> str | None:
    values = headers.get(name, ())
    return values[0].decode("ascii") if len(values) == 1 and wanted.fullmatch(values[0]) else None
