"""`traceship plan` as a user runs it, and `buckets = "auto"` on the way to an artifact."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import jsonschema
import pytest
import torch
from safetensors.torch import load_file

from artifact.verify import verify
from tests.kit.command import CHECKOUT, traceship
from tests.kit.models import tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "bert")


def test_a_pickle_is_planned_for_like_the_same_tensors_in_safetensors_once_it_is_allowed(
    model: Path, tmp_path: Path
) -> None:
    """As for `compile`; parameters and FLOPs are the same."""
    pickled = Path(shutil.copytree(model, tmp_path / "pickled"))
    (pickled / "model.safetensors").unlink()
    torch.save(load_file(str(model / "model.safetensors")), pickled / "pytorch_model.bin")
    (tmp_path / "lengths.csv").write_text("length,count\n8,70\n20,20\n")
    words = ("plan", "--lengths", tmp_path / "lengths.csv", "--buckets", "2", "--json", "--model")

    refused = traceship(*words, pickled, cwd=tmp_path)
    allowed = traceship(*words, pickled, "--allow-pickle", cwd=tmp_path)
    safe = traceship(*words, model, cwd=tmp_path)

    assert (refused.code, refused.error["id"]) == (2, "pickle-refused")
    assert allowed.json == safe.json


def test_a_million_lengths_are_planned_from_the_command_line(tmp_path: Path) -> None:
    """Every row is counted, and the JSON is what the published schema promises."""
    chance = random.Random(0)
    lengths = [min(512, 3 + int(chance.expovariate(1 / 60))) for _ in range(1_000_000)]
    (tmp_path / "lengths.txt").write_text("\n".join(map(str, lengths)))

    plan = traceship("plan", "--lengths", "lengths.txt", "--buckets", "8", "--json", cwd=tmp_path).json

    jsonschema.validate(plan, json.loads((CHECKOUT / "docs/schemas/plan-1.schema.json").read_text()))
    assert plan["rows"] == 1_000_000
    assert plan["real_tokens"] == sum(lengths)
    assert len(plan["buckets"]) == 8
    assert plan["padding_waste"] == (plan["padded_tokens"] - sum(lengths)) / plan["padded_tokens"]
    assert [step["buckets"] for step in plan["marginal"]] == list(range(1, 10))


def test_a_person_reads_buckets_comparison_gain_and_what_to_paste(model: Path, tmp_path: Path) -> None:
    """With a model also FLOPs, memory, and the rows that are too long."""
    (tmp_path / "lengths.csv").write_text("length,count\n8,70\n20,20\n64,9\n100,1\n")

    answer = traceship(
        *("plan", "--lengths", "lengths.csv", "--buckets", "2", "--model", model, "--memory-mb", "2048"),
        *("--batch", "4", "--plot", "plan.svg"),
        cwd=tmp_path,
    )

    assert answer.code == 0
    assert "4x20            90   90.0%     46.7%" in answer.stdout
    assert "GFLOPs a run" in answer.stdout
    assert "one bucket (64): padding 75.0%" in answer.stdout
    assert "powers of two (8, 64): padding 35.5%" in answer.stdout
    assert "rows longer than 64 tokens: 1; refused by the server" in answer.stdout
    assert "36 tokens are cut off" in answer.stdout
    assert "\n--bucket 4x20 --bucket 4x64\n" in answer.stdout
    assert answer.stdout.endswith('[compile] buckets = ["4x20", "4x64"]\n')
    assert answer.stderr == "wrote plan.svg\n"
    assert (tmp_path / "plan.svg").read_text().startswith("<svg")


def test_texts_are_counted_with_the_models_tokenizer(model: Path, tmp_path: Path) -> None:
    """[CLS] and [SEP] included; standard output stays pure."""
    (tmp_path / "texts").write_text("the cat\nthe mill\nit was in the mill\n")

    answer = traceship(
        "plan", "--lengths", "texts", "--buckets", "3", "--model", model, "--json", cwd=tmp_path
    )

    assert [(bucket["length"], bucket["rows"]) for bucket in answer.json["buckets"]] == [(4, 2), (7, 1)]
    assert "count the tokens" in answer.stderr


@pytest.mark.parametrize(
    ("content", "options", "error"),
    [
        ("some text\n", [], "texts-need-model"),
        ("", [], "lengths-empty"),
        ("12\n-3\n", [], "length-refused"),
        ("1,2,3\n", [], "lengths-ambiguous"),
        ("200000\n", [], "lengths-too-long"),
        ("12\n", ["--compile-seconds", "10"], "no-bucket-fits"),
        ("12\n", ["--memory-mb", "10"], "option-does-not-fit"),
        ("12\n", ["--buckets", "0"], "arguments"),
        ("12\n", ["--model", "nowhere"], "model-not-found"),
    ],
)
def test_what_cannot_be_planned_exits_2_and_prints_no_plan(
    content: str, options: list[str], error: str, tmp_path: Path
) -> None:
    """One error object, nothing on standard output."""
    (tmp_path / "lengths").write_text(content)

    answer = traceship("plan", "--lengths", "lengths", "--buckets", "2", "--json", *options, cwd=tmp_path)

    assert (answer.code, answer.stdout, answer.error["id"]) == (2, "", error)


def test_auto_buckets_of_the_settings_become_the_artifacts_buckets(model: Path, tmp_path: Path) -> None:
    """`ship` plans before it compiles; the lengths file lies beside the settings file."""
    from cli.project import Project
    from cli.shipping import compile_artifact

    (tmp_path / "lengths.csv").write_text("length,count\n8,70\n20,20\n50,9\n")
    (tmp_path / "traceship.toml").write_text(
        f'[model]\nsource = "{model}"\n'
        '[compile]\nbuckets = "auto"\nlengths = "lengths.csv"\nauto_buckets = 2\nauto_batch = 2\n'
    )
    project = Project(settings_path=tmp_path / "traceship.toml", stage=None)

    built = compile_artifact(project)
    again = compile_artifact(project)

    buckets = verify(built.path).manifest.buckets
    assert [(bucket.batch, bucket.length) for bucket in buckets] == [(2, 8), (2, 50)]
    assert (again.digest, again.reused) == (built.digest, True)
