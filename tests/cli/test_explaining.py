"""``traceship compile --explain`` as a person and as a script read it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from artifact.manifest import Source
from cli.explaining import explanation_data, explanation_text
from compile.cache.difference import Difference, Nearest
from compile.cache.key import CacheKey
from compile.cache.through import Explanation
from tests.kit.command import traceship
from tests.kit.models import tiny_model

KEY = CacheKey(
    document={
        "task": "t",
        "weights": {"a": "1", "b": "2"},
        "versions": {"torch": "2.13.0", "neuron-cc": None},
    },
    source=Source(id="pypi:m", revision=None, files=()),
)


def test_the_command_explains_a_hit_and_what_a_change_touched(tmp_path: Path) -> None:
    """Compiled once; the same again is a hit; another bucket is named before the compile refuses it."""
    model = tiny_model(tmp_path / "model")
    words = [
        "compile",
        "--model",
        model,
        "--task",
        "feature-extraction",
        "--target",
        "cpu",
        "--bucket",
        "1x16",
    ]
    env = {"TRACESHIP_CACHE": str(tmp_path / "cache")}

    first = traceship(*words, "--out", tmp_path / "one", "--json", "--explain", cwd=tmp_path, env=env)
    second = traceship(*words, "--out", tmp_path / "two", "--json", "--explain", cwd=tmp_path, env=env)
    third = traceship(
        *words, "--bucket", "1x999", "--out", tmp_path / "three", "--explain", cwd=tmp_path, env=env
    )

    assert (first.code, second.code, third.code) == (0, 0, 2), first.stderr + second.stderr
    assert (first.json["cached"], first.json["cache"]["hit"]) == (False, False)
    assert (second.json["cached"], second.json["cache"]["hit"]) == (True, True)
    assert second.json["parity"] == first.json["parity"]
    assert second.json["cache"]["holds"]["task"] == "feature-extraction"
    assert "differs in shapes" in third.stderr
    assert "shapes: ['1x16', '1x999'] here, ['1x16'] there" in third.stderr


def test_without_a_cache_nothing_can_be_explained(tmp_path: Path) -> None:
    """The two options contradict each other."""
    words = ["--model", "m", "--task", "t", "--target", "cpu", "--bucket", "1x16", "--out", "o"]

    answer = traceship("compile", *words, "--no-cache", "--explain", cwd=tmp_path)

    assert answer.code == 2
    assert "--no-cache" in answer.stderr


@pytest.mark.parametrize(
    ("nearest", "last"),
    [(None, "no entry had this key, and there is none of this model"), ("near", "  task: t here, u there")],
)
def test_a_miss_ends_with_its_reason(nearest: str | None, last: str) -> None:
    """Long groups are counted, what is not installed is left out."""
    found = None if nearest is None else Nearest(key=nearest, differences=(Difference("task", "t", "u"),))

    text = explanation_text(Explanation(KEY, hit=False, nearest=found))

    assert text.splitlines()[-1] == last
    assert "  weights: 2 digests" in text
    assert "  versions: torch 2.13.0" in text.splitlines()


def test_more_differences_than_a_screen_are_cut_for_people_and_whole_for_scripts() -> None:
    """Every one is in the JSON."""
    many = tuple(Difference(f"weights.{number:03}", "a", "b") for number in range(50))
    explanation = Explanation(KEY, hit=False, nearest=Nearest(key="near", differences=many))

    assert explanation_text(explanation).splitlines()[-1] == "  and 30 more (all of them with --json)"
    found = json.loads(json.dumps(explanation_data(explanation)))
    assert len(found["differs"]) == 50
    assert found["differs"][0] == {"field": "weights.000", "here": "a", "there": "b"}
