"""FLOPs and memory follow from the model's own sizes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from compile.source import resolve
from compile.work import Encoder, SizesUnknown, encoder_of
from tests.kit.models import tiny_model

BERT_BASE = Encoder(layers=12, hidden=768, intermediate=3072, heads=12, positions=512, parameters=110_000_000)


def test_the_flops_are_those_of_the_published_formula() -> None:
    """24 s h^2 + 4 s^2 h a layer where the intermediate size is four times the hidden one."""
    for length in (1, 128, 512):
        assert BERT_BASE.flops(length) == 12 * (24 * length * 768**2 + 4 * length**2 * 768)


@pytest.mark.parametrize(
    ("architecture", "options"), [("bert", {"add_pooling_layer": False}), ("distilbert", {}), ("xlm", {})]
)
def test_the_flops_are_those_that_torch_counts(
    architecture: str, options: dict[str, bool], tmp_path: Path
) -> None:
    """torch's own counter over the eager model, to the last multiply-add."""
    flop_counter = pytest.importorskip("torch.utils.flop_counter", reason="torch 1.13 has no counter")
    import torch
    import transformers

    folder = tiny_model(tmp_path / architecture, architecture)
    model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager", **options)
    with flop_counter.FlopCounterMode(display=False) as counted, torch.no_grad():
        model(torch.ones(1, 24, dtype=torch.int64))

    assert encoder_of(resolve(str(folder))).flops(24) == counted.get_total_flops()


@pytest.mark.parametrize(
    ("architecture", "intermediate"), [("bert", 64), ("distilbert", 64), ("roberta", 64), ("xlm", 4 * 32)]
)
def test_the_sizes_are_the_checkpoints_own(architecture: str, intermediate: int, tmp_path: Path) -> None:
    """Each family calls them by other names, XLM not at all; RoBERTa's positions begin after the pad."""
    import transformers

    folder = tiny_model(tmp_path / architecture, architecture)
    model = transformers.AutoModel.from_pretrained(folder)

    found = encoder_of(resolve(str(folder)))

    assert (found.layers, found.hidden, found.intermediate, found.heads) == (2, 32, intermediate, 2)
    assert found.positions == 64
    assert found.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_a_family_that_is_not_in_the_table_counts_if_its_config_says_every_size(tiny_bert: Path) -> None:
    """Its defaults are not known, so that a size which is not said is refused and never assumed."""
    source = resolve(str(tiny_bert))
    other = {**source.config, "model_type": "unheard-of"}
    silent = {key: value for key, value in other.items() if key != "num_hidden_layers"}

    assert encoder_of(replace(source, config=other)).flops(24) == encoder_of(source).flops(24)
    with pytest.raises(SizesUnknown, match="no num_hidden_layers"):
        encoder_of(replace(source, config=silent))


@pytest.mark.parametrize("size", ["twelve", 0, None, 1.5])
def test_a_size_that_is_no_size_is_refused(size: object, tiny_bert: Path) -> None:
    """With the key and what was found."""
    source = resolve(str(tiny_bert))

    with pytest.raises(SizesUnknown, match="hidden_size"):
        encoder_of(replace(source, config={**source.config, "hidden_size": size}))


def test_memory_holds_the_weights_and_grows_with_the_batch() -> None:
    """Never below the vendor's rule of thumb, 2 GB for 1e9 parameters over all graphs of a core."""
    small, large = BERT_BASE.device_bytes(1, 128), BERT_BASE.device_bytes(8, 128)

    assert 220_000_000 < small < large
    assert 2_000_000_000 // small <= round(1e9 / BERT_BASE.parameters)
    assert large - 220_000_000 == 8 * (small - 220_000_000)
