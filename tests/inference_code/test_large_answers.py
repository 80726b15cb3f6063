"""A small body that asks for a large answer: it delays nobody else, has a limit, and keeps the deadline."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from artifact.serving import MAX_ANSWERS
from inference_code import answering, question_answering
from inference_code.allowance import Allowance
from inference_code.answering import Prepared, prepared, written
from inference_code.errors import AnswerTooLarge, DeadlinePassed, TooManyAnswers
from inference_code.load import LoadedModel
from inference_code.media import JSON, LINES, NPY, Content
from inference_code.rows import Marks, Outputs
from tests.inference_code.held import held
from tests.inference_code.running import RunningServer, running
from tests.inference_code.test_proving_workers import changed
from tests.kit.handmade import VOCABULARY, Recipe, World
from tests.kit.in_process import answered

QUICK_SECONDS = 1.0
"""/ping and /metrics within that, where what they waited for took 13 s and longer."""
MASKS = Recipe(task="fill-mask", buckets=((1, 512),))
QUESTIONS = Recipe(task="question-answering", buckets=((8, 128),))
WORDS = {"top_k": 1000}
"""Of each mask all, as the vocabulary has fewer."""
MOST_MASKS = MAX_ANSWERS // VOCABULARY
CONTEXT = " ".join(f"w{n}" for n in range(60))


def masked(masks: int) -> str:
    """A text that fills the bucket."""
    return " ".join(["[MASK]"] * masks + ["w1"] * (505 - masks))


@contextlib.contextmanager
def others_asking(server: RunningServer) -> Iterator[list[float]]:
    """Seconds of each /ping and /metrics meanwhile, at least one of each."""
    took: list[float] = []
    over = threading.Event()

    def ask() -> None:
        for path in itertools.cycle(["/ping", "/metrics"]):
            if over.is_set() and len(took) > 1:
                return
            started = time.monotonic()
            assert server.call("GET", path).status == 200
            took.append(time.monotonic() - started)

    with ThreadPoolExecutor(1) as thread:
        asking = thread.submit(ask)
        try:
            yield took
        finally:
            over.set()
            asking.result()


def test_thousands_of_sentences_delay_nobody(worlds: Callable[..., World], tmp_path: Path) -> None:
    """2 KB for 31 MB from each of four clients, each sentence the right one."""
    with running(worlds(MASKS).root, cwd=tmp_path) as server, ThreadPoolExecutor(4) as clients:
        server.await_ready()
        with others_asking(server) as took:
            text = masked(MOST_MASKS)
            replies = list(clients.map(lambda _: server.ask(text, **WORDS), range(4)))

    assert [reply.status for reply in replies] == [200] * 4
    assert max(took) < QUICK_SECONDS
    found = replies[0].json
    assert [len(words) for words in found] == [VOCABULARY] * MOST_MASKS
    for at, words in enumerate(found):
        for word in words[:: VOCABULARY // 4]:
            if word["token_str"] != "[PAD]":  # which no text shows
                expected = ["[CLS]", *text.split(), "[SEP]"]
                expected[1 + at] = word["token_str"]
                assert word["sequence"] == " ".join(expected)


def test_thousands_of_answers_delay_nobody(worlds: Callable[..., World], tmp_path: Path) -> None:
    """Each of the spans' answers is what stands there in the context."""
    asked = [{"question": "w1", "context": CONTEXT}] * (MAX_ANSWERS // 1000)
    with running(worlds(QUESTIONS).root, cwd=tmp_path) as server:
        server.await_ready()
        with others_asking(server) as took:
            reply = server.ask(asked, top_k=1000, max_answer_len=60)

    assert reply.status == 200
    assert max(took) < QUICK_SECONDS
    assert [len(answers) for answers in reply.json] == [1000] * len(asked)
    assert all(CONTEXT[a["start"] : a["end"]] == a["answer"] for a in reply.json[0])


@pytest.mark.parametrize(
    ("recipe", "inputs", "parameters", "answers"),
    [
        (MASKS, masked(MOST_MASKS + 1), WORDS, (MOST_MASKS + 1) * VOCABULARY),
        (MASKS, [masked(1)] * (MOST_MASKS + 1), WORDS, (MOST_MASKS + 1) * VOCABULARY),
        (
            QUESTIONS,
            [{"question": "w1", "context": CONTEXT}] * 17,
            {"top_k": 1000, "max_answer_len": 60},
            17_000,
        ),
    ],
    ids=["masks", "texts", "questions"],
)
def test_more_answers_than_are_written_are_refused_before_the_model_runs(
    worlds: Callable[..., World],
    tmp_path: Path,
    recipe: Recipe,
    inputs: Any,
    parameters: dict[str, Any],
    answers: int,
) -> None:
    """By their number, with the limit; in lines as in a list."""
    with running(worlds(recipe).root, cwd=tmp_path) as server:
        server.await_ready()
        before = server.metric("traceship_batches_total")
        replies = [server.ask(inputs, **parameters)]
        if isinstance(inputs, list):
            lines = [json.dumps({"inputs": item, "parameters": parameters}) for item in inputs]
            head = {"Content-Type": LINES}
            replies.append(server.call("POST", "/invocations", "\n".join(lines).encode(), head))
        ran = server.metric("traceship_batches_total") - before

    for reply in replies:
        assert (reply.status, reply.json["error"]) == (413, "too-many-answers")
        assert f"top_k makes them {answers}, the limit is {MAX_ANSWERS}" in reply.json["message"]
    assert ran == 0


def _outputs(model: LoadedModel, asked: Prepared) -> list[Outputs]:
    bucket = max(model.manifest.buckets, key=lambda bucket: bucket.length)
    return [outputs for row in asked.rows for outputs in model.run(bucket, [row])]


ASKED: list[tuple[Recipe, Any, dict[str, Any]]] = [
    (MASKS, [masked(3), "[MASK]", "w1 [MASK] w2 [MASK]"], {"top_k": 3}),
    (MASKS, masked(20), WORDS),
    (MASKS, ["[MASK] w1"], {"targets": ["w1", "w2"], "top_k": 5}),
    (QUESTIONS, [{"question": "w1 w2 " * 30, "context": "w7"}] * 3, {"top_k": 1000}),
    (QUESTIONS, [{"question": "w1", "context": CONTEXT * 3}, {"question": "w1", "context": "w1 w2"}], {}),
    (QUESTIONS, {"question": "w1", "context": CONTEXT}, {"top_k": 1000, "max_answer_len": 9}),
    (Recipe(pooling="none"), ["w1 w2", "", "w3"], {}),
    (Recipe(), ["w1 w2", {"source_sentence": "w1", "sentences": ["w2", "w3"] * 20}], {}),
    (Recipe(task="token-classification"), ["w1 w2", ""], {}),
]


@pytest.mark.parametrize(("recipe", "inputs", "parameters"), ASKED)
def test_what_is_known_before_is_never_more_than_what_is_written(
    models: Callable[..., LoadedModel], recipe: Recipe, inputs: Any, parameters: dict[str, Any]
) -> None:
    """Or answers that are small enough would be refused; ``top_k`` makes exactly so many as counted."""
    model = models(recipe)
    body = json.dumps({"inputs": inputs, "parameters": parameters}).encode()
    asked = prepared(body, model, most=1000)

    answer = written(_outputs(model, asked), asked, model)

    assert asked.extent.size <= len(answer)
    assert asked.extent.seconds > 0
    if recipe in (MASKS, QUESTIONS):
        assert asked.extent.answers == answer.count(b'"score"')
    if inputs == masked(20):
        assert asked.extent.size > 0.9 * len(answer), "of long texts their length counts"


@pytest.mark.parametrize(("recipe", "inputs", "parameters"), ASKED)
@pytest.mark.parametrize("form", [JSON, LINES])
def test_the_largest_answer_is_written_and_one_byte_more_is_not(
    models: Callable[..., LoadedModel], recipe: Recipe, inputs: Any, parameters: dict[str, Any], form: str
) -> None:
    """What stands between the pieces does not count."""
    model = models(recipe)
    body = json.dumps({"inputs": inputs, "parameters": parameters}).encode()
    asked = prepared(body, model, most=1000)
    outputs = _outputs(model, asked)
    single = not isinstance(inputs, list)
    between = int(form == LINES) if single else len(inputs) + (form == JSON)
    size = len(written(outputs, asked, model, form)) - between

    assert len(written(outputs, asked, model, form, Allowance(limit=size))) == size + between
    with pytest.raises(AnswerTooLarge) as refused:
        written(outputs, asked, model, form, Allowance(limit=size - 1))
    assert refused.value.status == 413
    with pytest.raises(DeadlinePassed):
        written(outputs, asked, model, form, Allowance(time.monotonic(), seconds=1.0))


def test_arrays_have_the_limit_too(models: Callable[..., LoadedModel]) -> None:
    """Whatever the form."""
    model = models(Recipe())
    asked = prepared(b'{"inputs": ["w1", "w2"]}', model, most=10)

    with pytest.raises(AnswerTooLarge):
        written(_outputs(model, asked), asked, model, NPY, Allowance(limit=100))


def test_vectors_that_cannot_fit_are_refused_before_the_model_runs(
    models: Callable[..., LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four bytes a number they have in any form. Sentences to compare have one number each."""
    model, texts = models(Recipe(pooling="none")), ["w1 w2"] * 10
    monkeypatch.setattr(answering, "MAX_ANSWER_BYTES", 10 * 4 * 8 * 4 - 1)

    with pytest.raises(AnswerTooLarge, match=f"at least {10 * 4 * 8 * 4} bytes"):
        prepared(json.dumps({"inputs": texts}).encode(), model, most=10)
    with pytest.raises(AnswerTooLarge):
        prepared("\n".join(map(json.dumps, texts)).encode(), model, most=10, content=Content(LINES))
    assert prepared(json.dumps({"inputs": texts[:9]}).encode(), model, most=10).rows
    compared = {"inputs": {"source_sentence": "w1", "sentences": ["w2"] * 200}}
    assert prepared(json.dumps(compared).encode(), models(Recipe()), most=300).rows


def test_one_endless_word_in_a_thousand_answers_is_refused(
    models: Callable[..., LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be copied into each before any was written: of 100 KB, a hundred million."""
    monkeypatch.setattr(question_answering, "MAX_ANSWER_BYTES", 10_000_000)
    context = f"{' w1' * 50} {'a' * 110_000} {'w1 ' * 50}"
    body = {
        "inputs": {"question": "w1", "context": context},
        "parameters": {"top_k": 1000, "max_answer_len": 100},
    }

    status, answer = answered(models(QUESTIONS), json.dumps(body).encode())

    assert (status, json.loads(answer)["error"]) == (413, "answer-too-large")
    assert "the limit is 10000000" in json.loads(answer)["message"]


def test_words_of_many_tokens_are_looked_at_once() -> None:
    """A word of all the window's tokens in each of a thousand answers."""

    class Counting(list[Any]):
        looked = 0

        def __getitem__(self, at: Any) -> Any:
            self.looked += 1
            return super().__getitem__(at)

    names = Counting([None, *[0] * 400, *range(1, 5), None])
    tokens = range(1, 405)
    marks = Marks([(at, at + 1) for at in range(406)], names, [None, *[1] * 404, None])
    words = question_answering._Words(marks, tokens, align=True)

    found = {words.of(number) for number in np.resize(np.arange(404), 20_000).tolist()}

    assert found == {(1, 401), *((at, at + 1) for at in range(401, 405))}
    assert names.looked < 25_000


_SLOW_WRITER = """\
import sys
import time
from pathlib import Path

if "serve" in sys.orig_argv:
    from inference_code import aside, forms

    as_json = forms.as_json

    def slow(value):
        if isinstance(value, list) and len(value) > 64:
            while not Path("go on").exists():
                time.sleep(0.01)
        return as_json(value)

    forms.as_json = slow
    aside._BOOKED_SECONDS = 0.1
"""


def test_writing_has_the_requests_deadline_and_a_bounded_queue(
    worlds: Callable[..., World], tmp_path: Path
) -> None:
    """504 for what is not written in time, 429 for what could only wait; /metrics and small ones go on."""
    env = changed(tmp_path, _SLOW_WRITER) | {"TRACESHIP_DEADLINE_SECONDS": "4"}
    with running(worlds(MASKS).root, cwd=tmp_path, env=env) as server, ThreadPoolExecutor(2) as clients:
        server.await_ready()
        text, ran = masked(MOST_MASKS), server.metric("traceship_batches_total")
        started = time.monotonic()
        both = [clients.submit(server.ask, text, **WORDS) for _ in range(2)]
        while server.metric("traceship_batches_total") < ran + 2:
            assert not any(one.done() for one in both)
        refused = server.ask(text, **WORDS)
        small = server.ask(masked(1))
        with others_asking(server) as took:
            pass
        early = not any(one.done() for one in both)
        late, seconds = [one.result() for one in both], time.monotonic() - started
        still = server.ask(text, **WORDS)
        more = server.metric("traceship_batches_total") - ran
        (tmp_path / "go on").touch()
        while (well := server.ask(text, **WORDS)).status == 429:
            assert server.process.poll() is None

    assert early
    assert [(reply.status, reply.json["error"]) for reply in late] == [(504, "deadline-passed")] * 2
    assert 4 <= seconds < 10
    assert (refused.status, refused.json["error"]) == (429, "too-much-to-write")
    assert refused.headers["retry-after"] == "1"
    assert small.status == 200
    assert max(took) < QUICK_SECONDS
    assert still.status == 429, "the threads are still at it"
    assert more == 3, "what was refused did not run"
    assert well.status == 200


_SLOW_READER = """\
import sys
import time
from pathlib import Path

if "serve" in sys.orig_argv:
    from inference_code import strict_json

    decode = strict_json.decode

    def slow(body):
        if len(body) > 16_384:
            Path(f"reading {time.monotonic()}").touch()
            began = time.monotonic()
            while not Path("go on").exists() and time.monotonic() - began < READS_FOR:
                time.sleep(0.01)
        return decode(body)

    strict_json.decode = slow
"""


def test_bodies_that_are_read_have_the_deadline_and_a_place_in_the_queue(
    worlds: Callable[..., World], tmp_path: Path
) -> None:
    """What is being read will need room in the queue: it is full before the last one was tokenised."""
    env = changed(tmp_path, _SLOW_READER.replace("READS_FOR", "60"))
    env |= {"TRACESHIP_QUEUE_LIMIT": "2", "TRACESHIP_DEADLINE_SECONDS": "4"}
    body, head = b'{"inputs": "w1"' + b" " * 20_000 + b"}", {"Content-Type": JSON}
    with running(worlds(Recipe()).root, cwd=tmp_path, env=env) as server, ThreadPoolExecutor(2) as clients:
        server.await_ready()
        asked = [clients.submit(server.call, "POST", "/invocations", body, head) for _ in range(2)]
        while len(list(tmp_path.glob("reading *"))) < 2:
            assert not any(one.done() for one in asked)
        refused = server.ask("w1")
        with others_asking(server) as took:
            pass
        late = [one.result() for one in asked]
        (tmp_path / "go on").touch()
        well = server.call("POST", "/invocations", body, head)

    assert (refused.status, refused.json["error"]) == (429, "too-many-requests")
    assert max(took) < QUICK_SECONDS
    assert [(reply.status, reply.json["error"]) for reply in late] == [(503, "deadline-in-queue")] * 2
    assert well.status == 200


def test_a_request_has_one_deadline_from_its_body_to_its_answer(
    worlds: Callable[..., World], tmp_path: Path
) -> None:
    """Three seconds went by while it was read: a model that hangs has the fourth one left."""
    env = changed(tmp_path, _SLOW_READER.replace("READS_FOR", "3")) | {"TRACESHIP_DEADLINE_SECONDS": "4"}
    body, head = b'{"inputs": "w1"' + b" " * 20_000 + b"}", {"Content-Type": JSON}
    with running(worlds(Recipe()).root, cwd=tmp_path, env=env) as server:
        server.await_ready()
        started = time.monotonic()
        with held(server):
            late = server.call("POST", "/invocations", body, head)
            seconds = time.monotonic() - started
        well = server.ask("w1")

    assert (late.status, late.json["error"]) == (504, "deadline-passed")
    assert 4 <= seconds < 5.5
    assert well.status == 200


def test_the_limits_errors_say_what_to_do() -> None:
    """Numbers and a way out."""
    many, large = TooManyAnswers(found=5, limit=4), AnswerTooLarge(found=9, limit=8, at_least=True)

    assert "top_k makes them 5, the limit is 4; send a smaller top_k" in many.message
    assert "at least 9 bytes, the limit is 8" in large.message
