"""Answers out of a context, long or short, against the pipeline's rules worked out the slow way."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference_code.answering import arranged
from inference_code.encoding import MAX_UNSETTLED
from inference_code.errors import BadRequest, InputTooLong, TooManyInputs
from inference_code.question_answering import Question
from inference_code.rows import Outputs
from inference_code.task import Answered
from inference_code.tasks import task_of
from inference_code.windows import MAX_WINDOWS
from tests.inference_code.compared import close
from tests.inference_code.pretrained import TOKENIZERS, Pretrained, transformers

LIMIT = 64
CONTEXT = (
    "Anna and Boris (\u00e9) went from Berlin to Kyoto. the cat is in the mill, it was 1,234 for \U0001f600"
    " him. Nobody knows w h y zebras quit 42 jumbled boxes \u4e2d of vodka; the cat was Fjord's."
)
ASKED = {"question": "where is the cat?", "context": CONTEXT}
SHORT = {"question": "is it?", "context": "the cat is in  the mill\u2026 Kyoto"}
PARAMETERS: list[dict[str, Any]] = [
    {},
    {"top_k": 4},
    {"top_k": 3, "max_answer_len": 2},
    {"max_answer_len": 1, "align_to_words": False},
    {"handle_impossible_answer": True},
    {"handle_impossible_answer": True, "top_k": 5},
    {"doc_stride": 0, "top_k": 2},
    {"doc_stride": 20, "max_seq_len": 52},
]


@pytest.fixture(scope="module", params=sorted(TOKENIZERS))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    """One model for each family of tokenizers."""
    folder = tmp_path_factory.mktemp("questions")
    return Pretrained(folder, "question-answering", tokenizer=TOKENIZERS[request.param]())


def reference(model: Pretrained, asked: dict[str, str], **parameters: Any) -> Any:
    """transformers 4.36.2's pipeline in plain words: its tokenizer's windows, every span by hand."""
    limit = parameters.get("max_seq_len", LIMIT)
    encoded = model.tokenizer(
        asked["question"],
        asked["context"],
        truncation="only_second",
        max_length=limit,
        stride=parameters.get("doc_stride", min(limit // 2, 128)),
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    top_k, nothing = parameters.get("top_k", 1), math.inf
    answers: list[dict[str, Any]] = []
    for at in range(len(encoded["input_ids"])):
        found, null = _window(model, encoded, at, asked["context"], parameters)
        answers += found[:top_k]
        nothing = min(nothing, null)
    if parameters.get("handle_impossible_answer"):
        answers.append({"score": nothing, "start": 0, "end": 0, "answer": ""})
    answers.sort(key=lambda answer: -answer["score"])
    return answers[0] if top_k == 1 else answers[:top_k]


def _window(
    model: Pretrained, encoded: Any, at: int, context: str, parameters: dict[str, Any]
) -> tuple[list[dict[str, Any]], float]:
    ids = torch.tensor([encoded["input_ids"][at]])
    types = torch.tensor([encoded.encodings[at].type_ids])
    with torch.no_grad():
        said = model.model(input_ids=ids, attention_mask=torch.ones_like(ids), token_type_ids=types)
    sequences = encoded.sequence_ids(at)
    start, end = (
        _softmax(
            [v if s == 1 or i == 0 else -1e9 for i, (v, s) in enumerate(zip(logits[0].tolist(), sequences))]
        )
        for logits in (said.start_logits, said.end_logits)
    )
    tokens = [i for i, sequence in enumerate(sequences) if sequence == 1]
    longest = parameters.get("max_answer_len", 15)
    spans = sorted((-start[i] * end[j], i, j) for i in tokens for j in tokens if i <= j < i + longest)
    answers = []
    for score, i, j in spans:
        first, last = encoded["offset_mapping"][at][i][0], encoded["offset_mapping"][at][j][1]
        if parameters.get("align_to_words", True):
            first = encoded.word_to_chars(at, encoded.token_to_word(at, i), 1).start
            last = encoded.word_to_chars(at, encoded.token_to_word(at, j), 1).end
        answers.append({"score": -score, "start": first, "end": last, "answer": context[first:last]})
    return answers, start[0] * end[0]


def _softmax(logits: list[float]) -> list[float]:
    array = np.array(logits, dtype=np.float64)
    array = np.exp(array - array.max())
    return list((array / array.sum()).tolist())


@pytest.mark.parametrize("parameters", PARAMETERS, ids=str)
@pytest.mark.parametrize("asked", [ASKED, SHORT], ids=["windows", "one bucket"])
def test_the_answers_are_the_pipelines(
    model: Pretrained, asked: dict[str, str], parameters: dict[str, Any]
) -> None:
    """The best spans over all windows, words whole, "no answer" in its place."""
    assert close(reference(model, asked, **parameters), model.ask(asked, **parameters))


@pytest.mark.skipif(
    not hasattr(transformers, "QuestionAnsweringPipeline"), reason="this transformers has no such pipeline"
)
@pytest.mark.parametrize("parameters", PARAMETERS, ids=str)
def test_the_reference_is_the_pipeline(model: Pretrained, parameters: dict[str, Any]) -> None:
    """Where transformers still has it, ours and the one written here are compared with it."""
    pipeline = model.pipeline()

    for asked in (ASKED, SHORT):
        expected = pipeline(**asked, **{"max_seq_len": LIMIT, **parameters})
        assert close(expected, reference(model, asked, **parameters))
        assert close(expected, model.ask(asked, **parameters))


def test_a_long_context_takes_windows_and_a_short_one_does_not(model: Pretrained) -> None:
    """Or the comparisons above would compare one kind only."""
    asked = arranged({"inputs": [ASKED, SHORT]}, model.loaded, most=20)

    assert [len(rows) > 1 for rows in asked.rows_of] == [True, False]
    assert all(row.length <= LIMIT for row in asked.rows)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    question=st.lists(st.sampled_from(["is", "it", "\u00e9", "Kyoto", "?"]), min_size=1, max_size=8),
    context=st.lists(
        st.sampled_from(["the", "mill", "1,234", "  ", "caf\u00e9.", "zzz"]), min_size=1, max_size=90
    ),
    stride=st.integers(0, 8),
    limit=st.integers(50, LIMIT),
)
def test_windows_are_those_that_transformers_cuts(
    model: Pretrained, question: list[str], context: list[str], stride: int, limit: int
) -> None:
    """Ids, types, offsets and words of each, for any text."""
    asked = {"question": " ".join(question), "context": " ".join(context)}
    if not asked["context"].strip():
        return
    cut = {"truncation": "only_second", "max_length": limit, "stride": stride}
    expected = model.tokenizer(
        asked["question"], asked["context"], return_overflowing_tokens=True, **cut
    ).encodings

    rows = arranged(
        {"inputs": asked, "parameters": {"doc_stride": stride, "max_seq_len": limit}}, model.loaded, most=256
    ).rows

    assert [row.ids for row in rows] == [part.ids for part in expected]
    assert [row.types for row in rows] == [part.type_ids for part in expected]
    for row, part in zip(rows, expected):
        assert row.marks is not None
        assert list(row.marks.offsets) == part.offsets
        assert list(row.marks.words) == part.word_ids
        assert list(row.marks.sequences) == part.sequence_ids


def test_a_context_without_tokens_is_refused(tmp_path: Any) -> None:
    """White space alone holds no token, so nothing that an answer could be."""
    model = Pretrained(tmp_path, "question-answering")

    with pytest.raises(BadRequest, match="no tokens") as refused:
        model.ask({"question": "a", "context": " \n "})
    assert refused.value.field == "inputs.context"


def test_a_list_gets_a_list(model: Pretrained) -> None:
    """Windows of one question never answer another."""
    single = [model.ask(asked) for asked in (ASKED, SHORT, ASKED)]

    assert close(single, model.ask([ASKED, SHORT, ASKED]))
    assert close([single[1]], model.ask([SHORT]))
    assert model.ask([]) == []


def test_a_question_is_cut_only_when_asked(model: Pretrained) -> None:
    """``max_question_len`` in tokens; without it the question is kept whole or refused."""
    long = {"question": "is it in the mill " * 20, "context": "the cat"}
    shorter = arranged({"inputs": long, "parameters": {"max_question_len": 3}}, model.loaded, most=5).rows
    ids = model.tokenizer(long["question"], add_special_tokens=False)["input_ids"][:3]

    assert all(list(row.ids[1:4]) == ids for row in shorter)
    assert shorter[0].marks is not None
    assert list(shorter[0].marks.sequences).count(0) == 3
    with pytest.raises(InputTooLong) as refused:
        model.ask(long)
    assert refused.value.message.startswith("inputs.question")


def test_a_question_that_leaves_little_room_still_gets_windows(model: Pretrained) -> None:
    """The usual overlap would be more than a window holds; half a window takes its place."""
    words = ["it"] * 3
    while len(model.tokenizer(" ".join([*words, "it"]), "x")["input_ids"]) < LIMIT - 10:
        words.append("it")
    asked = {"question": " ".join(words), "context": "the cat is in the mill " * 3}

    rows = arranged({"inputs": asked}, model.loaded, most=200).rows

    assert len(rows) > 1
    assert model.ask(asked)["answer"] in asked["context"]


def test_windows_count_as_inputs(model: Pretrained) -> None:
    """One question with five windows is as much work as five questions."""
    count = len(arranged({"inputs": ASKED}, model.loaded, most=50).rows)

    with pytest.raises(TooManyInputs, match="windows"):
        arranged({"inputs": [ASKED, ASKED]}, model.loaded, most=2 * count - 1)
    assert len(arranged({"inputs": [ASKED, ASKED]}, model.loaded, most=2 * count).rows) == 2 * count


def test_megabytes_of_context_are_not_even_tokenised(model: Pretrained) -> None:
    """Refused by their characters, whatever they hold."""
    with pytest.raises(BadRequest, match=f"the limit is {MAX_UNSETTLED}") as refused:
        model.ask({"question": "a", "context": "a " * MAX_UNSETTLED})

    assert refused.value.field == "inputs.context"


def test_the_least_likely_window_decides_that_there_is_no_answer(model: Pretrained) -> None:
    """Wherever it lies: a single window that holds the answer is enough."""
    rows = arranged({"inputs": ASKED}, model.loaded, most=20).rows
    task, item = task_of(model.loaded.manifest), Question("inputs", **ASKED)
    flat = [Outputs(arrays=(np.zeros(row.length, np.float32),) * 2) for row in rows]
    sure = np.zeros(rows[0].length, np.float32)
    sure[-2] = 9.0  # a token of the context; the last one is special
    outputs = [Outputs(arrays=(sure, sure)), *flat[1:]]
    parameters = {"handle_impossible_answer": True, "max_answer_len": 1, "top_k": 1000}

    found = task.answer(Answered(item, rows, outputs), parameters, model.loaded.encoder)

    (nothing,) = (answer for answer in found if not answer["answer"])
    assert nothing["score"] == pytest.approx(math.exp(-18), rel=0.1)


@pytest.mark.parametrize(
    ("inputs", "parameters", "field"),
    [
        ("a", {}, "inputs"),
        ([ASKED, "a"], {}, "inputs[1]"),
        ({"question": "a"}, {}, "inputs.context"),
        ({"question": "", "context": "a"}, {}, "inputs.question"),
        ([{"question": "a", "context": ""}], {}, "inputs[0].context"),
        ({"question": ["a"], "context": "a"}, {}, "inputs.question"),
        ({"question": "a", "context": "b", "id": 1}, {}, 'inputs."id"'),
        ({"question": "a", "context": "the cat " * (20 * MAX_WINDOWS)}, {}, "inputs.context"),
        (ASKED, {"top_k": 0}, "parameters.top_k"),
        (ASKED, {"max_answer_len": 0}, "parameters.max_answer_len"),
        (ASKED, {"max_answer_len": "15"}, "parameters.max_answer_len"),
        (ASKED, {"max_question_len": 1.5}, "parameters.max_question_len"),
        (ASKED, {"handle_impossible_answer": 1}, "parameters.handle_impossible_answer"),
        (ASKED, {"align_to_words": "yes"}, "parameters.align_to_words"),
        (ASKED, {"max_seq_len": LIMIT + 1}, "parameters.max_seq_len"),
        (ASKED, {"doc_stride": -1}, "parameters.doc_stride"),
        (ASKED, {"doc_stride": LIMIT}, "parameters.doc_stride"),
        (ASKED, {"padding": True}, 'parameters."padding"'),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_wrong_is_named(
    model: Pretrained, inputs: Any, parameters: dict[str, Any], field: str
) -> None:
    """By its place in the request."""
    with pytest.raises(BadRequest) as refused:
        model.ask(inputs, **parameters)

    assert refused.value.field == field
