"""Translation: the two graphs of an encoder-decoder, and how a translation is searched for.

The encoder runs once a request. The decoder is traced without a cache, over the whole padded
target, and gives the logits after one position: static shapes, as Inf1 needs them. The search
around it is ``artifact/search.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import transformers
from torch import nn

from artifact.errors import UsageError
from artifact.manifest import Generation
from artifact.search import trimmed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from compile.jobs import ModelJob

INPUTS = ("input_ids", "attention_mask")

DEFAULT_MAX_LENGTH = 128
"""Tokens of a translation, the start included, where neither user nor checkpoint asks for fewer.
Every step runs the decoder over all of them, so that a checkpoint's usual 512 is a costly default."""

_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "do_sample": (None, False),
    "max_new_tokens": (None,),
    "num_return_sequences": (None, 1),
    "return_dict_in_generate": (None, False),
    "diversity_penalty": (None, 0.0),
    "renormalize_logits": (None, False),
    "guidance_scale": (None, 1.0),
    "stop_strings": (None,),
    "forced_decoder_ids": (None,),
    "num_beam_groups": (None, 1),
    "repetition_penalty": (None, 1.0),
    "encoder_repetition_penalty": (None, 1.0),
    "no_repeat_ngram_size": (None, 0),
    "encoder_no_repeat_ngram_size": (None, 0),
    "min_length": (None, 0),
    "min_new_tokens": (None, 0),
    "forced_bos_token_id": (None,),
    "suppress_tokens": (None, []),
    "begin_suppress_tokens": (None, []),
    "sequence_bias": (None,),
    "exponential_decay_length_penalty": (None,),
    "penalty_alpha": (None, 0),
}
"""Settings of transformers' GenerationConfig that the search does not know, with the values that
change nothing."""


class GenerationUnsupported(UsageError):
    """The checkpoint is generated from with a setting that the search does not have."""

    id = "generation-unsupported"

    def __init__(self, *, setting: str, value: object) -> None:
        super().__init__(
            what=f"translations with {setting} = {value!r} cannot be compiled",
            why="the search knows greedy and beam search with forced end and forbidden single tokens",
            fix=f"take {setting} out of generation_config.json, if the answers may change by that",
        )


class TargetTooLong(UsageError):
    """More target tokens than the decoder can number positions."""

    id = "target-too-long"

    def __init__(self, *, asked: int, limit: int) -> None:
        super().__init__(
            what=f"translations of {asked} tokens are longer than the model allows",
            why=f"its decoder has positions for {limit} tokens",
            fix=f"give `--max-target-length` of at most {limit}",
        )


class Encoder(nn.Module):
    """Ids and mask (batch, length) in, the last hidden states (batch, length, hidden) out."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.names = INPUTS
        self.encoder = model.get_encoder()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor]:
        output = self.encoder(input_ids=input_ids, attention_mask=attention_mask, return_dict=True)
        return (output["last_hidden_state"],)


class Decoder(nn.Module):
    """Logits (rows, vocabulary) of the token after position ``step``.

    Takes target ids (rows, max_length), the encoder's states (rows, length, hidden) and mask (rows,
    length), and ``step`` (1,) int64. What stands after ``step`` has no influence.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.decoder = model.get_decoder()
        self.lm_head = model.get_output_embeddings()
        bias = getattr(model, "final_logits_bias", None)
        self.register_buffer("bias", torch.zeros(1) if bias is None else bias.detach().clone())

    def forward(
        self, ids: torch.Tensor, states: torch.Tensor, mask: torch.Tensor, step: torch.Tensor
    ) -> tuple[torch.Tensor]:
        output = self.decoder(
            input_ids=ids,
            encoder_hidden_states=states,
            encoder_attention_mask=mask,
            use_cache=False,
            return_dict=True,
        )
        last = output["last_hidden_state"].index_select(1, step).squeeze(1)
        return (self.lm_head(last) + self.bias,)


def generation_of(model: Any, job: ModelJob) -> Generation:
    """Every setting of the search: the user's, else the checkpoint's, else transformers' default.

    Raises:
        GenerationUnsupported, TargetTooLong: see there.
    """
    written = model.generation_config
    for setting, neutral in _NEUTRAL.items():
        value = getattr(written, setting, None)
        if value not in neutral:
            raise GenerationUnsupported(setting=setting, value=value)
    early_stopping = getattr(written, "early_stopping", None) or False
    if early_stopping not in (True, False):
        raise GenerationUnsupported(setting="early_stopping", value=early_stopping)
    positions = int(getattr(model.config, "max_position_embeddings", DEFAULT_MAX_LENGTH))
    usual = min(written.max_length or DEFAULT_MAX_LENGTH, DEFAULT_MAX_LENGTH, positions)
    max_length = job.max_target_length or usual
    if max_length > positions:
        raise TargetTooLong(asked=max_length, limit=positions)
    return Generation(
        max_length=max_length,
        num_beams=job.num_beams or written.num_beams or 1,
        length_penalty=1.0 if written.length_penalty is None else float(written.length_penalty),
        early_stopping=early_stopping,
        decoder_start_token_id=_one(
            "decoder_start_token_id", written.decoder_start_token_id, model.config.decoder_start_token_id
        ),
        eos_token_id=_one("eos_token_id", written.eos_token_id, model.config.eos_token_id),
        pad_token_id=_one("pad_token_id", written.pad_token_id, model.config.pad_token_id),
        forced_eos_token_id=_forced_end(written.forced_eos_token_id),
        bad_token_ids=_single_tokens(written.bad_words_ids),
        rule="hf4" if transformers.__version__.startswith("4.") else "hf5",
    )


def decoder_feed(
    generation: Generation, states: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """What the decoder is traced with: the encoder's states, a start token, and a step in the middle."""
    beams, rows = generation.num_beams, states.shape[0] * generation.num_beams
    ids = torch.full((rows, generation.max_length), generation.pad_token_id, dtype=torch.int64)
    ids[:, 0] = generation.decoder_start_token_id
    step = torch.tensor([generation.max_length // 2])
    return ids, states.repeat_interleave(beams, dim=0), mask.repeat_interleave(beams, dim=0), step


def _one(setting: str, *candidates: Any) -> int:
    value = next((candidate for candidate in candidates if candidate is not None), None)
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    if not isinstance(value, int):
        raise GenerationUnsupported(setting=setting, value=value)
    return value


def _forced_end(value: Any) -> int | None:
    return None if value is None else _one("forced_eos_token_id", value)


def _single_tokens(words: Any) -> tuple[int, ...]:
    for word in words or ():
        if len(word) != 1:
            raise GenerationUnsupported(setting="bad_words_ids", value=words)
    return tuple(sorted({int(word[0]) for word in words or ()}))


def generate(model: Any, generation: Generation, ids: torch.Tensor, mask: torch.Tensor) -> list[list[int]]:
    """transformers' own answer under the very same settings: the yardstick of the search.

    Args:
        ids, mask: (batch, length) int64.

    Returns:
        Token ids of each row, the start token first, without the filling.
    """
    bad = [[token] for token in generation.bad_token_ids]
    found = model.generate(
        input_ids=ids,
        attention_mask=mask,
        max_length=generation.max_length,
        num_beams=generation.num_beams,
        do_sample=False,
        length_penalty=generation.length_penalty,
        early_stopping=generation.early_stopping,
        decoder_start_token_id=generation.decoder_start_token_id,
        eos_token_id=generation.eos_token_id,
        pad_token_id=generation.pad_token_id,
        forced_eos_token_id=generation.forced_eos_token_id,
        bad_words_ids=bad or None,
    )
    return [trimmed(row, generation) for row in found.tolist()]
