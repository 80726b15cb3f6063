"""Which form a body has, and in which one its answer goes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_code.errors import NotAcceptable, UnsupportedMediaType
from inference_code.media import CSV, JSON, LINES, NPY, Content, chosen, content_of

ALL = (JSON, LINES, CSV, NPY)


@pytest.mark.parametrize(
    ("spelled", "expected"),
    [
        ("application/json", Content(JSON)),
        ('Application/JSON ; Charset="UTF-8"', Content(JSON)),
        ("application/json; profile=x", Content(JSON)),
        ("application/jsonlines", Content(LINES)),
        ("application/x-jsonlines;charset=utf-8", Content(LINES)),
        ("application/x-ndjson", Content(LINES)),
        ("text/csv", Content(CSV)),
        ("text/csv; header=absent", Content(CSV)),
        ("text/csv; charset=utf-8; header=present", Content(CSV, header=True)),
        ("application/json; header=present", Content(JSON)),
        ("application/json;", Content(JSON)),
    ],
)
def test_bodies_that_are_read(spelled: str, expected: Content) -> None:
    """However their type is spelt."""
    assert content_of([spelled.encode()]) == expected


@pytest.mark.parametrize(
    ("given_types", "encodings", "names"),
    [
        ([], [], "missing"),
        ([b"application/json", b"text/csv"], [], "more than once"),
        ([b""], [], "Content-Type is "),
        ([b"text/plain"], [], "text/plain"),
        ([b"application/x-npy"], [], "x-npy"),
        ([b"application/json; charset=latin-1"], [], "latin-1"),
        ([b"text/csv; header=maybe"], [], "maybe"),
        ([b"application/json"], [b"gzip"], "gzip"),
        ([b"application/json"], [b"identity", b"br"], "br"),
        ([b"application/json\xff\x00"], [], "application/json"),
    ],
)
def test_bodies_that_are_not(given_types: list[bytes], encodings: list[bytes], names: str) -> None:
    """415 with what was sent and what to send."""
    with pytest.raises(UnsupportedMediaType) as refused:
        content_of(given_types, encodings)

    assert names in refused.value.message
    assert "application/json or application/jsonlines or text/csv" in refused.value.message
    assert refused.value.status == 415


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ([], JSON),
        ([""], JSON),
        (["*/*"], JSON),
        (["*"], JSON),
        (["application/*"], JSON),
        (["text/*"], CSV),
        (["TEXT/CSV"], CSV),
        (["application/x-npy"], NPY),
        (["application/jsonlines"], LINES),
        (["application/x-jsonlines"], "application/x-jsonlines"),
        (["application/x-ndjson, application/json;q=0.5"], "application/x-ndjson"),
        (["text/html;q=0.9, application/json;q=0.8"], JSON),
        (["text/csv;q=0.5", "application/x-npy;q=0.6"], NPY),
        (["text/csv, application/json"], JSON),
        (["application/json;q=0, */*"], LINES),
        (["application/json;q=1, application/json;q=0, */*;q=0.1"], LINES),
        (["application/json;q=0.1, application/*;q=0.2, */*;q=0.3"], CSV),
        (["text/csv;q=1.000, application/json;q=0.999"], CSV),
        (["application/json; charset=utf-8"], JSON),
        (["text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"], JSON),
        ([",, ;, application/json"], JSON),
        (["text/csv;q=high, application/json;q=0.1"], JSON),
    ],
)
def test_the_form_of_an_answer(accept: list[str], expected: str) -> None:
    """By quality, then the server's order; a name of the client's is kept; nonsense says nothing."""
    assert chosen([value.encode() for value in accept], ALL) == expected


@pytest.mark.parametrize(
    "accept",
    [
        "image/png",
        "application/json;q=0",
        "*/*;q=0",
        "*/json",
        "application",
        "application/json;q=2",
        "application/json;q=1.5",
        "\xe9",
    ],
)
def test_an_answer_that_the_client_does_not_take(accept: str) -> None:
    """406 with what it said and what there is."""
    with pytest.raises(NotAcceptable) as refused:
        chosen([accept.encode("latin-1")], (JSON, LINES))

    assert "application/json, application/jsonlines" in refused.value.message
    assert refused.value.status == 406


PIECES = st.sampled_from(
    ["application/json", "text/*", "*/*", "*", "q=", "q=0.5", ";", ",", "=", " ", '"', "0", ".", "\t", "é"]
)


@given(st.lists(st.lists(PIECES, max_size=12).map("".join), max_size=3))
def test_any_accept_header_is_answered_or_refused(accept: list[str]) -> None:
    """Never by another exception, and never by a type that is not offered."""
    with contextlib.suppress(NotAcceptable):
        assert chosen([value.encode("latin-1") for value in accept], (JSON, CSV)) in (JSON, CSV)


@given(st.lists(st.binary(max_size=40) | PIECES.map(str.encode), max_size=3), st.lists(st.binary(max_size=9)))
def test_any_content_type_is_known_or_refused(given_types: list[bytes], encodings: list[bytes]) -> None:
    """Never by another exception."""
    with contextlib.suppress(UnsupportedMediaType):
        assert content_of(given_types, encodings).kind in (JSON, LINES, CSV)


def test_the_longest_header_is_read_at_once() -> None:
    """A head holds 16 KiB; thousands of ranges in it are one pass each."""
    assert chosen([b"a/b;q=0.1," * 1600 + b"*/*"], ALL) == JSON
    assert chosen([b"," * 16_384 + b"*/*"], ALL) == JSON
    assert chosen([b"a/b" + b";" * 16_000 + b",*/*;q=0.00001"], ALL) == JSON
