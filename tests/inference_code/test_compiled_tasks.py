"""Both halves together: what compile packages, the server loads, replays and answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from inference_code.answering import prepared, written
from inference_code.batching import Planner
from inference_code.errors import InferenceFailed
from inference_code.inference import StockModel, _run_all
from inference_code.load import LoadedModel, load
from tests.inference_code.proving import proven
from tests.inference_code.running import running

transformers = pytest.importorskip("transformers", exc_type=ImportError)

LABELS = ("O", "B-PER", "I-PER")
INPUTS: dict[str, Any] = {
    "feature-extraction": ["the cat", "it was in the mill"],
    "text-classification": ["the cat", {"text": "it was", "text_pair": "in the mill"}],
    "token-classification": ["the cat was in it", "mill"],
    "question-answering": [{"question": "was it", "context": "the cat is in the mill"}],
    "fill-mask": ["the [MASK] is in it"],
    "multiple-choice": [{"text": "the cat", "choices": ["is in it", "was he"]}],
    "translation": ["the cat is in the mill", "it was"],
}


def _packaged(task: str, base: Path, *, published: bool = False) -> Path:
    from compile import parity
    from compile.package import package
    from compile.parity import ProvenModel, judge
    from tests.compile.world import compare_in, make_request, make_world, trace_in
    from tests.kit.marian import marian_model
    from tests.kit.models import tiny_model

    marian = task == "translation"
    labels = LABELS if "classification" in task else None
    model = (
        marian_model(base / "model")
        if published
        else tiny_model(
            base / "model",
            "marian" if marian else "bert",
            task=task,
            labels=labels,
            scale=6.0 if marian else 3.0,
        )
    )
    options = {"max_target_length": 20, "num_beams": 2} if marian else {}
    request = make_request(model, base / "out", "1x16", "2x32", task=task, choices=2, **options)
    world = make_world(request, base / "world")
    traced = trace_in(world)
    result = compare_in(world, traced)
    (world.place.staging / "parity.json").write_bytes(b"{}\n")
    proven = ProvenModel(
        traced=traced,
        parity=parity.Parity(tier="cpu", tolerance=1e-5, compared=1),
        figures=(),
        waivers=judge(result.verdicts, ()),
        mask_token_id=result.mask_token_id,
        metric=None,
        seal=parity._SEAL,
    )
    return package(proven, world.found, world.plan, world.request).path


def _ask(model: LoadedModel, inputs: Any) -> Any:
    asked = prepared(json.dumps({"inputs": inputs}).encode(), model, most=64)
    outputs = _run_all(asked.rows, StockModel(model, Planner(model.manifest.buckets)))
    return json.loads(written(outputs, asked, model))


@pytest.mark.parametrize("task", sorted(INPUTS))
def test_what_is_compiled_is_served(task: str, tmp_path: Path) -> None:
    """The golden set is met in every bucket, and each input gets an answer."""
    torch.set_num_threads(1)
    model = load(_packaged(task, tmp_path))

    measured = proven(model)
    answers = _ask(model, INPUTS[task])

    assert sorted(measured) == ["b1_s16", "b2_s32"]
    assert len(answers) == len(INPUTS[task])
    if task == "translation":
        single = _ask(model, INPUTS[task][0])
        assert single == [answers[0]]
        assert answers[0].keys() == {"translation_text"}


@pytest.mark.parametrize("published", [False, True], ids=["tokenizer.json", "sentencepiece"])
def test_a_served_translation_is_that_of_generate(published: bool, tmp_path: Path) -> None:
    """transformers' own loop on the untraced model, with the settings of the manifest."""
    from compile.seq2seq import generate

    model = load(_packaged("translation", tmp_path, published=published))
    own = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    generation = model.manifest.generation
    assert generation is not None
    for text, answer in zip(INPUTS["translation"], _ask(model, INPUTS["translation"])):
        encoded = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            (tokens,) = generate(own, generation, encoded["input_ids"], encoded["attention_mask"])
        assert answer["translation_text"] == tokenizer.decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )


def test_hugging_faces_client_reads_a_translation(tmp_path: Path) -> None:
    """From the real server, at its address alone."""
    hub = pytest.importorskip("huggingface_hub", minversion="0.30")
    root = _packaged("translation", tmp_path)
    (expected, _) = _ask(load(root), INPUTS["translation"])

    with running(root, cwd=tmp_path) as server:
        server.await_ready()
        client = hub.InferenceClient(base_url=f"http://127.0.0.1:{server.port}")
        found = client.translation(INPUTS["translation"][0], truncation="longest_first")

    assert found.translation_text == expected["translation_text"]


def test_a_translation_with_nan_is_an_error_and_no_text(tmp_path: Path) -> None:
    """A search finds tokens in any numbers."""
    model = load(_packaged("translation", tmp_path))

    def poisoned(graph: Any) -> Any:
        return lambda *inputs: (graph(*inputs)[0] * float("nan"),)

    broken = {name: poisoned(graph) for name, graph in model.graphs.items()}

    with pytest.raises(InferenceFailed, match="not finite"):
        _ask(replace(model, graphs=broken), INPUTS["translation"])
