"""JSON Lines and CSV, as SageMaker's clients and Batch Transform send them."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifact.serving import MAX_BODY_BYTES
from inference_code import bodies, media
from inference_code.errors import NotCsv, NotJson, TooManyInputs
from inference_code.media import Content
from inference_code.tasks import TASKS

TEXTS, PAIRS = (("text",),), (("text",), ("text", "text_pair"))
QUESTIONS, CHOICES = (("question", "context"),), (("text", "choices"),)
LINES, ROWS, HEADED = Content(media.LINES), Content(media.CSV), Content(media.CSV, header=True)


def _read(body: str | bytes, content: Content, columns: Any = PAIRS, most: int = 100) -> list[Any]:
    data = body.encode() if isinstance(body, str) else body
    return bodies.values(data, content, columns, most=most)


def _inputs(*args: Any, **kwargs: Any) -> list[Any]:
    return [value["inputs"] for value in _read(*args, **kwargs)]


def test_a_line_is_a_request_or_an_input() -> None:
    """In order, with its own parameters; the last line may be ended or not, by \\r\\n too."""
    lines = [
        '"a text"',
        '{"inputs":"b","parameters":{"top_k":2}}',
        '{"text":"c","text_pair":"d"}',
        '["e","f"]',
    ]
    expected = [
        {"inputs": "a text"},
        {"inputs": "b", "parameters": {"top_k": 2}},
        {"inputs": {"text": "c", "text_pair": "d"}},
        {"inputs": ["e", "f"]},
    ]

    for body in ("\n".join(lines), "\n".join(lines) + "\n", "\r\n".join(lines) + "\r\n"):
        assert _read(body, LINES) == expected


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("", "line 1 is empty"),
        ("\n", "line 1 is empty"),
        ('"a"\n\n"b"\n', "line 2 is empty"),
        ('"a"\n"b"\n  \n"c"', "line 3 is empty"),
        ('"a"\n{"inputs"', "line 2: the body cannot be read as JSON"),
        ('"a"\n{"inputs":1,"inputs":2}', "line 2: .*twice"),
        ('"a" "b"', "line 1: "),
        ('"a"\n' + "[" * 40 + "]" * 40, "line 2: .*nested"),
        (b'"a"\n"\xff"', "line 2: "),
        ('NaN\n"a"', "line 1: "),
    ],
)
def test_a_line_that_is_no_json_is_named(body: str | bytes, says: str) -> None:
    """By its number, counted from 1."""
    with pytest.raises(NotJson) as refused:
        _read(body, LINES)

    assert re.search(says, refused.value.message)


@pytest.mark.parametrize(
    ("columns", "body", "expected"),
    [
        (PAIRS, "a text\n", ["a text"]),
        (PAIRS, "one\r\ntwo\r\n", ["one", "two"]),
        (PAIRS, "one\ntwo", ["one", "two"]),
        (PAIRS, '"with, comma ""quoted"" and\nline"\n', ['with, comma "quoted" and\nline']),
        (PAIRS, "a,b\nc\n", [{"text": "a", "text_pair": "b"}, "c"]),
        (PAIRS, '""\n', [""]),
        (PAIRS, "\ufeffa\n", ["a"]),
        (PAIRS, 'a 5" disk\n', ['a 5" disk']),
        (QUESTIONS, "who?,in a mill\n", [{"question": "who?", "context": "in a mill"}]),
        (CHOICES, "t,a,b\nu,c\n", [{"text": "t", "choices": ["a", "b"]}, {"text": "u", "choices": ["c"]}]),
    ],
)
def test_a_row_is_an_input(columns: Any, body: str, expected: list[Any]) -> None:
    """Its columns are the task's, in their order, without a header."""
    assert _inputs(body, ROWS, columns) == expected


@pytest.mark.parametrize(
    ("columns", "body", "expected"),
    [
        (TEXTS, "inputs\na\n", ["a"]),
        (PAIRS, "text\na\n", ["a"]),
        (PAIRS, "text_pair,text\na,b\n", [{"text": "b", "text_pair": "a"}]),
        (QUESTIONS, "context,question\nc,q\n", [{"question": "q", "context": "c"}]),
        (CHOICES, "choices,text,choices\na,t,b\n", [{"text": "t", "choices": ["a", "b"]}]),
    ],
)
def test_a_header_names_the_columns_where_it_is_announced(
    columns: Any, body: str, expected: list[Any]
) -> None:
    """In any order, as AWS's toolkit for Hugging Face wants it."""
    assert _inputs(body, HEADED, columns) == expected


@pytest.mark.parametrize(
    ("content", "columns", "body", "says"),
    [
        (ROWS, PAIRS, "", "no rows"),
        (HEADED, PAIRS, "text\n", "no rows"),
        (HEADED, PAIRS, "", "first row does not name"),
        (HEADED, PAIRS, "a\nb\n", "first row does not name"),
        (HEADED, QUESTIONS, "question,question\na,b\n", "first row does not name"),
        (HEADED, QUESTIONS, "question,context\na\n", "row 2 has 1 columns"),
        (ROWS, PAIRS, "a\n\nb\n", "row 2 is empty"),
        (ROWS, PAIRS, "a\nb,c,d\n", "row 2 has 3 columns"),
        (ROWS, TEXTS, "a,b\n", "row 1 has 2 columns"),
        (ROWS, QUESTIONS, "a\n", "send rows of question, context"),
        (ROWS, CHOICES, "a\n", "row 1 has 1 columns"),
        (ROWS, PAIRS, 'a\n"b', "wrong quote"),
        (ROWS, PAIRS, '"a"b\n', "wrong quote"),
        (ROWS, PAIRS, b"\xff\n", "not UTF-8"),
    ],
)
def test_rows_that_are_none_are_refused(content: Content, columns: Any, body: Any, says: str) -> None:
    """With the row and the columns that are wanted."""
    with pytest.raises(NotCsv) as refused:
        _read(body, content, columns)

    assert says in refused.value.message
    assert refused.value.status == 400


@pytest.mark.parametrize("content", [LINES, ROWS])
def test_no_more_lines_are_read_than_may_be_answered(content: Content) -> None:
    """Three million lines are refused as quickly as four."""
    assert len(_read('"a"\n' * 3, content, most=3)) == 3

    for body in ('"a"\n' * 4, "\n".join(['"a"'] * 4), "1\n" * (MAX_BODY_BYTES // 2)):
        with pytest.raises(TooManyInputs):
            _read(body, content, most=3)


@pytest.mark.parametrize("fill", ['"', ",", "a", '""', '","', "\n", "\r", '"\n', "[", "\ufeff", "\x00"])
@pytest.mark.parametrize("content", [LINES, ROWS, HEADED])
def test_the_largest_body_is_read_in_one_pass(content: Content, fill: str) -> None:
    """Of whatever it is made: anything that looked back would not end within the test's time."""
    body = (fill.encode() * MAX_BODY_BYTES)[:MAX_BODY_BYTES]

    for data in (body, b'"' + body, body + b'"'):
        with contextlib.suppress(NotJson, NotCsv, TooManyInputs):
            assert len(_read(data, content, most=10_000)) <= 10_000


def test_a_cell_may_be_as_long_as_a_body() -> None:
    """Python's own limit is 128 KiB."""
    assert _inputs("a" * 2**20, ROWS) == ["a" * 2**20]


CELLS = st.text(st.sampled_from(["a", '"', ",", "\n", "\r", " ", "\u00e9", "\U0001f600"]), max_size=6)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5))
def test_what_pythons_writer_writes_is_read_back(rows: list[tuple[str, str]]) -> None:
    """Quoted by RFC 4180, whatever is in the cells."""
    file = io.StringIO(newline="")
    csv.writer(file).writerows(rows)

    found = _inputs(file.getvalue(), ROWS)

    assert [(one["text"], one["text_pair"]) for one in found] == rows


@given(
    st.lists(st.recursive(st.none() | st.text(max_size=5), st.lists, max_leaves=4), min_size=1, max_size=5)
)
def test_what_pythons_json_writes_is_read_back(items: list[Any]) -> None:
    """A line each."""
    body = "".join(json.dumps(item) + "\n" for item in items)

    assert _inputs(body, LINES) == items


PIECES = st.sampled_from(
    ['"', '""', ",", "\n", "\r\n", "{", "}", "[", "]", '"inputs":', "text", "1", "\x00", " "]
)
BODIES = st.binary(max_size=60) | st.lists(PIECES, max_size=20).map("".join).map(str.encode)


@given(body=BODIES, content=st.sampled_from([LINES, ROWS, HEADED]), task=st.sampled_from(sorted(TASKS)))
def test_any_bytes_are_read_or_refused(body: bytes, content: Content, task: str) -> None:
    """Never by another exception."""
    with contextlib.suppress(NotJson, NotCsv, TooManyInputs):
        assert 1 <= len(bodies.values(body, content, TASKS[task].columns, most=5)) <= 5
