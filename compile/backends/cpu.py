"""The cpu target: torch.jit.trace, graphs without tensors.

The tensors of the traced module lie once in weights.safetensors under their own names, each
bucket's graph holds only code. ``artifact/graphs.py`` puts them together again.
"""

from __future__ import annotations

import inspect
import io
import warnings
from typing import TYPE_CHECKING, Any

import torch

from artifact.graphs import named_tensors
from compile.backends.protocol import TracedGraph, TraceOptions
from compile.torchscript import canonical

if TYPE_CHECKING:
    from compile.wrapper import Wrapper


class CpuBackend:
    """torch.jit.trace with fixed shapes and tensors kept outside the graph."""

    def versions(self) -> tuple[str | None, str | None]:
        """No Neuron software takes part."""
        return None, None

    def trace(
        self,
        wrapper: Wrapper,
        inputs: tuple[torch.Tensor, ...],
        options: TraceOptions,  # noqa: ARG002 - no compiler, no options
    ) -> TracedGraph:
        """Trace, take the tensors out, save. ``check_trace`` would only run the same inputs again."""
        traced = jit_trace(wrapper, inputs)
        weights = _take_tensors(traced)
        return TracedGraph(graph=save(traced), weights=weights)


def jit_trace(wrapper: torch.nn.Module, inputs: tuple[torch.Tensor, ...], **options: Any) -> Any:
    """torch.jit.trace as both generations know it, without keeping the example inputs."""
    if "_store_inputs" in inspect.signature(torch.jit.trace).parameters:
        options["_store_inputs"] = False
    with warnings.catch_warnings():
        # "converting a tensor to a Python boolean": shapes are static here, and parity decides
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        with torch.no_grad():
            return torch.jit.trace(wrapper, inputs, check_trace=False, **options)  # type: ignore[no-untyped-call]


def save(traced: Any) -> bytes:
    """The canonical archive of a traced module."""
    buffer = io.BytesIO()
    torch.jit.save(traced, buffer)
    return canonical(buffer.getvalue())


def _take_tensors(traced: Any) -> dict[str, torch.Tensor]:
    taken = {name: tensor.detach().clone().contiguous() for name, tensor in named_tensors(traced)}
    for _, tensor in named_tensors(traced):
        tensor.data = torch.empty(0, dtype=tensor.dtype)
    return taken
