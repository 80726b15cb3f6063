"""Translation: token-exact with transformers' generate, and every wrong decoder is caught."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
import transformers

from artifact.canonical import decode
from artifact.golden import Golden
from artifact.manifest import GOLDEN, Generation
from artifact.search import search
from compile import translating
from compile.comparison import Subject
from compile.preflight import OptionDoesNotFit, TaskUnavailable, plan
from compile.seq2seq import (
    Decoder,
    Encoder,
    GenerationUnsupported,
    TargetTooLong,
    generate,
    generation_of,
)
from compile.source import resolve
from compile.translating import Translator
from compile.wrapper import untie
from tests.compile.world import (
    World,
    compare_in,
    failed_gates,
    make_request,
    make_world,
    subject_in,
    trace_in,
)
from tests.kit.models import tiny_model

PAD, EOS, WORDS = 39, 0, 40
RULE = "hf4" if transformers.__version__.startswith("4.") else "hf5"


def _marian(seed: int) -> Any:
    """A random model whose answers differ from text to text, some of them ending early."""
    torch.manual_seed(seed)
    config = transformers.AutoConfig.for_model(
        "marian",
        vocab_size=WORDS,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=64,
        pad_token_id=PAD,
        eos_token_id=EOS,
        decoder_start_token_id=PAD,
    )
    model = transformers.MarianMTModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(6.0)
    untie(model)
    with torch.no_grad():
        model.lm_head.weight.normal_()  # a tied head makes a random model repeat itself
        model.final_logits_bias.normal_()
        model.final_logits_bias[0, EOS] += 10.0
    return model


def _generation(**settings: Any) -> Generation:
    usual: dict[str, Any] = {
        "max_length": 16,
        "num_beams": 1,
        "length_penalty": 1.0,
        "early_stopping": False,
        "decoder_start_token_id": PAD,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
        "forced_eos_token_id": EOS,
        "bad_token_ids": (PAD,),
        "rule": RULE,
    }
    return Generation(**{**usual, **settings})


@pytest.mark.parametrize("beams", [1, 4])
def test_the_search_finds_the_tokens_of_generate(beams: int) -> None:
    """Greedy and beams, with and without forced end, stopping early or not, unequal lengths in a batch."""
    ended = sum(_ended_early(seed, beams) for seed in range(4))

    assert ended > 0, "no translation ended early, so that was not tested"


def _ended_early(seed: int, beams: int) -> int:
    """Compare every setting on one model; how many translations ended before the last position."""
    model = _marian(seed)
    encoder, decoder = Encoder(model).eval(), Decoder(model).eval()
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, PAD, (5, 12), generator=generator)
    mask = (torch.arange(12).unsqueeze(0) < torch.tensor([[12], [9], [7], [3], [1]])).to(torch.int64)
    ids = torch.where(mask == 1, ids, torch.full_like(ids, PAD))
    ended = 0
    for early, penalty, forced, bad in itertools.product(
        (False, True), (1.0, 0.6), (EOS, None), ((), (PAD,))
    ):
        generation = _generation(
            num_beams=beams,
            early_stopping=early,
            length_penalty=penalty,
            forced_eos_token_id=forced,
            bad_token_ids=bad,
        )
        with torch.no_grad():
            states = encoder(ids, mask)[0].repeat_interleave(beams, dim=0)
            seen = mask.repeat_interleave(beams, dim=0)
            found = search(lambda t, s: decoder(t, states, seen, s)[0], generation, 5)  # noqa: B023
            expected = generate(model, generation, ids, mask)
        assert found == expected
        ended += sum(len(tokens) < 16 for tokens in expected)
    return ended


def _world(tmp_path: Path, **options: Any) -> World:
    model = tiny_model(tmp_path / "m", "marian", scale=6.0)
    request = make_request(
        model, tmp_path / "out", "2x24", task="translation", max_target_length=20, **options
    )
    return make_world(request, tmp_path / "world")


@pytest.mark.parametrize("beams", [1, 3])
def test_a_right_translation_passes_every_gate(beams: int, tmp_path: Path) -> None:
    """Both graphs, in files of their own, and token for token."""
    world = _world(tmp_path, num_beams=beams)

    result = compare_in(world, trace_in(world))

    assert failed_gates(result) == set()
    assert {figure.output for figure in result.figures} == {"last_hidden_state", "logits"}
    golden = decode((world.place.staging / GOLDEN).read_bytes(), Golden)
    assert all(isinstance(token, int) for token in golden.cases[0].expected[0])


def _subject(tmp_path: Path, **options: Any) -> tuple[Subject, Translator]:
    world = _world(tmp_path, **options)
    subject = subject_in(world, trace_in(world))
    assert subject.translator is not None
    return subject, subject.translator


Wrong = Callable[[Translator], Translator]


def _graph(change: Callable[..., Any]) -> Wrong:
    return lambda right: replace(right, graph=lambda *inputs: change(right.graph, *inputs))


MUTANTS: dict[str, tuple[Wrong, set[str]]] = {
    "source mask ignored": (
        _graph(lambda graph, ids, states, mask, step: graph(ids, states, mask * 0 + 1, step)),
        {"parity", "padding", "sensitivity"},
    ),
    "one step late": (
        _graph(lambda graph, ids, states, mask, step: graph(ids, states, mask, (step + 1) % 20)),
        {"parity", "padding", "sensitivity"},
    ),
    "final bias lost": (
        _graph(lambda graph, *inputs: (graph(*inputs)[0] - torch.linspace(0, 1, _words(graph, inputs)),)),
        {"parity", "padding"},
    ),
    "NaN in the logits": (
        _graph(lambda graph, *inputs: (graph(*inputs)[0] * float("nan"),)),
        {"parity", "padding"},
    ),
    "reads what is behind the step": (
        _graph(lambda graph, ids, *rest: (graph(ids, *rest)[0] + ids.sum() * 1e-3,)),
        {"parity", "sensitivity"},
    ),
    "states of a neighbour": (
        _graph(lambda graph, ids, states, mask, step: graph(ids, states.flip(0), mask.flip(0), step)),
        {"parity", "padding"},
    ),
}


def _words(graph: Any, inputs: Any) -> int:
    words: int = graph(*inputs)[0].shape[-1]
    return words


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_a_wrong_decoder_is_caught(name: str, tmp_path: Path) -> None:
    """None of these raises anything."""
    wrong, gates = MUTANTS[name]
    subject, right = _subject(tmp_path)

    with torch.no_grad():
        verdicts, _ = translating.measure(subject, wrong(right))

    assert gates <= {verdict.gate for verdict in verdicts if not verdict.passed}


@pytest.mark.parametrize(
    "settings",
    [
        {"decoder_start_token_id": 2},
        {"max_length": 9},
        {"bad_token_ids": (5, 6, 7, 8, 9, 10, 11, 12)},
    ],
    ids=["another start token", "a shorter target", "other forbidden tokens"],
)
def test_a_search_with_other_settings_than_the_models_is_caught(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    """The graph is right and the answer wrong."""
    subject, right = _subject(tmp_path)

    class Mistaken(Translator):
        def by_graph(self, subject: Subject, feed: Any) -> list[list[int]]:
            changed = msgspec.structs.replace(self.generation, **settings)
            narrow = Translator(changed, _widened(self.graph, self.generation), self.reference, self.model)
            return narrow.by_graph(subject, feed)

    wrong = Mistaken(right.generation, right.graph, right.reference, right.model)
    with torch.no_grad():
        verdicts, _ = translating.measure(subject, wrong)

    assert {verdict.gate for verdict in verdicts if not verdict.passed} == {"agreement"}


def _widened(graph: Any, generation: Generation) -> Any:
    """The graph under a target that is too short: filled up, as a careless caller would."""

    def ask(ids: torch.Tensor, *rest: torch.Tensor) -> Any:
        missing = generation.max_length - ids.shape[1]
        return graph(torch.nn.functional.pad(ids, (0, missing), value=generation.pad_token_id), *rest)

    return ask


def test_two_start_tokens_are_caught(tmp_path: Path) -> None:
    """A classic of hand-written decoding loops."""
    subject, right = _subject(tmp_path)

    class Doubled(Translator):
        def by_graph(self, subject: Subject, feed: Any) -> list[list[int]]:
            def shifted(ids: torch.Tensor, states: Any, mask: Any, step: torch.Tensor) -> Any:
                start = torch.full_like(ids[:, :1], self.generation.decoder_start_token_id)
                doubled = torch.cat([start, ids[:, :-1]], dim=1)
                return self.graph(doubled, states, mask, (step + 1).clamp(max=ids.shape[1] - 1))

            return Translator(self.generation, shifted, self.reference, self.model).by_graph(subject, feed)

    wrong = Doubled(right.generation, right.graph, right.reference, right.model)
    with torch.no_grad():
        verdicts, _ = translating.measure(subject, wrong)

    assert {verdict.gate for verdict in verdicts if not verdict.passed} == {"agreement"}


def test_a_family_whose_decoder_does_more_than_ours_is_caught(tmp_path: Path) -> None:
    """Graph and yardstick would be wrong alike; the model's own forward() is not."""
    world = _world(tmp_path)
    subject = subject_in(world, trace_in(world))
    right = subject.translator
    assert right is not None

    class Scaled(torch.nn.Module):
        """As T5's head, which takes the decoder's states times a factor."""

        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model = model

        def forward(self, **inputs: Any) -> Any:
            return {"logits": self.model(**inputs)["logits"] * 0.5}

        def generate(self, **inputs: Any) -> Any:
            return self.model.generate(**inputs)

    with torch.no_grad():
        verdicts, _ = translating.measure(subject, replace(right, model=Scaled(right.model)))

    assert "parity" in {verdict.gate for verdict in verdicts if not verdict.passed}


def test_a_near_tie_is_not_a_failure(tmp_path: Path) -> None:
    """Where the untraced model itself has two tokens within what the tolerance may turn."""
    subject, right = _subject(tmp_path)
    loose = replace(subject, job=msgspec.structs.replace(subject.job, tolerance=1e3))

    class Other(Translator):
        def by_graph(self, subject: Subject, feed: Any) -> list[list[int]]:  # noqa: ARG002
            return [[*tokens[:1], (tokens[1] + 1) % 40, *tokens[2:]] for tokens in self.by_model(feed)]

    other = Other(right.generation, right.graph, right.reference, right.model)
    with torch.no_grad():
        assert not translating._agreement(subject, other).passed
        assert translating._agreement(loose, other).passed


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("no_repeat_ngram_size", 3),
        ("repetition_penalty", 1.3),
        ("do_sample", True),
        ("bad_words_ids", [[1, 2]]),
        ("early_stopping", "never"),
        ("eos_token_id", [1, 2]),
    ],
)
def test_a_setting_that_the_search_does_not_know_is_refused(setting: str, value: Any, tmp_path: Path) -> None:
    """Ignoring it would give other tokens than the model's own."""
    world = _world(tmp_path)
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "m")
    setattr(model.generation_config, setting, value)

    with pytest.raises(GenerationUnsupported, match=setting):
        generation_of(model, world.model)


def test_a_target_beyond_the_decoders_positions_is_refused(tmp_path: Path) -> None:
    """It would fail in the middle of a trace."""
    world = _world(tmp_path)
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "m")

    with pytest.raises(TargetTooLong, match="for 64 tokens"):
        generation_of(model, msgspec.structs.replace(world.model, max_target_length=65))


def test_how_the_checkpoint_generates_is_read_and_hashed(tmp_path: Path) -> None:
    """generation_config.json decides about answers, so it belongs to the identity."""
    model = tiny_model(tmp_path / "m", "marian")
    written = json.loads((model / "generation_config.json").read_text())
    (model / "generation_config.json").write_text(json.dumps({**written, "num_beams": 3}))

    found = resolve(str(model))
    world = make_world(make_request(model, tmp_path / "out", "1x24", task="translation"), tmp_path / "w")

    assert "generation_config.json" in [file.path for file in found.identity.files]
    assert trace_in(world).generation.num_beams == 3  # type: ignore[union-attr]


def test_options_of_a_translation_fit_no_other_task(tmp_path: Path) -> None:
    """And an encoder-decoder does nothing but translate."""
    encoder, marian = tiny_model(tmp_path / "bert"), tiny_model(tmp_path / "marian", "marian")

    none = make_request(marian, tmp_path / "out", task="translation", num_beams=0)

    with pytest.raises(OptionDoesNotFit, match="generates nothing"):
        plan(make_request(encoder, tmp_path / "out", num_beams=2), resolve(str(encoder)))
    with pytest.raises(OptionDoesNotFit, match="at least one"):
        plan(none, resolve(str(marian)))
    with pytest.raises(TaskUnavailable):
        plan(make_request(marian, tmp_path / "out"), resolve(str(marian)))
    with pytest.raises(TaskUnavailable):
        plan(make_request(encoder, tmp_path / "out", task="translation"), resolve(str(encoder)))
