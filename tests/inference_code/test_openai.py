"""POST /v1/embeddings in the shapes of OpenAI's API reference, where it is switched on."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import numpy as np
import pytest

from artifact.golden import largest_difference
from artifact.serving import EMBEDDINGS
from inference_code.openapi import document
from tests.inference_code.running import Reply, RunningServer, running
from tests.kit.handmade import HIDDEN, Recipe, World

JSON = {"Content-Type": "application/json"}
ON = {"TRACESHIP_OPENAI": "1"}
MODEL = "pypi:example"


@pytest.fixture(scope="module")
def openai(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The plain artifact's server with the route."""
    with running(world.root, cwd=tmp_path_factory.mktemp("openai"), env=ON) as started:
        yield started.await_ready()


def _ask(server: RunningServer, body: Any, **headers: str) -> Reply:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return server.call("POST", EMBEDDINGS, data, {**JSON, **headers})


def _valid(name: str, value: Any) -> bool:
    schema = {**document(["feature-extraction"]), "$ref": f"#/components/schemas/{name}"}
    return bool(jsonschema.Draft202012Validator(schema).is_valid(value))


def test_a_list_gets_its_embeddings(openai: RunningServer, world: World) -> None:
    """In order, with their index, the model's name and the tokens that were read."""
    reply = _ask(openai, {"model": MODEL, "input": ["w1 w2", "w3"], "user": "u"}, Accept="application/json")

    assert reply.status == 200
    assert _valid("openai.response", reply.json)
    assert [one["index"] for one in reply.json["data"]] == [0, 1]
    found = [one["embedding"] for one in reply.json["data"]]
    assert largest_difference([world.answer("w1 w2"), world.answer("w3")], found) <= 1e-5
    assert reply.json["model"] == MODEL
    assert reply.json["usage"] == {"prompt_tokens": 7, "total_tokens": 7}


def test_a_text_gets_a_list_of_one(openai: RunningServer, world: World) -> None:
    """By the artifact's digest as well as by the model's name; its own length as dimensions."""
    for model in (world.digest, MODEL, "example"):
        asked = {"model": model, "input": "w1 w2", "dimensions": HIDDEN, "encoding_format": "float"}

        (found,) = _ask(openai, asked).json["data"]

        assert largest_difference(world.answer("w1 w2"), found["embedding"]) <= 1e-5


def test_base64_is_what_the_official_client_asks_for(openai: RunningServer, world: World) -> None:
    """Little-endian float32."""
    asked = {"model": MODEL, "input": ["w1 w2"], "encoding_format": "base64"}

    (found,) = _ask(openai, asked).json["data"]

    vector = np.frombuffer(base64.b64decode(found["embedding"], validate=True), dtype="<f4")
    assert largest_difference(world.answer("w1 w2"), vector.tolist()) <= 1e-5


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        (b"{", 400, "not-json", None),
        ([], 400, "bad-request", "the body"),
        ({"input": "a"}, 400, "bad-request", "model"),
        ({"model": 5, "input": "a"}, 400, "bad-request", "model"),
        ({"model": "other\n", "input": "a"}, 404, "unknown-model", None),
        ({"model": "", "input": "a"}, 404, "unknown-model", None),
        ({"model": MODEL}, 400, "bad-request", "input"),
        ({"model": MODEL, "input": 5}, 400, "bad-request", "input"),
        ({"model": MODEL, "input": []}, 400, "bad-request", "input"),
        ({"model": MODEL, "input": [1, 2]}, 400, "bad-request", "input[0]"),
        ({"model": MODEL, "input": ["a", [1]]}, 400, "bad-request", "input[1]"),
        ({"model": MODEL, "input": "a", "dimensions": 4}, 400, "bad-request", "dimensions"),
        ({"model": MODEL, "input": "a", "encoding_format": "hex"}, 400, "bad-request", "encoding_format"),
        ({"model": MODEL, "input": "a", "user": 1}, 400, "bad-request", "user"),
        ({"model": MODEL, "input": "a", "inputs": "a"}, 400, "bad-request", 'the body."inputs"'),
        ({"model": MODEL, "input": "w1 " * 50}, 400, "input-too-long", None),
        ({"model": MODEL, "input": ["a"] * 257}, 413, "too-many-inputs", None),
    ],
)
def test_errors_have_openais_shape(
    openai: RunningServer, body: Any, status: int, code: str, param: str | None
) -> None:
    """With our ids as codes."""
    reply = _ask(openai, body)

    assert (reply.status, reply.json["error"]["code"]) == (status, code)
    assert reply.json["error"]["type"] == "invalid_request_error"
    assert reply.json["error"]["param"] == (param if param != 'the body."inputs"' else '"inputs"')
    assert _valid("openai.error", reply.json)


def test_only_json_goes_in_and_out(openai: RunningServer) -> None:
    """As OpenAI has it; the other routes are there beside it."""
    asked = {"model": MODEL, "input": "a"}

    assert (
        _ask(openai, b"a", **{"Content-Type": "text/csv"}).json["error"]["code"] == "unsupported-media-type"
    )
    assert _ask(openai, asked, Accept="application/x-npy").json["error"]["code"] == "not-acceptable"
    assert openai.call("GET", EMBEDDINGS).json["error"]["code"] == "method-not-allowed"
    assert openai.ask("w1").status == 200
    assert "POST /v1/embeddings" in openai.call("GET", "/v1").json["message"]


def test_without_the_switch_there_is_no_such_route(server: RunningServer) -> None:
    """Nobody has to know what they did not ask for."""
    reply = _ask(server, {"model": MODEL, "input": "a"})

    assert (reply.status, reply.json["error"]) == (404, "not-found")


@pytest.mark.parametrize("recipe", [Recipe(pooling="none"), Recipe(task="text-classification")])
def test_an_artifact_without_embeddings_has_no_such_route(
    worlds: Callable[..., World], tmp_path: Any, recipe: Recipe
) -> None:
    """Whatever the switch says."""
    with running(worlds(recipe).root, cwd=tmp_path, env=ON) as server:
        reply = _ask(server.await_ready(), {"model": MODEL, "input": "a"})

    assert (reply.status, reply.json["error"]) == (404, "not-found")
