"""Inputs by name, a tuple out, weights of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from compile.model import load_model
from compile.preflight import HeadMissing
from compile.source import TokenizerMissing, WeightsCorrupted
from compile.wrapper import InputDropped, Wrapper, untie, used_inputs
from tests.compile.world import make_request, make_world
from tests.kit.models import tiny_model


def _loaded(folder: Path, base: Path, **options: Any) -> Any:
    return load_model(make_world(make_request(folder, base / "out", **options), base / "world").model)


def test_inputs_follow_the_forward_signature(tiny_bert: Path, tmp_path: Path) -> None:
    """BERT's tokenizer would say ids, token types, mask."""
    assert used_inputs(_loaded(tiny_bert, tmp_path)) == ("input_ids", "attention_mask", "token_type_ids")


@pytest.mark.parametrize("architecture", ["roberta", "mpnet", "distilbert"])
def test_token_types_that_change_nothing_are_not_traced(architecture: str, tmp_path: Path) -> None:
    """One type only, or none in the signature."""
    model = _loaded(tiny_model(tmp_path / "m", architecture), tmp_path)

    assert used_inputs(model) == ("input_ids", "attention_mask")


def test_token_types_that_the_config_does_not_count_are_traced_where_the_tokenizer_makes_them(
    tmp_path: Path,
) -> None:
    """XLM's; a model that counts one type has none either way."""
    xlm = _loaded(tiny_model(tmp_path / "m", "xlm"), tmp_path)
    roberta = _loaded(tiny_model(tmp_path / "r", "roberta"), tmp_path / "other")

    assert used_inputs(xlm) == ("input_ids", "attention_mask")
    assert used_inputs(xlm, typed=True) == ("input_ids", "attention_mask", "token_type_ids")
    assert used_inputs(roberta, typed=True) == ("input_ids", "attention_mask")


@pytest.mark.parametrize(
    "names",
    [("input_ids", "attention_mask"), ("input_ids", "token_type_ids", "attention_mask")],
    ids=["dropped", "swapped"],
)
def test_a_dropped_or_swapped_input_is_refused(
    tiny_bert: Path, tmp_path: Path, names: tuple[str, ...]
) -> None:
    """Before tracing: a single text cannot show the loss of token types."""
    with pytest.raises(InputDropped, match="token_type_ids"):
        Wrapper(_loaded(tiny_bert, tmp_path), names, ("last_hidden_state",))


def test_the_wrapper_pools_over_the_mask_only(tiny_bert: Path, tmp_path: Path) -> None:
    """What lies under the padding does not count, and an empty row is finite."""
    model = _loaded(tiny_bert, tmp_path)
    states = Wrapper(model, used_inputs(model), ("last_hidden_state",))
    pooled = Wrapper(model, used_inputs(model), ("last_hidden_state",), "mean", True)
    ids = torch.tensor([[2, 9, 3, 0], [0, 0, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 0], [0, 0, 0, 0]])

    with torch.no_grad():
        every, vectors = states(ids, mask, mask * 0)[0], pooled(ids, mask, mask * 0)[0]

    expected = torch.nn.functional.normalize(every[0, :3].mean(dim=0), dim=0)
    assert torch.allclose(vectors[0], expected, atol=1e-6)
    assert bool(torch.isfinite(vectors).all())


def test_tied_weights_get_memory_of_their_own(tmp_path: Path) -> None:
    """Editing the embedding afterwards must not change the head; values stay equal."""
    tiny_model(tmp_path / "m")
    config = transformers.AutoConfig.from_pretrained(tmp_path / "m")
    model = transformers.AutoModelForMaskedLM.from_config(config)
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    assert embedding.weight.data_ptr() == head.weight.data_ptr()

    shared = untie(model)
    before = head.weight.clone()
    embedding.weight.data += 1.0

    assert shared >= 1
    assert torch.equal(head.weight, before)
    assert untie(model) == 0


def test_a_head_that_transformers_would_invent_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    """A checkpoint whose config does not say its class still lacks the weights."""
    import json
    import shutil

    folder = Path(shutil.copytree(tiny_bert, tmp_path / "m"))
    config = json.loads((folder / "config.json").read_text())
    del config["architectures"]
    (folder / "config.json").write_text(json.dumps(config))

    with pytest.raises(HeadMissing, match="classifier"):
        _loaded(folder, tmp_path, task="text-classification")


def test_a_body_that_lacks_a_layer_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    """Random weights are refused anywhere, not only in a head."""
    import json
    import shutil

    folder = Path(shutil.copytree(tiny_bert, tmp_path / "m"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))

    with pytest.raises(HeadMissing, match=r"layer\.2"):
        _loaded(folder, tmp_path)


def test_weights_of_other_shapes_than_the_config_says_are_refused(tiny_bert: Path, tmp_path: Path) -> None:
    """A config of another checkpoint beside the weights."""
    import json
    import shutil

    folder = Path(shutil.copytree(tiny_bert, tmp_path / "m"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))

    with pytest.raises(WeightsCorrupted):
        _loaded(folder, tmp_path)


def test_a_tokenizer_that_cannot_be_read_is_named(tiny_bert: Path, tmp_path: Path) -> None:
    """A damaged tokenizer.json is found before anything is proven with it."""
    import shutil

    from compile.model import load_tokenizer

    folder = Path(shutil.copytree(tiny_bert, tmp_path / "m"))
    (folder / "tokenizer.json").write_text("{}")

    with pytest.raises(TokenizerMissing):
        load_tokenizer(str(folder))


def test_half_precision_checkpoints_are_traced_in_float32(tmp_path: Path) -> None:
    """The untraced reference is float32 too, so the tier means what it says."""
    folder = tiny_model(tmp_path / "m")
    transformers.AutoModel.from_pretrained(folder).to(torch.float16).save_pretrained(folder)

    model = _loaded(folder, tmp_path)

    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_module_at_two_places_is_two_modules_afterwards() -> None:
    """Marian's embedding in transformers 4 is one object in encoder and decoder."""
    shared = torch.nn.Embedding(3, 2)
    model = torch.nn.ModuleDict({"encoder": shared, "decoder": shared})

    assert untie(model) == 1
    with torch.no_grad():
        model["encoder"].weight.fill_(7.0)
    assert not bool((model["decoder"].weight == 7.0).any())


def test_editing_the_embedding_in_an_artifact_leaves_the_head_alone(tmp_path: Path) -> None:
    """They are one tensor in the checkpoint and two in weights.safetensors."""
    from artifact.graphs import load_weights
    from artifact.sealed import Sealed
    from tests.compile.world import make_request, make_world, trace_in

    model = tiny_model(tmp_path / "m", task="fill-mask")
    world = make_world(make_request(model, tmp_path / "out", "1x16", task="fill-mask"), tmp_path / "world")
    traced = trace_in(world)

    weights = load_weights(Sealed([(traced.staging / str(traced.weights)).read_bytes()]))
    embedding = next(tensor for name, tensor in weights.items() if "word_embeddings" in name)
    head = next(tensor for name, tensor in weights.items() if name.endswith("predictions.decoder.weight"))
    assert torch.equal(embedding, head)
    before = head.clone()
    embedding.zero_()

    assert torch.equal(head, before)
