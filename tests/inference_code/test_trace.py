"""Trace context: what is valid is passed on with our span, what is not counts as not sent."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_code.identity import ATTRIBUTES, INFERENCE_ID, REQUEST_ID, identity_of
from inference_code.trace import (
    AMAZON,
    MAX_AMAZON_BYTES,
    MAX_STATE_BYTES,
    TRACEPARENT,
    TRACESTATE,
    parse_amazon,
    parse_parent,
    parse_state,
    trace_of,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01".encode()
ROOT = "1-67891233-abcdef012345678912345678"

hex_digits = "0123456789abcdef"
trace_ids = st.text(hex_digits, min_size=32, max_size=32).filter(lambda text: text.strip("0"))
span_ids = st.text(hex_digits, min_size=16, max_size=16).filter(lambda text: text.strip("0"))
flags = st.integers(0, 255)
keys = st.from_regex(re.compile(r"[a-z0-9][a-z0-9_\-*/@]{0,20}", re.ASCII), fullmatch=True)
values = st.from_regex(re.compile(r"[ -+\--<>-~]{0,20}[!-+\--<>-~]", re.ASCII), fullmatch=True)


@given(trace_ids, span_ids, flags)
def test_every_valid_parent_is_read_and_passed_on_with_our_span(
    trace_id: str, span_id: str, bits: int
) -> None:
    """Same trace, another span, and of the flags those that are defined."""
    trace = trace_of([f"00-{trace_id}-{span_id}-{bits:02x}".encode()], [], [])

    assert trace is not None
    ((name, value),) = trace.headers()
    passed = parse_parent(value)
    assert passed is not None
    assert (name, passed.trace_id, passed.span_id) == (TRACEPARENT, trace_id, trace.span_id)
    assert passed.span_id != span_id
    assert int(value[-2:], 16) == bits & 3
    assert trace.facts() == {
        "trace_id": trace_id,
        "parent_id": span_id,
        "span_id": trace.span_id,
        "sampled": bool(bits & 1),
    }


@given(st.binary(max_size=80) | st.text("0123456789abcdefg-ABF \t", max_size=70).map(str.encode))
def test_whatever_is_read_as_a_parent_is_one(value: bytes) -> None:
    """Another reading of the grammar agrees, for any bytes at all."""
    parent = parse_parent(value)

    text = value.strip(b" \t").decode("latin-1")
    parts = text.split("-")
    valid = (
        len(parts) >= 4
        and [len(part) for part in parts[:4]] == [2, 32, 16, 2]
        and all(set(part) <= set(hex_digits) for part in parts[:4])
        and parts[0] != "ff"
        and (len(parts) == 4 or parts[0] != "00")
        and set(parts[1]) != {"0"}
        and set(parts[2]) != {"0"}
    )
    assert (parent is not None) == valid


@pytest.mark.parametrize(
    "value",
    [
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01.",
        f"ff-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01.more",
        f".0-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"000-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0",
        f"00-{TRACE}-{SPAN}-001",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01\n",
        "",
    ],
)
def test_a_malformed_parent_counts_as_not_sent(value: str) -> None:
    """The cases of the working group's own test suite."""
    assert parse_parent(value.encode()) is None
    assert trace_of([value.encode()], [b"a=1"], []) is None


@pytest.mark.parametrize("value", [f"cc-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-what-comes"])
def test_later_versions_are_read_as_far_as_they_are_known(value: str) -> None:
    """And answered in the version that we know."""
    trace = trace_of([value.encode()], [], [])

    assert trace is not None
    assert dict(trace.headers())[TRACEPARENT].startswith(f"00-{TRACE}-".encode())


def test_two_parents_are_none() -> None:
    """Nobody can know which of them is meant."""
    assert trace_of([PARENT, PARENT], [], []) is None


@given(st.dictionaries(keys, values, max_size=32), st.sampled_from([",", ", ", " ,\t", ",,"]))
def test_every_valid_state_is_passed_on_in_its_order(members: dict[str, str], comma: str) -> None:
    """Also in several headers, and with the white space that the grammar allows."""
    listed = [f"{key}={value}" for key, value in members.items()]
    passed = parse_state(comma.join(listed).encode())

    assert passed == ",".join(part.strip(" \t") for part in listed).encode()


@given(st.binary(max_size=60) | st.text("ab=, \t;@é", max_size=30).map(str.encode))
def test_a_state_is_passed_on_whole_or_not_at_all(value: bytes) -> None:
    """Nothing that could end a header or begin another one gets through."""
    passed = parse_state(value)

    assert re.fullmatch(rb"[\x20-\x7e]*", passed)
    assert passed == b"" or parse_state(passed) == passed


@pytest.mark.parametrize(
    "value",
    [
        "a=1,a=2",
        "A=1",
        "a",
        "=1",
        "a =1",
        "a=1;b=2\n",
        "a=1=2",
        "é=1",
        "a" * 257 + "=1",
        "a=" + "1" * 257,
        ",".join(f"k{at}=1" for at in range(33)),
        ",".join(f"k{at}=" + "v" * 200 for at in range(MAX_STATE_BYTES // 200 + 1)),
    ],
)
def test_a_malformed_state_is_dropped_and_the_parent_kept(value: str) -> None:
    """One does not spoil the other."""
    trace = trace_of([PARENT], [value.encode()], [])

    assert trace is not None
    assert [name for name, _ in trace.headers()] == [TRACEPARENT]


def test_states_of_several_headers_are_one() -> None:
    """In their order, the empty one left out."""
    trace = trace_of([PARENT], [b"a=1", b"", b"b=2"], [])

    assert trace is not None
    assert dict(trace.headers())[TRACESTATE] == b"a=1,b=2"


@pytest.mark.parametrize(
    ("value", "sampled", "parent"),
    [
        (f"Root={ROOT}", None, None),
        (f"Root={ROOT};Parent={SPAN};Sampled=1", True, SPAN),
        (f"Root={ROOT}; Parent={SPAN}; Sampled=0", False, SPAN),
        (f"Self=1-67891234-12456789abcdef012345678;Root={ROOT};CalledFrom=app", None, None),
        (f"Sampled=?;Root={ROOT};Lineage=1:5a2b:0", None, None),
    ],
)
def test_amazons_header_is_read_and_passed_on(value: str, sampled: bool | None, parent: str | None) -> None:
    """Root as it came, our span as the parent, the caller's decision."""
    trace = trace_of([], [b"a=1"], [value.encode()])

    assert trace is not None
    assert trace.amazon is not None
    assert (trace.amazon.sampled, trace.amazon.parent) == (sampled, parent)
    tail = "" if sampled is None else f";Sampled={sampled:d}"
    assert trace.headers() == [(AMAZON, f"Root={ROOT};Parent={trace.span_id}{tail}".encode())]
    facts = trace.facts()
    assert (facts["trace_id"], facts["xray_root"]) == (ROOT[2:].replace("-", ""), ROOT)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Root",
        f"Parent={SPAN}",
        "Root=2-67891233-abcdef012345678912345678",
        "Root=1-6789123-abcdef012345678912345678",
        "Root=1-67891233-ABCDEF012345678912345678",
        f"Root=1-67891233-{'0' * 24}",
        f"Root={ROOT};Root={ROOT}",
        f"Root={ROOT};Parent=short",
        f"Root={ROOT};Parent={'0' * 16}",
        f"Root={ROOT};Sampled=2",
        f"Root={ROOT};Sampled=\n1",
        f"Root={ROOT};",
        f"Root={ROOT};bad field",
        f"Root={ROOT};é=1",
        f"Root={ROOT};" + ";".join(f"k{at}={'v' * 200}" for at in range(MAX_AMAZON_BYTES // 200)),
    ],
)
def test_a_malformed_amazon_header_counts_as_not_sent(value: str) -> None:
    """Whole or not at all."""
    assert parse_amazon(value.encode()) is None


@given(st.binary(max_size=100) | st.text("Rot=1-0abf;Parent? ", max_size=60).map(str.encode))
def test_amazons_reader_takes_any_bytes(value: bytes) -> None:
    """It never raises, and what it reads is what it was given."""
    found = parse_amazon(value)

    assert found is None or f"Root={found.root}".encode() in value


def test_both_contexts_are_answered_and_joined_in_one_line() -> None:
    """W3C's ids lead, AWS's root is there to be searched for."""
    trace = trace_of([PARENT], [], [f"Root={ROOT};Parent={SPAN}".encode()])

    assert trace is not None
    assert [name for name, _ in trace.headers()] == [TRACEPARENT, AMAZON]
    assert trace.facts()["trace_id"] == TRACE
    assert trace.facts()["xray_root"] == ROOT


def test_who_sends_no_trace_gets_none() -> None:
    """Only the request's id."""
    identity = identity_of([(b"host", b"x")])

    assert [name for name, _ in identity.headers()] == [REQUEST_ID]
    assert set(identity.facts()) == {"id"}


header_bytes = st.binary(max_size=140) | st.text(max_size=140).map(
    lambda text: text.encode("utf-8", "replace")
)


@given(st.lists(st.tuples(st.sampled_from([REQUEST_ID, INFERENCE_ID, ATTRIBUTES, b"cookie"]), header_bytes)))
def test_ids_are_printable_ascii_whatever_was_sent(headers: list[tuple[bytes, bytes]]) -> None:
    """Nothing of a header reaches log or answer that could end a line, and a cookie never does."""
    identity = identity_of(headers)

    told = [str(value) for value in identity.facts().values()]
    assert all(re.fullmatch(r"[ -~]{1,1024}", value) for value in told)
    assert set(identity.facts()) <= {"id", "inference_id", "custom_attributes"}


def test_sagemakers_ids_are_taken_over() -> None:
    """As long as the platform allows them to be."""
    long = b"x" * 1024
    identity = identity_of([(INFERENCE_ID, b"inference 1"), (ATTRIBUTES, long)])
    longer = identity_of([(INFERENCE_ID, b"i" * 65), (ATTRIBUTES, long + b"x")])

    assert (identity.inference_id, identity.attributes) == ("inference 1", long.decode())
    assert (longer.inference_id, longer.attributes) == (None, None)
