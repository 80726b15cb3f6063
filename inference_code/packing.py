"""Linear layers of a CPU graph with their weights in the layout that oneDNN multiplies fastest.

oneDNN reorders a plain weight at every call; here that is done once, at load. Each layer's packed
weight is shared by all graphs that use it. Answers differ in the last bits, by far less than the
tier's tolerance, and the self-check at start proves that for every bucket.

``aten::linear`` becomes ``mkldnn::_linear_pointwise``, as torch's own inductor does for the CPU
(pytorch/pytorch:torch/_inductor/fx_passes/mkldnn_fusion.py). Torch 1.13 has no such operator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from artifact.graphs import Graph

_ROWS = 256
"""What the layout is chosen for; it was the same for 16 and for thousands where it was measured."""

_Where = tuple[int, tuple[int, ...], tuple[int, ...]]
"""A weight by its memory: address, sizes, strides. A square one and its transpose differ in strides alone."""


def can_pack() -> bool:
    """Whether this torch has the operators."""
    import torch

    return torch.backends.mkldnn.is_available() and all(  # type: ignore[no-untyped-call]
        hasattr(torch.ops.mkldnn, name) for name in ("_linear_pointwise", "_reorder_linear_weight")
    )


def packed(graphs: Mapping[str, Graph]) -> dict[str, Graph]:
    """Graphs that answer as ``graphs`` do; a graph without plain linear layers is only frozen.

    Freezing makes each weight a constant of the graph, in the memory where it already lies.
    """
    import torch

    weights: dict[_Where, Any] = {}
    frozen: dict[int, Graph] = {}
    for graph in graphs.values():
        if id(graph) not in frozen:
            frozen[id(graph)] = torch.jit.freeze(graph)
            _pack(frozen[id(graph)].graph, weights)
    return {name: frozen[id(graph)] for name, graph in graphs.items()}


def _pack(graph: Any, weights: dict[_Where, Any]) -> None:
    for node in list(graph.findAllNodes("aten::linear")):
        given, weight, bias = node.inputs()
        if weight.node().kind() != "prim::Constant":
            continue
        plain: torch.Tensor = weight.toIValue()
        key = (plain.data_ptr(), tuple(plain.shape), plain.stride())
        if key not in weights:
            weights[key] = _reordered(plain)
        graph.setInsertPoint(node)
        inputs = [given, _constant(graph, weights[key]), bias, graph.insertConstant("none"), _nothing(graph)]
        _replace(graph, node, [*inputs, graph.insertConstant("")])


def _reordered(plain: torch.Tensor) -> Any:
    import torch

    return torch.ops.mkldnn._reorder_linear_weight(plain.detach(), _ROWS)


def _constant(graph: Any, value: Any) -> Any:
    """An opaque tensor, which ``insertConstant`` refuses."""
    node = graph.create("prim::ConstantMKLDNNTensor", [], 1)
    node.t_("value", value)
    graph.insertNode(node)
    return node.output()


def _nothing(graph: Any) -> Any:
    """The empty list of the pointwise operator's scalars."""
    import torch

    node = graph.create("prim::ListConstruct", [], 1)
    number = torch._C.NumberType.get()
    node.output().setType(torch._C.ListType(torch._C.OptionalType(number)))
    graph.insertNode(node)
    return node.output()


def _replace(graph: Any, node: Any, inputs: list[Any]) -> None:
    import torch

    new = graph.create("mkldnn::_linear_pointwise", inputs, 1)
    new.output().setType(torch._C.TensorType.get())
    graph.insertNode(new)
    node.output().replaceAllUsesWith(new.output())
    node.destroy()
