"""Whatever a body holds, it is answered, or refused with a 4xx that says what is wrong with it.

``python -m bench.decoders`` sends a million through the same.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference_code import strict_json
from inference_code.errors import NotJson
from inference_code.load import LoadedModel
from tests.kit.handmade import Recipe
from tests.kit.in_process import answered
from tests.kit.mutations import spoiled

VALID: dict[str, Any] = {
    "feature-extraction": {"inputs": ["w1", {"text": "w2", "text_pair": "w3"}], "parameters": {}},
    "text-classification": {
        "inputs": ["w1", {"text": "w2", "text_pair": "w3"}],
        "parameters": {"top_k": 2, "function_to_apply": "softmax"},
    },
    "token-classification": {
        "inputs": ["w1 w2", "w3"],
        "parameters": {"aggregation_strategy": "simple", "ignore_labels": ["O"]},
    },
    "question-answering": {
        "inputs": [{"question": "w1", "context": "w2 w3 w4 w5 w6 w7 w8 w9 w10 w11 w12 w13 w14 w15"}],
        "parameters": {
            "top_k": 2,
            "doc_stride": 2,
            "max_answer_len": 3,
            "max_seq_len": 12,
            "max_question_len": 4,
            "handle_impossible_answer": True,
        },
    },
    "fill-mask": {"inputs": ["w1 [MASK]"], "parameters": {"top_k": 2, "targets": ["w1", "w2"]}},
    "multiple-choice": {"inputs": [{"text": "w1", "choices": ["w2", "w3"]}]},
}
NAMES = sorted({*re.findall(r'"(\w+)":', json.dumps(VALID)), "text"})
PATH_OR_TRACE = re.compile(rb"Traceback|\.py|/home|/tmp|0x[0-9a-f]{6}|object at")


@pytest.fixture(scope="module", params=sorted(VALID))
def task(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def model(task: str, models: Callable[..., LoadedModel]) -> LoadedModel:
    return models(Recipe(task=task))


def _check(status: int, body: bytes) -> None:
    said = json.loads(body)
    assert status == 200 or 400 <= status < 500, (status, said)
    if status != 200:
        assert set(said) == {"error", "message"}
        assert PATH_OR_TRACE.search(body) is None


def test_the_example_is_answered(task: str, model: LoadedModel) -> None:
    """What the other tests spoil is good."""
    assert answered(model, json.dumps(VALID[task]).encode())[0] == 200


def test_spoiled_requests_are_answered_or_refused(task: str, model: LoadedModel) -> None:
    """Deep, huge, not UTF-8, NaN, repeated, of another type: never an exception, through to the answer."""
    statuses = set()
    for number in range(1_000):
        body = spoiled(random.Random(f"{task}/{number}"), VALID[task])
        status, said = answered(model, body)
        _check(status, said)
        statuses.add(status)

    assert {200, 400} <= statuses


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("w1 [MASK] w2"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.fixed_dictionaries({"inputs": ANY_JSON}, optional={"parameters": ANY_JSON}) | ANY_JSON)
def test_any_json_is_answered_or_refused(model: LoadedModel, value: Any) -> None:
    """Of the names that requests have, in any order and at any depth."""
    _check(*answered(model, json.dumps(value).encode()))


@settings(max_examples=500, deadline=None)
@given(body=st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_decode_or_are_not_json(body: bytes) -> None:
    """And what decodes is what the standard library reads in them."""
    try:
        value = strict_json.decode(body)
    except NotJson:
        return
    assert value == json.loads(body)


def _places(value: Any, *path: str | int) -> Iterator[tuple[str | int, ...]]:
    """Every place below ``value``."""
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inner:
        yield from _places(child, *path, key)


@pytest.mark.parametrize("odd", [5.5, [[["w1"]]], {"no-such-key": 1}], ids=["number", "list", "object"])
def test_a_wrong_type_is_refused_by_name(task: str, model: LoadedModel, odd: Any) -> None:
    """Wherever it is, the message has the name of the field or of the one that holds it."""
    for path in _places(VALID[task]):
        spoilt = json.loads(json.dumps(VALID[task]))
        holder = spoilt
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] = odd
        status, said = answered(model, json.dumps(spoilt).encode())

        names = [step for step in path if isinstance(step, str)]
        assert status == 400, (path, said)
        assert str(names[-1]) in json.loads(said)["message"], (path, said)
