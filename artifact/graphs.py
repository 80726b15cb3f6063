"""Graph bytes in, a callable TorchScript module out. The one loader of both halves.

``compile/backends/cpu.py`` saves a cpu graph without its tensors: each parameter and buffer is
emptied, and its values lie once in ``weights.safetensors`` under the very name that
``named_parameters()`` or ``named_buffers()`` of the traced module gives it. ``load_graph`` puts
them back without copying, so all buckets share one copy in memory. Inf1 graphs hold their own
weights; pass ``None``.

``torch`` and ``safetensors`` are imported inside the functions: verifying needs neither. The
bytes must come from ``VerifiedArtifact.take``: TorchScript files are programs. Both loaders close
what they are given: weights stay mapped where they were hashed, a graph is read and let go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from artifact.errors import ProofFailed, UsageError
from artifact.manifest import Target
from artifact.sealed import Sealed

if TYPE_CHECKING:
    import torch

    Graph = torch.jit.ScriptModule


class GraphUnreadable(ProofFailed):
    """TorchScript or safetensors bytes that this torch cannot load."""

    id = "graph-unreadable"

    def __init__(self, *, why: str) -> None:
        super().__init__(
            what="a graph or its weights cannot be loaded",
            why=why,
            fix="compile the model again, with the torch version that will serve it",
        )


class WeightsDoNotFit(ProofFailed):
    """The weights file lacks a tensor that a graph needs, or holds one of another type."""

    id = "weights-do-not-fit"

    def __init__(self, *, tensor: str, why: str) -> None:
        super().__init__(
            what=f"the graph's tensor {tensor} cannot be filled",
            why=why,
            fix="fetch or compile the artifact again; a graph and its weights come from one run",
        )
        self.tensor = tensor


class NeuronMissing(UsageError):
    """``torch_neuron`` is needed for an Inf1 graph and is not installed here."""

    id = "neuron-missing"

    def __init__(self, *, why: str) -> None:
        super().__init__(
            what="this Python cannot work with Inf1 graphs",
            why=why,
            fix="use the Inf1 container: `traceship compile --runner docker`, or an image of it to serve",
        )


def prepare(target: Target) -> None:
    """Make the operators of ``target`` known to torch; call before the first ``load_graph``.

    Without it an Inf1 graph fails with "Unknown builtin op: neuron::forward_1".

    Raises:
        NeuronMissing: the target is inf1 and ``torch_neuron`` cannot be imported.
    """
    if target != "inf1":
        return
    try:
        import torch_neuron  # noqa: F401
    except ImportError as error:
        raise NeuronMissing(why=f"torch_neuron cannot be imported ({error})") from error


def load_weights(file: Sealed) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file by name, in the very memory of ``file``.

    Raises:
        GraphUnreadable: the bytes are not a complete safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with file, safe_open(file.path, framework="pt") as tensors:
            return {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise GraphUnreadable(why=str(error)) from error


def load_graph(file: Sealed, weights: Mapping[str, torch.Tensor] | None) -> Graph:
    """Load one bucket's graph, in eval mode, its tensors shared with ``weights``.

    Args:
        weights: what ``load_weights`` returned, the same mapping for every bucket of the
            artifact; ``None`` where the graphs hold their own weights.

    Raises:
        GraphUnreadable: not a TorchScript archive, or one that this torch cannot read.
        WeightsDoNotFit: an emptied tensor has no values in ``weights``, or of another dtype.
    """
    import torch

    try:
        with file:
            graph: Graph = torch.jit.load(file.path, map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise GraphUnreadable(why=_first_line(error)) from error
    for name, tensor in named_tensors(graph):
        if tensor.numel() == 0:
            _fill(name, tensor, weights)
    graph.eval()
    return graph


def named_tensors(module: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Every parameter, then every buffer, under its dotted name."""
    yield from module.named_parameters()
    yield from module.named_buffers()


def _fill(name: str, tensor: torch.Tensor, weights: Mapping[str, torch.Tensor] | None) -> None:
    if weights is None or name not in weights:
        raise WeightsDoNotFit(tensor=name, why="the weights file does not hold it")
    values = weights[name]
    if values.dtype != tensor.dtype:
        raise WeightsDoNotFit(
            tensor=name, why=f"the graph wants {tensor.dtype}, the weights file holds {values.dtype}"
        )
    tensor.data = values


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
