"""One module around every model: tensors in by position, a tuple out, nothing left to chance.

Inputs are bound by the names in the model's own ``forward`` signature, never by the order in
which a tokenizer returns them: BERT's tokenizer says ids, token types, mask; its ``forward``
says ids, mask, token types; a swap gives wrong answers without any error.
"""

from __future__ import annotations

import copy
import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from artifact.errors import UsageError
from compile.tasks import KNOWN_INPUTS

if TYPE_CHECKING:
    from artifact.manifest import Pooling


class InputDropped(UsageError):
    """An input that the model uses is not among those to be traced, or out of order."""

    id = "input-dropped"

    def __init__(self, *, used: tuple[str, ...], given: tuple[str, ...]) -> None:
        super().__init__(
            what="the trace would not feed the model as its forward() does",
            why=f"forward() uses {', '.join(used)} in this order, the trace would pass {', '.join(given)}",
            fix="pass every input that the model uses, in the order of its forward()",
        )


def used_inputs(model: Any, *, typed: bool = False) -> tuple[str, ...]:
    """Names of the tokenizer's outputs that can change this model's answer, in forward's order.

    Token types count only where the config knows more than one of them, or where it does not speak
    of them and they are asked for: with ``typed``.
    """
    names = [name for name in inspect.signature(model.forward).parameters if name in KNOWN_INPUTS]
    if getattr(model.config, "type_vocab_size", 2 if typed else 0) <= 1:
        names = [name for name in names if name != "token_type_ids"]
    return tuple(names)


class Wrapper(nn.Module):
    """``(batch, length)`` int64 tensors in the order of ``names`` in, a tuple out.

    The outputs are the model's ``fields`` (shapes: ``artifact.manifest.Tensor``). With ``pooling``
    the one field becomes (batch, hidden): ``mean`` over the positions under the mask, or
    ``cls``, the first; with ``normalize``, of L2 norm 1. A row whose mask is all zero gives
    finite numbers. For multiple-choice the inputs are (batch, choices, length).

    Raises:
        InputDropped: ``names`` are not the model's ``used_inputs``.
    """

    def __init__(
        self,
        model: Any,
        names: tuple[str, ...],
        fields: tuple[str, ...],
        pooling: Pooling = "none",
        normalize: bool = False,
    ) -> None:
        super().__init__()
        used = used_inputs(model, typed="token_type_ids" in names)
        if names != used:
            raise InputDropped(used=used, given=names)
        self.model = model
        self.names = names
        self._fields = fields
        self._pooling = pooling
        self._normalize = normalize

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        named = dict(zip(self.names, tensors))
        outputs = self.model(**named, return_dict=True)
        return tuple(self._pooled(outputs[field], named) for field in self._fields)

    def _pooled(self, output: torch.Tensor, named: dict[str, torch.Tensor]) -> torch.Tensor:
        if self._pooling == "cls":
            output = output[:, 0]
        elif self._pooling == "mean":
            output = _mean(output, named["attention_mask"])
        if self._normalize:
            output = nn.functional.normalize(output, p=2.0, dim=-1)
        return output


def _mean(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weights = mask.unsqueeze(-1).to(states.dtype)
    # 1e-9 as sentence-transformers does, so that an empty row is zeros and not NaN
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)


def untie(model: nn.Module) -> int:
    """Give every parameter its own memory; return how many shared another's.

    A module that hangs at two places (Marian's embedding in transformers 4) is copied first. The
    rest is found by data pointer: transformers' own lists of tied keys differ between its generations
    and miss some. Costs one copy of each shared tensor, as the TorchScript guide asks.
    """
    shared = _split_modules(model)
    owners: set[int] = set()
    for name, value in model.state_dict(keep_vars=True).items():
        if not isinstance(value, nn.Parameter) or value.numel() == 0:
            continue
        if value.data_ptr() in owners:
            path, _, leaf = name.rpartition(".")
            copy = nn.Parameter(value.detach().clone(), requires_grad=False)
            setattr(model.get_submodule(path), leaf, copy)
            shared += 1
        else:
            owners.add(value.data_ptr())
    return shared


def _split_modules(model: nn.Module) -> int:
    seen: set[int] = set()
    copied = 0
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if id(module) in seen and name:
            path, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(path), leaf, copy.deepcopy(module))
            copied += sum(1 for _ in module.parameters())
        seen.add(id(module))
    return copied
