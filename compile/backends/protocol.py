"""What a backend is, and which one serves a target."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

    from artifact.manifest import Target
    from compile.wrapper import Wrapper


@dataclass(frozen=True)
class TraceOptions:
    """The compiler's options of one bucket; the cpu backend has no use for them.

    ``weight_bytes`` is the size of all parameters; ``None`` leaves torch_neuron's own default;
    ``separate_weights`` forces what happens by itself above 1.9 GB; ``dynamic_batch`` lets the
    graph take any number of rows, in steps of the traced batch.
    """

    arguments: tuple[str, ...]
    timeout_seconds: int
    workdir: Path
    weight_bytes: int
    minimum_segment_size: int | None
    single_fusion_ratio: float | None
    separate_weights: bool
    dynamic_batch: bool


@dataclass(frozen=True)
class TracedGraph:
    """One bucket's canonical TorchScript archive; ``weights`` by name where they lie outside it."""

    graph: bytes
    weights: dict[str, torch.Tensor] | None


class Backend(Protocol):
    """One target's way to trace."""

    def versions(self) -> tuple[str | None, str | None]:
        """Versions of torch_neuron and neuron-cc, where they take part."""
        ...

    def trace(self, wrapper: Wrapper, inputs: tuple[torch.Tensor, ...], options: TraceOptions) -> TracedGraph:
        """Trace with static shapes; ``inputs`` are (batch, length) int64 in the wrapper's order."""
        ...


def backend_of(target: Target) -> Backend:
    """The backend of a target. Imported here, so that a cpu compile never looks for Neuron."""
    if target == "cpu":
        from compile.backends.cpu import CpuBackend

        return CpuBackend()
    from compile.backends.inf1 import Inf1Backend

    return Inf1Backend()
