"""XLM and FlauBERT without a tokenizer.json: compiled by the real command, encoded by the server."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import transformers

from artifact.verify import verify
from compile import gates
from compile.model import load_tokenizer
from compile.pipeline import compile_model
from inference_code.answering import prepared, written
from inference_code.batching import Planner
from inference_code.encoding import Encoder
from inference_code.inference import StockModel, _run_all
from inference_code.load import LoadedModel, load
from inference_code.requests import Text
from tests.compile.test_moses_tokenizer import SENTENCES
from tests.compile.world import make_request, make_world, subject_in, trace_in
from tests.inference_code.proving import proven
from tests.kit.moses import moses_model

_ROOT = Path(__file__).resolve().parents[2]
_TYPES = ("token_type_ids",) if transformers.__version__.startswith("4.") else ()
_TASKS = {"xlm": "token-classification", "flaubert": "question-answering"}
_CONTEXT = (
    'Mr. Smith\u2019s cat isn\'t at N\u00ba\u00a05\u2026 \u00ab\u00a0Ici\u00a0\u00bb said "so," and left.'
)


@dataclass(frozen=True)
class Compiled:
    """A checkpoint, what the command made of it, and transformers' tokenizer."""

    architecture: str
    model: Path
    root: Path
    own: Any

    def encoder(self, root: Path | None = None) -> Encoder:
        """As the server has it."""
        artifact = verify(root or self.root)
        return Encoder((artifact.root / artifact.manifest.tokenizer).read_bytes(), artifact.manifest)


@pytest.fixture(scope="module", params=sorted(_TASKS))
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """By ``python -m compile``, in processes of its own."""
    architecture, base = request.param, tmp_path_factory.mktemp("compiled")
    task = _TASKS[architecture]
    labels = ("O", "B-PER", "I-PER") if task == "token-classification" else None
    model = moses_model(base / "model", architecture, task=task, labels=labels)
    finished = subprocess.run(
        [sys.executable, "-m", "compile", "--model", str(model), "--task", task, "--target", "cpu",
         "--bucket", "2x64", "--truncate", "--out", str(base / "out"), "--json"],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    return Compiled(architecture, model, base / "out", load_tokenizer(str(model)))


def test_the_server_makes_transformers_rows(compiled: Compiled) -> None:
    """Ids, and token types where this transformers makes them, of texts and pairs that may be cut."""
    encoder = compiled.encoder()
    cut = {"truncation": True, "max_length": 64, "verbose": False}

    for text in SENTENCES:
        for pair in (None, SENTENCES[0]):
            row, expected = encoder.encode(Text("inputs", text, pair)), compiled.own(text, pair, **cut)
            assert row.ids == expected["input_ids"]
            assert row.types == expected.get("token_type_ids", row.types)
    assert [tensor.name for tensor in encoder.manifest.inputs] == ["input_ids", "attention_mask", *_TYPES]


@pytest.mark.parametrize("joint", [" ", ". ", "\u2026 ", '" ,', ".' ", " < ", "\u200b", "'"])
def test_a_long_text_is_cut_as_if_read_whole(compiled: Compiled, joint: str) -> None:
    """The server reads a beginning; what its end would have changed does not count."""
    encoder = compiled.encoder()

    for skipped in range(0, 42, 6):
        text = ("x " * skipped) + joint.join(f"{sentence} <special1>" for sentence in SENTENCES)
        expected = compiled.own(text, truncation=True, max_length=64, verbose=False)["input_ids"]
        assert encoder.encode(Text("inputs", text, None)).ids == expected


def test_answers_are_texts_of_the_request(compiled: Compiled) -> None:
    """The artifact proves itself as at every start; what it finds lies where it says."""
    model = load(compiled.root)
    asked = _CONTEXT if compiled.architecture == "xlm" else {"question": "Who?", "context": _CONTEXT}

    assert sorted(proven(model)) == ["b2_s64"]
    answers = _ask(model, asked, {} if compiled.architecture == "xlm" else {"top_k": 30})

    assert len(answers) > 10
    for answer in answers:
        shown = _CONTEXT[answer["start"] : answer["end"]]
        assert shown
        assert answer.get("answer", shown) == shown
        assert answer["start"] < answer["end"]


def _ask(model: LoadedModel, inputs: Any, parameters: dict[str, Any]) -> Any:
    if model.manifest.task == "token-classification":
        parameters = {**parameters, "ignore_labels": []}
    asked = prepared(json.dumps({"inputs": inputs, "parameters": parameters}).encode(), model, most=64)
    outputs = _run_all(asked.rows, StockModel(model, Planner(model.manifest.buckets)))
    return json.loads(written(outputs, asked, model))


def test_the_gate_catches_other_rules(tmp_path: Path) -> None:
    """A checkpoint whose tokenizer keeps accents is not served by one that strips them."""
    model = moses_model(tmp_path / "m", "xlm")
    world = make_world(make_request(model, tmp_path / "out", "2x32"), tmp_path / "world")
    subject = subject_in(world, trace_in(world))
    described = json.loads((model / "tokenizer_config.json").read_text())
    described["do_lowercase_and_remove_accent"] = False
    (model / "tokenizer_config.json").write_text(json.dumps(described))

    assert not gates.tokenizer(subject, load_tokenizer(str(model))).passed


def test_masked_words_are_those_of_the_pipeline(tmp_path: Path) -> None:
    """Token, word and sentence, of the untraced model with transformers' tokenizer."""
    model = moses_model(tmp_path / "model", "xlm", task="fill-mask")
    request = make_request(model, tmp_path / "out", "1x32", task="fill-mask")
    text = "The cat, Mr. Smith\u2019s, is <special1> the mill."

    answers = _ask(load(compile_model(request, [].append).path), text, {})

    own = load_tokenizer(str(model))
    own.clean_up_tokenization_spaces = False  # which inference_code/vocabulary.py does not count
    expected = transformers.pipeline("fill-mask", model=str(model), tokenizer=own)(text)
    for answer, theirs in zip(answers, expected):
        assert answer.keys() == theirs.keys()
        assert abs(answer.pop("score") - theirs.pop("score")) < 1e-5
    assert answers == expected
