"""The forms of an answer: the same numbers as JSON, lines, rows, arrays and base64."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference_code import forms, media
from inference_code.answering import Prepared, offered, prepared, written
from inference_code.batching import Planner
from inference_code.errors import BadRequest, InferenceFailed, InputTooLong, RequestError, TooManyInputs
from inference_code.inference import StockModel, _run_all
from inference_code.load import LoadedModel
from inference_code.media import Content
from inference_code.rows import Outputs
from inference_code.tasks import TASKS
from tests.inference_code.compared import close
from tests.kit.handmade import HIDDEN, Recipe, World

POOLED, TOKENS = Recipe(), Recipe(pooling="none")
CLASSIFY, QUESTIONS = Recipe(task="text-classification"), Recipe(task="question-answering")
TEXTS = ["w1", "w2 w3 w4", ""]


def _asked(model: LoadedModel, body: bytes | str, kind: str = media.JSON, most: int = 100) -> Prepared:
    data = body.encode() if isinstance(body, str) else body
    return prepared(data, model, most=most, content=Content(kind))


def _answer(model: LoadedModel, body: bytes | str, kind: str = media.JSON, form: str = media.JSON) -> bytes:
    asked = _asked(model, body, kind)
    assert media.canonical(form) in offered(asked, model)
    outputs = _run_all(asked.rows, StockModel(model=model, planner=Planner(model.manifest.buckets)))
    return written(outputs, asked, model, form)


def _json(inputs: Any, **parameters: Any) -> bytes:
    return json.dumps({"inputs": inputs, "parameters": parameters}).encode()


def _array(data: bytes) -> Any:
    return np.load(io.BytesIO(data), allow_pickle=False)


@pytest.mark.parametrize("recipe", [POOLED, TOKENS, CLASSIFY], ids=["pooled", "tokens", "labels"])
def test_each_line_in_is_a_line_out(models: Callable[..., LoadedModel], recipe: Recipe) -> None:
    """In order, each what the request alone is answered, which is what Batch Transform puts together."""
    model = models(recipe)
    lines = [_json(text) for text in TEXTS] + [b'"w9"', _json(["w1", "w5"])]
    expected = [json.loads(_answer(model, line)) for line in [*lines[:3], _json("w9"), lines[4]]]

    found = _answer(model, b"\n".join(lines), media.LINES, media.LINES)

    assert found.endswith(b"\n")
    assert found.count(b"\n") == len(lines)
    assert close(expected, [json.loads(line) for line in found.splitlines()])
    assert close(expected, json.loads(_answer(model, b"\n".join(lines), media.LINES, media.JSON)))


def test_lines_have_parameters_of_their_own(models: Callable[..., LoadedModel]) -> None:
    """As the same requests sent one by one."""
    lines = [_json("w1", top_k=2), _json("w1", top_k=None), _json("w1")]

    found = _answer(models(CLASSIFY), b"\n".join(lines), media.LINES, media.LINES)

    assert [len(json.loads(line)) for line in found.splitlines()] == [2, 3, 1]


def test_a_list_in_json_may_be_answered_in_lines(models: Callable[..., LoadedModel]) -> None:
    """One for each input, nested as in the list."""
    model = models(CLASSIFY)
    for inputs in (TEXTS, "w1"):
        expected = json.loads(_answer(model, _json(inputs)))

        found = _answer(model, _json(inputs), form="application/x-ndjson")

        assert close(
            expected if isinstance(inputs, list) else [expected],
            [json.loads(line) for line in found.splitlines()],
        )


def test_rows_in_rows_out(worlds: Callable[..., World], models: Callable[..., LoadedModel]) -> None:
    """Numbers as JSON spells them, labels quoted where they must be."""
    vectors = _answer(models(POOLED), "w1\nw2 w3,w4\n", media.CSV, media.CSV)
    labels = _answer(models(CLASSIFY), "w1\n", media.CSV, media.CSV)
    every = _answer(models(CLASSIFY), _json("w1", top_k=None), form=media.CSV)

    found = [[float(cell) for cell in row] for row in csv.reader(io.StringIO(vectors.decode()))]
    expected = [worlds(POOLED).answer("w1"), worlds(POOLED).answer("w2 w3", "w4")]
    assert close(expected, found)
    (best,) = csv.reader(io.StringIO(labels.decode()))
    assert best[0] in CLASSIFY.labels
    assert 0 < float(best[1]) <= 1
    assert len(next(csv.reader(io.StringIO(every.decode())))) == 6


def test_embeddings_are_written_as_arrays(models: Callable[..., LoadedModel]) -> None:
    """float32, one row an input; one input alone has no first axis; none at all is an empty array."""
    model = models(POOLED)
    expected = json.loads(_answer(model, _json(TEXTS)))

    many, one, none, lined = (
        _array(_answer(model, body, kind, media.NPY))
        for body, kind in [
            (_json(TEXTS), media.JSON),
            (_json("w1"), media.JSON),
            (_json([]), media.JSON),
            (b'"w1"\n{"inputs":["w2 w3 w4",""]}', media.LINES),
        ]
    )

    assert (many.shape, one.shape, none.shape) == ((3, HIDDEN), (HIDDEN,), (0, HIDDEN))
    assert {array.dtype.str for array in (many, one, none, lined)} == {"<f4"}
    assert close(expected, many.tolist())
    assert close(expected[0], one.tolist())
    assert close(many.tolist(), lined.tolist())


def test_token_vectors_are_an_array_for_one_input_only(models: Callable[..., LoadedModel]) -> None:
    """Of several inputs they differ in length, so that form is not offered, whatever the texts are."""
    model = models(TOKENS)

    assert _array(_answer(model, _json("w1 w2"), form=media.NPY)).shape == (4, HIDDEN)
    for body, kind in [(_json(["w1"]), media.JSON), (_json([]), media.JSON), (b'"w1"', media.LINES)]:
        assert media.NPY not in offered(_asked(model, body, kind), model)
    assert media.CSV not in offered(_asked(model, _json("w1")), model)


def test_what_is_offered_comes_as_it_was_asked(models: Callable[..., LoadedModel]) -> None:
    """JSON for JSON, lines for lines and rows; numbers only where there are any."""
    question = {"question": "w1", "context": "w2"}

    assert offered(_asked(models(POOLED), _json("w1")), models(POOLED)) == [
        media.JSON,
        media.LINES,
        media.CSV,
        media.NPY,
    ]
    assert offered(_asked(models(POOLED), "w1", media.CSV), models(POOLED))[:2] == [media.LINES, media.JSON]
    assert offered(_asked(models(QUESTIONS), _json(question)), models(QUESTIONS)) == [media.JSON, media.LINES]


def test_base64_is_the_same_numbers(models: Callable[..., LoadedModel]) -> None:
    """float32, the least significant byte first; a string for each vector."""
    for recipe in (POOLED, TOKENS):
        model = models(recipe)
        plain = json.loads(_answer(model, _json(TEXTS)))

        coded = json.loads(_answer(model, _json(TEXTS, encoding_format="base64")))

        assert close(plain, _decoded(coded))
    rows = _answer(models(POOLED), _json(TEXTS, encoding_format="base64"), form=media.CSV)
    assert close(json.loads(_answer(models(POOLED), _json(TEXTS))), _decoded(rows.decode().split()))


def _decoded(value: Any) -> Any:
    if isinstance(value, str):
        return np.frombuffer(base64.b64decode(value, validate=True), dtype="<f4").tolist()
    return [_decoded(item) for item in value]


@pytest.mark.parametrize("recipe", [POOLED, TOKENS], ids=["pooled", "tokens"])
def test_normalized_vectors_have_the_length_one(models: Callable[..., LoadedModel], recipe: Recipe) -> None:
    """In every form, and along the plain ones; parameters may stand beside the inputs."""
    model = models(recipe)
    plain = np.array(json.loads(_answer(model, _json("w1 w2"))))

    found = json.loads(_answer(model, _json("w1 w2", normalize=True)))
    array = _array(_answer(model, b'{"inputs":"w1 w2","normalize":true}', form=media.NPY))

    assert np.linalg.norm(found, axis=-1) == pytest.approx(1, abs=1e-6)
    assert close((plain / np.linalg.norm(plain, axis=-1, keepdims=True)).tolist(), found)
    assert close(found, array.tolist())
    assert close(plain.tolist(), json.loads(_answer(model, _json("w1 w2", normalize=False))))


def test_sentences_are_compared_by_their_cosines(models: Callable[..., LoadedModel]) -> None:
    """With the first one, as Hugging Face's sentence-similarity does."""
    asked = {"source_sentence": "w1 w2", "sentences": ["w3", "w1 w2", "w50"]}
    source, *others = json.loads(
        _answer(models(POOLED), _json(["w1 w2", "w3", "w1 w2", "w50"], normalize=True))
    )

    found = json.loads(_answer(models(POOLED), _json(asked)))

    assert close([float(np.dot(source, other)) for other in others], found)
    assert found[1] == pytest.approx(1, abs=1e-6)
    assert json.loads(_answer(models(POOLED), _json([{**asked, "sentences": []}, asked]))) == [[], found]
    assert media.NPY not in offered(_asked(models(POOLED), _json(asked)), models(POOLED))
    with pytest.raises(BadRequest, match="each token a vector"):
        _asked(models(TOKENS), _json(asked))


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"normalize": 1}, "parameters.normalize"),
        ({"encoding_format": "hex"}, "parameters.encoding_format"),
        ({"dimensions": 4}, "parameters.dimensions"),
        ({"dimensions": 0}, "parameters.dimensions"),
        ({"truncate": True, "truncation": False}, "parameters.truncate"),
        ({"truncation_direction": "left"}, "parameters.truncation_direction"),
        ({"prompt_name": "query"}, 'parameters."prompt_name"'),
    ],
)
def test_parameters_of_embeddings_are_checked(
    models: Callable[..., LoadedModel], parameters: dict[str, Any], field: str
) -> None:
    """Each by its name."""
    with pytest.raises(BadRequest) as refused:
        _asked(models(POOLED), _json("w1", **parameters))

    assert refused.value.field == field


def test_a_parameter_stands_in_one_place(models: Callable[..., LoadedModel]) -> None:
    """Two places could say two things; beside the inputs of other tasks there is no place."""
    with pytest.raises(BadRequest, match="too"):
        _asked(models(POOLED), b'{"inputs":"a","normalize":true,"parameters":{"normalize":true}}')
    with pytest.raises(BadRequest, match="no such key"):
        _asked(models(CLASSIFY), b'{"inputs":"a","top_k":1}')


def test_equal_words_for_cutting_may_be_said_twice(models: Callable[..., LoadedModel]) -> None:
    """``truncate`` is what embedding clients call ``truncation``."""
    for parameters in ({"truncate": True}, {"truncation": True}, {"truncate": True, "truncation": True}):
        (row,) = _asked(models(POOLED), _json("w1 " * 99, dimensions=HIDDEN, **parameters)).rows
        assert row.length == 16


@pytest.mark.parametrize(
    ("body", "kind", "error", "says"),
    [
        (b'"w1"\n5', media.LINES, BadRequest, "line 2: inputs cannot be used"),
        (b'"w1"\n{"inputs":["w1",5]}', media.LINES, BadRequest, "line 2: inputs[1]"),
        (b'"w1"\n{"input":"a"}', media.LINES, BadRequest, 'line 2: inputs."input"'),
        (b'{"inputs":"a","parameters":{"x":1}}', media.LINES, BadRequest, 'line 1: parameters."x"'),
        (b'"w1"\n"' + b"w1 " * 50 + b'"', media.LINES, InputTooLong, "line 2: inputs is too long"),
        (b"w1\n" + b"w1 " * 50, media.CSV, InputTooLong, "row 2: inputs is too long"),
        (b'"w1"\n' * 101, media.LINES, TooManyInputs, "the limit is 100"),
        (b'{"inputs":["w1","w1"]}\n' * 51, media.LINES, TooManyInputs, "it has more than 100"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(
    models: Callable[..., LoadedModel], body: bytes, kind: str, error: type[RequestError], says: str
) -> None:
    """Nothing of such a body is answered."""
    with pytest.raises(error) as refused:
        _asked(models(POOLED), body, kind)

    assert says in refused.value.message


def test_an_array_never_holds_what_is_no_number(models: Callable[..., LoadedModel]) -> None:
    """NaN is refused in this form, too."""
    model = models(POOLED)
    outputs = [Outputs(arrays=(np.full(HIDDEN, np.nan, dtype=np.float32),))]

    with pytest.raises(InferenceFailed):
        written(outputs, _asked(model, _json("w1")), model, media.NPY)


WORDS = st.sampled_from(["", "w1", "w1 w2", "[MASK] w3", "w1 " * 99, "simple", "none", "base64", "\u2603"])
SCALARS = st.none() | st.booleans() | st.integers(-1, 70) | st.floats(allow_nan=False) | WORDS
KEYS = st.sampled_from(
    [
        *("inputs", "parameters", "text", "text_pair", "question", "context", "choices", "source_sentence"),
        *("sentences", "top_k", "stride", "doc_stride", "targets", "dimensions", "truncation", "max_seq_len"),
    ]
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
INPUTS = st.one_of(
    WORDS,
    st.fixed_dictionaries({"text": WORDS}, optional={"text_pair": WORDS}),
    st.fixed_dictionaries({"question": WORDS, "context": WORDS}),
    st.fixed_dictionaries({"text": WORDS, "choices": st.lists(WORDS, max_size=4)}),
    st.fixed_dictionaries({"source_sentence": WORDS, "sentences": st.lists(WORDS, max_size=2)}),
)
REQUESTS = st.fixed_dictionaries(
    {"inputs": INPUTS | st.lists(INPUTS, max_size=3) | TREES},
    optional={"parameters": st.dictionaries(KEYS, SCALARS, max_size=2) | TREES},
)


@pytest.mark.parametrize("task", sorted(set(TASKS) - {"translation"}))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(REQUESTS | INPUTS | TREES, min_size=1, max_size=3), hub=st.booleans())
def test_any_value_is_answered_in_every_form_that_is_offered_or_refused(
    models: Callable[..., LoadedModel], task: str, lines: list[Any], hub: bool
) -> None:
    """Never by another exception than an answer of 4xx."""
    model = models(Recipe(task=task))
    body = b"\n".join(json.dumps(line).encode() for line in lines)
    content = Content(media.LINES if len(lines) > 1 else media.JSON)
    try:
        asked = prepared(body, model, most=20, content=content, hub=hub)
    except RequestError as error:
        assert 400 <= error.status < 500  # noqa: PT017 (what is not refused is answered below)
        return
    outputs = _run_all(asked.rows, StockModel(model=model, planner=Planner(model.manifest.buckets)))

    for form in offered(asked, model):
        data = written(outputs, asked, model, form)
        assert form != media.LINES or not asked.lined or data.count(b"\n") == len(lines)


# without NUL, which Python 3.10's own reader refuses
READABLE = st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")
CELLS = st.text(READABLE, max_size=5) | st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.lists(CELLS, min_size=1, max_size=4), min_size=1))
def test_rows_are_read_back_by_pythons_reader(rows: list[list[Any]]) -> None:
    """Whatever is in a text."""
    found = list(csv.reader(io.StringIO(forms.as_csv(rows).decode(), newline="")))

    assert [len(row) for row in found] == [len(row) for row in rows]
    for cells, wanted in zip(found, rows):
        assert [w if isinstance(w, str) else float(c) for c, w in zip(cells, wanted)] == wanted
        assert all(c == w for c, w in zip(cells, wanted) if isinstance(w, str))


@pytest.mark.parametrize("accept", [[], [b""], [b"*/*"]])
def test_who_takes_anything_gets_the_first_of_what_is_offered(
    models: Callable[..., LoadedModel], accept: list[bytes]
) -> None:
    """The short way to a form and the long one end at the same."""
    for body, kind in [(_json("w1"), media.JSON), (b'"w1"', media.LINES), (b"w1", media.CSV)]:
        asked = _asked(models(POOLED), body, kind)

        assert media.takes_all(accept)
        assert asked.form == media.chosen(accept, offered(asked, models(POOLED)))


@pytest.mark.parametrize(
    "accept", [[b"text/csv"], [b"*/*;q=0"], [b"*/*, text/csv;q=0.5"], [b"*/*", b"text/csv"]]
)
def test_who_says_more_than_that_does_not_take_anything(accept: list[bytes]) -> None:
    """What else stands there may prefer, or refuse."""
    assert not media.takes_all(accept)
