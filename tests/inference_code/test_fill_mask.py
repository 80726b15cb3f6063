"""Masked words as transformers' own pipeline finds them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from artifact.manifest import Tensor
from inference_code.answering import arranged
from inference_code.encoding import Encoder, TokenizerUnusable
from inference_code.errors import BadRequest, TooManyInputs
from inference_code.tasks import task_of
from tests.inference_code.compared import close
from tests.inference_code.pretrained import TOKENIZERS, Pretrained
from tests.kit.handmade import replaced


@pytest.fixture(scope="module", params=sorted(TOKENIZERS))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    """One model for each family of tokenizers."""
    folder = tmp_path_factory.mktemp("masks")
    return Pretrained(folder, "fill-mask", tokenizer=TOKENIZERS[request.param]())


def _texts(model: Pretrained) -> list[str]:
    mask = model.tokenizer.mask_token
    return [
        f"the {mask} was in the mill.",
        f"the {mask} was in {mask}{mask}, for it",
        mask,
        f"Paris \u00e9 {mask} [SEP] , 5",
    ]


@pytest.mark.parametrize("top_k", [None, 1, 3, 20])
def test_the_answers_are_the_pipelines(model: Pretrained, top_k: int | None) -> None:
    """Scores, tokens and sentences; a list for each mask where there are several."""
    pipeline = model.pipeline()

    for text in _texts(model):
        expected = pipeline(text) if top_k is None else pipeline(text, top_k=top_k)
        assert close(expected, model.ask(text, top_k=top_k)), text


def test_targets_are_scored_as_the_pipeline_does(model: Pretrained) -> None:
    """Tokens by their spelling and words that are one token, each once."""
    vocabulary = sorted(model.tokenizer.get_vocab())
    targets = [*vocabulary[20:40:3], vocabulary[20], "a", model.tokenizer.pad_token]
    pipeline = model.pipeline()

    for text in _texts(model):
        expected = pipeline(text, targets=targets, top_k=50)
        assert close(expected, model.ask(text, targets=targets, top_k=50)), text
    assert close(pipeline(text, targets="a"), model.ask(text, targets="a"))


def test_a_word_is_found_as_the_tokenizer_reads_it(tmp_path: Any) -> None:
    """Where capitals do not count, ``CAT`` is the token ``cat``."""
    model = Pretrained(tmp_path, "fill-mask")

    (found,) = model.ask("the [MASK]", targets=["CAT"])

    assert found["token_str"] == "cat"
    assert found["sequence"] == "the cat"


def test_a_word_that_the_tokenizer_does_not_know_is_no_target(tmp_path: Any) -> None:
    """Though it is read as one token: the one for everything unknown."""
    model = Pretrained(tmp_path, "fill-mask")

    with pytest.raises(BadRequest, match="\u2603"):
        model.ask("the [MASK]", targets=["\u2603"])
    assert model.ask("the [MASK]", targets=["[UNK]"])


def test_a_list_gets_a_list(model: Pretrained) -> None:
    """Each text its own answer, however many masks it has."""
    texts = _texts(model)

    assert close([model.ask(text) for text in texts], model.ask(texts))


def test_evidence_is_64_logits_of_the_first_mask(model: Pretrained) -> None:
    """Every so-manieth of the vocabulary, from the first on."""
    text = _texts(model)[1]
    (row,) = arranged({"inputs": text}, model.loaded, most=10).rows
    bucket = model.loaded.manifest.buckets[-1]
    (outputs,) = model.loaded.run(bucket, [row])
    logits = model.model(**model.tokenizer(text, return_tensors="pt")).logits[0]
    first = model.tokenizer(text)["input_ids"].index(model.tokenizer.mask_token_id)

    found = task_of(model.loaded.manifest).evidence(row, outputs, model.loaded.manifest)

    step = -(-logits.shape[-1] // 64)
    assert len(found) <= 64
    np.testing.assert_allclose(found, logits[first, ::step].tolist(), atol=1e-4)


def test_only_the_masks_outputs_stay_in_memory(model: Pretrained) -> None:
    """A batch of 64 x vocabulary would outlive the answer of one mask."""
    rows = arranged({"inputs": _texts(model)}, model.loaded, most=10).rows
    outputs = model.loaded.run(model.loaded.manifest.buckets[-1], rows)

    assert [found.arrays[0].shape[0] for found in outputs] == [1, 3, 1, 1]
    assert all(found.arrays[0].base is None for found in outputs)


def test_masks_count_as_inputs(model: Pretrained) -> None:
    """A hundred masks in one text are as much work as a hundred texts."""
    text = model.tokenizer.mask_token * 10

    assert arranged({"inputs": [text, text]}, model.loaded, most=20).rows
    with pytest.raises(TooManyInputs) as refused:
        arranged({"inputs": [text, text]}, model.loaded, most=19)
    assert refused.value.status == 413


@pytest.mark.parametrize(
    ("inputs", "parameters", "field", "names"),
    [
        ("no mask", {}, "inputs", "MASK"),
        (["MASK", "none"], {}, "inputs[1]", "MASK"),
        ({"text": "MASK"}, {}, "inputs", "an object"),
        ("MASK", {"top_k": 0}, "parameters.top_k", "1 to 1000"),
        ("MASK", {"top_k": True}, "parameters.top_k", "1 to 1000"),
        ("MASK", {"top_k": 1001}, "parameters.top_k", "1 to 1000"),
        ("MASK", {"targets": []}, "parameters.targets", "0 words"),
        ("MASK", {"targets": 5}, "parameters.targets", "strings"),
        ("MASK", {"targets": ["a", "thecatmill"]}, "parameters.targets[1]", "thecatmill"),
        ("MASK", {"targets": [""]}, "parameters.targets[0]", '""'),
        ("MASK", {"tokenizer_kwargs": {}}, 'parameters."tokenizer_kwargs"', "no such parameter"),
    ],
)
def test_what_is_wrong_is_named(
    model: Pretrained, inputs: Any, parameters: dict[str, Any], field: str, names: str
) -> None:
    """By its place in the request; MASK stands for the model's own token."""
    mask = model.tokenizer.mask_token
    asked = [mask if item == "MASK" else item for item in inputs] if isinstance(inputs, list) else inputs
    with pytest.raises(BadRequest) as refused:
        model.ask(mask if asked == "MASK" else asked, **parameters)

    assert refused.value.field == field
    assert (mask if names == "MASK" else names) in refused.value.message


def test_a_token_beyond_the_models_vocabulary_is_no_target(tmp_path: Any) -> None:
    """Tokenizers may know more tokens than the model has outputs."""
    model = Pretrained(tmp_path, "fill-mask")
    known, manifest = len(model.tokenizer), model.loaded.manifest
    fewer = Tensor(name="logits", dtype="float32", shape=("batch", "length", known - 1))
    data = model.tokenizer.backend_tokenizer.to_str().encode()
    encoder = Encoder(data, replaced(manifest, outputs=(fewer,)))
    targets = {"targets": [model.tokenizer.convert_ids_to_tokens(known - 1)]}

    assert task_of(manifest).settle(targets, model.loaded.encoder) == {"targets": [known - 1]}
    with pytest.raises(BadRequest, match="no token"):
        task_of(manifest).settle(targets, encoder)


def test_a_manifest_without_a_mask_is_refused_at_load(tmp_path: Any) -> None:
    """Not at the first request."""
    model = Pretrained(tmp_path, "fill-mask")
    data = model.tokenizer.backend_tokenizer.to_str().encode()

    with pytest.raises(TokenizerUnusable, match="mask"):
        Encoder(data, replaced(model.loaded.manifest, mask_token_id=None))
