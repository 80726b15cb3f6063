"""Each task from a real artifact, through the real server and the hooks of the stock container."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from artifact.canonical import encode
from artifact.golden import Case, Golden
from inference_code.inference import input_fn, model_fn, output_fn, predict_fn
from inference_code.load import load
from inference_code.selfcheck import GoldenUnusable, SelfCheckFailed
from tests.inference_code.compared import close
from tests.inference_code.proving import proven
from tests.inference_code.running import RunningServer, running
from tests.kit.handmade import MASK, Recipe, World, build, rewrite, tokenizer

CONTEXT = " ".join(f"w{n}" for n in range(40))
INPUTS: dict[str, list[Any]] = {
    "token-classification": ["w1 w2 w3", "other w9", ""],
    "question-answering": [
        {"question": "w7", "context": "w1 w2"},
        {"question": "w8 w9", "context": CONTEXT},
    ],
    "fill-mask": ["w1 [MASK] w3", "[MASK] w9 [MASK]"],
    "multiple-choice": [
        {"text": "w1 w2", "choices": ["w3", "w4 w5", "w6"]},
        {"text": "w1", "choices": ["w9", "w8"]},
    ],
}
TASKS = sorted(INPUTS)


@pytest.fixture(scope="module", params=TASKS)
def world(request: pytest.FixtureRequest, worlds: Callable[..., World]) -> World:
    """One artifact for each task."""
    return worlds(Recipe(task=request.param))


@pytest.fixture(scope="module")
def served(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Its server, which has replayed the golden set in every bucket."""
    with running(world.root, "--digest", world.digest, cwd=tmp_path_factory.mktemp("cwd")) as started:
        yield started.await_ready()


def test_the_server_answers_what_the_model_says(served: RunningServer, world: World) -> None:
    """Through sockets, batches, padding and filler."""
    inputs = INPUTS[world.recipe.task]
    reply = served.ask(inputs)

    assert reply.status == 200
    for item, answer in zip(inputs, reply.json):
        assert _right(world, item, answer), (item, answer)
    assert len(reply.json) == len(inputs)


def test_one_input_gets_the_answer_that_it_has_in_a_list(served: RunningServer, world: World) -> None:
    """And twenty at once get theirs."""
    inputs = INPUTS[world.recipe.task]
    single = [served.ask(item).json for item in inputs]

    many = served.ask(inputs * 10).json

    assert close(single * 10, many)


def test_the_stock_containers_hooks_answer_alike(served: RunningServer, world: World, tmp_path: Path) -> None:
    """The same bytes in, the same numbers out."""
    shutil.copytree(world.root, tmp_path / "artifact")
    model = model_fn(str(tmp_path))
    body = json.dumps({"inputs": INPUTS[world.recipe.task]})

    answer, _ = output_fn(predict_fn(input_fn(body, "application/json"), model), "application/json")

    assert close(served.ask(INPUTS[world.recipe.task]).json, json.loads(answer))


def test_a_wrong_input_gets_400_and_its_name(served: RunningServer) -> None:
    """For every task the same way."""
    for inputs in (5, [7], [[]], {"x": 1}):
        reply = served.ask(inputs)

        assert (reply.status, reply.json["error"]) == (400, "bad-request")
        assert reply.json["message"].startswith("inputs")


def test_more_windows_or_masks_than_the_queue_holds_are_refused(
    worlds: Callable[..., World], tmp_path: Path
) -> None:
    """413 tells the client that trying again is useless."""
    world = worlds(Recipe(task="question-answering"))
    env = {"TRACESHIP_QUEUE_LIMIT": "3"}
    with running(world.root, cwd=tmp_path, env=env) as server:
        server.await_ready()

        reply = server.ask({"question": "w1", "context": CONTEXT})

        assert (reply.status, reply.json["error"]) == (413, "too-many-inputs")
        assert "windows" in reply.json["message"]
        assert "it has 5, " in server.ask([{"question": "w1", "context": "w2"}] * 5).json["message"]
        assert server.ask({"question": "w1", "context": "w2"}).status == 200


@pytest.mark.parametrize("path", ["", "/invocations"])
def test_hugging_faces_client_reads_the_answers(served: RunningServer, world: World, path: str) -> None:
    """Request and answer shapes of ``huggingface_hub.InferenceClient``, at the address alone, too."""
    hub = pytest.importorskip("huggingface_hub", minversion="0.30")
    if world.recipe.task == "multiple-choice":
        pytest.skip("the client has no method for it")
    client = hub.InferenceClient(f"http://127.0.0.1:{served.port}{path}")
    inputs = INPUTS[world.recipe.task]

    if world.recipe.task == "question-answering":
        found = client.question_answering(**inputs[1], top_k=2, max_answer_len=3)
        assert [one.answer for one in found] == [CONTEXT[one.start : one.end] for one in found]
    elif world.recipe.task == "fill-mask":
        found = client.fill_mask(inputs[0], targets=["w5", "w6"], top_k=2)
        assert {one.token_str for one in found} == {"w5", "w6"}
    else:
        found = client.token_classification(inputs[0], aggregation_strategy="simple")
        assert {one.entity_group for one in found} <= set(world.recipe.labels)
        assert found[0].start == 0
        long = client.token_classification(CONTEXT, aggregation_strategy="simple", stride=3)
        assert long[-1].end == len(CONTEXT)


def test_a_golden_input_must_fit_one_window(tmp_path: Path) -> None:
    """Otherwise its evidence would not be of the bucket that it names."""
    world = build(tmp_path / "long", Recipe(task="question-answering"))
    request = {"inputs": [{"question": "w1", "context": CONTEXT}]}
    cases = tuple(Case(bucket=name, request=request, expected=[0]) for name in load(world.root).graphs)
    rewrite(world.root, "golden.json", encode(Golden(tolerance=1.0, cases=cases)))

    with pytest.raises(GoldenUnusable, match="several windows"):
        proven(load(world.root))


@pytest.mark.parametrize("task", TASKS)
def test_a_graph_that_ignores_its_input_fails_whatever_the_golden_set_says(tmp_path: Path, task: str) -> None:
    """One golden input could be met by a constant."""
    world = build(tmp_path / task, Recipe(task=task, constant=True))
    model = load(world.root)
    golden = json.loads((world.root / "golden.json").read_bytes())
    words = dict(next(iter(model.graphs.values())).named_parameters())["tiny.words"]
    constant = words[0, 0].item()
    cases = tuple(
        Case(bucket=case["bucket"], request=case["request"], expected=_filled(case["expected"], constant))
        for case in golden["cases"]
    )
    rewrite(world.root, "golden.json", encode(Golden(tolerance=1e-5, cases=cases)))

    with pytest.raises(SelfCheckFailed, match="very same answer"):
        proven(load(world.root))


def test_swapped_start_and_end_do_not_pass_the_golden_set(tmp_path: Path) -> None:
    """The names of the two outputs decide, not their likeness."""
    world = build(tmp_path / "swapped", Recipe(task="question-answering"))
    golden = json.loads((world.root / "golden.json").read_bytes())
    for case in golden["cases"]:
        for evidence in case["expected"]:
            start, end = evidence["start_logits"], evidence["end_logits"]
            evidence["start_logits"], evidence["end_logits"] = end, start
    cases = tuple(Case(**case) for case in golden["cases"])
    rewrite(world.root, "golden.json", encode(Golden(tolerance=golden["tolerance"], cases=cases)))

    with pytest.raises(SelfCheckFailed):
        proven(load(world.root))


def _filled(value: Any, number: float) -> Any:
    if isinstance(value, dict):
        return {key: _filled(item, number) for key, item in value.items()}
    return [_filled(item, number) for item in value] if isinstance(value, list) else number


def _right(world: World, item: Any, answer: Any) -> bool:
    """Whether ``answer`` is what the untraced model's outputs mean."""
    return {
        "token-classification": _right_labels,
        "question-answering": _right_span,
        "fill-mask": _right_words,
        "multiple-choice": _right_order,
    }[world.recipe.task](world, item, answer)


def _right_labels(world: World, text: str, answer: Any) -> bool:
    scores = torch.tensor(world.outputs((text, None))[0]).softmax(-1)[1:-1]
    expected = [(world.recipe.labels[row.argmax()], row.max().item()) for row in scores]
    return close([list(pair) for pair in expected], [[one["entity"], one["score"]] for one in answer])


def _right_span(world: World, item: dict[str, str], answer: Any) -> bool:
    """The model mixes in the mean of its window, so only a short context is worked out here."""
    words = item["context"].split()
    if len(words) > 10:
        return bool(item["context"][answer["start"] : answer["end"]] == answer["answer"])
    before = len(item["question"].split()) + 2
    start, end = (
        torch.tensor([logits[0], *logits[before : before + len(words)]]).softmax(-1)[1:]
        for logits in world.outputs((item["question"], item["context"]))
    )
    spans = [(start[i] * end[j], i, j) for i in range(len(words)) for j in range(i, len(words))]
    score, first, last = max(spans, key=lambda span: float(span[0]))
    expected = {"score": score.item(), "answer": " ".join(words[first : last + 1])}
    return close(expected, {name: answer[name] for name in expected})


def _right_words(world: World, text: str, answer: Any) -> bool:
    ids = tokenizer().encode(text).ids
    (logits,) = world.outputs((text, None))
    places = [at for at, token in enumerate(ids) if token == MASK]
    expected = []
    for place in places:
        best = torch.tensor(logits[place]).softmax(-1).topk(5)
        expected.append([best.indices.tolist(), best.values.tolist()])
    answers = [answer] if len(places) == 1 else answer
    return close(expected, [[[w["token"] for w in one], [w["score"] for w in one]] for one in answers])


def _right_order(world: World, item: dict[str, Any], answer: Any) -> bool:
    (logits,) = world.outputs(*((item["text"], choice) for choice in item["choices"]))
    best = torch.tensor(logits).softmax(-1).sort(descending=True)
    found = [[one["choice"] for one in answer], [one["score"] for one in answer]]
    return close([best.indices.tolist(), best.values.tolist()], found)
