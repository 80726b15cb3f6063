"""The published document, and that each parameter's schema says what its check does."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_code.errors import BadRequest
from inference_code.openapi import FILE, document, text
from inference_code.requests import parse
from inference_code.tasks import TASKS

PUBLISHED = Path(__file__).resolve().parents[2] / "docs/schemas" / FILE
PARAMETERS = sorted((task, name) for task, entry in TASKS.items() for name in entry.parameters)
NAMES = [
    "none",
    "simple",
    "SIMPLE",
    "Max",
    "softmax",
    "base64",
    "float",
    "right",
    "left",
    "longest_first",
    "a",
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-2, 1002)
    | st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: not number.is_integer())
    | st.sampled_from(NAMES)
    | st.text(max_size=5)
)
VALUES = (
    SCALARS | st.lists(SCALARS, max_size=4) | st.dictionaries(st.sampled_from(NAMES), SCALARS, max_size=2)
)


def test_the_published_document_is_the_current_one() -> None:
    """Run `python -m inference_code.openapi docs/schemas` after a change of a task."""
    assert PUBLISHED.read_text(encoding="utf-8") == text()


def test_every_schema_is_one() -> None:
    """By the dialect of OpenAPI 3.1, draft 2020-12, and every reference leads somewhere."""
    found = document()
    schemas = found["components"]["schemas"]

    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    assert set(_references(found)) <= {f"#/components/schemas/{name}" for name in schemas}


@pytest.mark.parametrize("task", sorted(TASKS))
def test_one_tasks_document_speaks_of_no_other(task: str) -> None:
    """What the server of an artifact takes."""
    found = document([task])

    named = {name.partition(".")[0] for name in found["components"]["schemas"]} - {"Error"}
    assert named == {task, "openai"} if task == "feature-extraction" else named == {task}
    assert ("/v1/embeddings" in found["paths"]) == (task == "feature-extraction")
    assert "/v1/embeddings" not in document([task], openai=False)["paths"]


@pytest.mark.parametrize(("task", "name"), PARAMETERS, ids=lambda value: value)
@settings(max_examples=100, deadline=None)
@given(value=VALUES)
def test_a_parameters_schema_accepts_what_its_check_accepts(task: str, name: str, value: Any) -> None:
    """One statement of the truth, twice: for machines to read and for machines to run."""
    parameter = TASKS[task].parameters[name]
    try:
        parameter(name, value)
        accepted = True
    except BadRequest:
        accepted = False

    assert _schema_of(task, name).is_valid(value) == accepted


WORDS = st.sampled_from(["", "a", "text", "b c"])
KEYS = st.sampled_from(
    [
        *("inputs", "parameters", "text", "text_pair", "question", "context", "choices"),
        *("source_sentence", "sentences", "top_k", "normalize"),
    ]
)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("task", sorted(TASKS))
@settings(max_examples=100, deadline=None)
@given(value=TREES | st.fixed_dictionaries({"inputs": TREES}, optional={"parameters": TREES}))
def test_a_requests_schema_accepts_what_the_server_reads(task: str, value: Any) -> None:
    """Whatever shape a body has."""
    entry = TASKS[task]
    try:
        parse(value, entry.parameters, entry.read, at_root=entry.at_root)
        accepted = True
    except BadRequest as refused:
        if refused.why == "parameters has it, too":
            return
        accepted = False

    assert _requests(task).is_valid(value) == accepted


@functools.cache
def _schema_of(task: str, name: str) -> Any:
    return jsonschema.Draft202012Validator(TASKS[task].parameters[name].schema)


@functools.cache
def _requests(task: str) -> Any:
    return jsonschema.Draft202012Validator(
        {**document([task]), "$ref": f"#/components/schemas/{task}.request"}
    )


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [name for part in value.values() for name in _references(part)]
    return [name for part in value for name in _references(part)] if isinstance(value, list) else []


def test_the_page_names_every_parameter_and_media_type() -> None:
    """docs/requests.md and docs/forms.md tell in words what the document tells machines."""
    words = (PUBLISHED.parents[1] / "requests.md").read_text(encoding="utf-8")
    forms = (PUBLISHED.parents[1] / "forms.md").read_text(encoding="utf-8")
    post = document()["paths"]["/invocations"]["post"]

    assert [name for _, name in PARAMETERS if f"`{name}`" not in words] == []
    assert [task for task in TASKS if f"| {task} |" not in words] == []
    for kind in (*post["requestBody"]["content"], *post["responses"]["200"]["content"]):
        assert f"`{kind}`" in forms


def test_the_document_is_plain_json() -> None:
    """No tuple or number that JSON has not."""
    found = document()

    assert json.loads(json.dumps(found)) == found
