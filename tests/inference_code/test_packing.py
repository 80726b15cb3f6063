"""Packed graphs answer as plain ones do, and share one copy of each packed weight."""

from __future__ import annotations

import pytest
import torch

from inference_code import packing
from inference_code.packing import can_pack, packed

pytestmark = pytest.mark.skipif(not can_pack(), reason="this torch has no packed linear layers")


class Layers(torch.nn.Module):
    """Linear layers with and without bias, one of them used twice, one weight that is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(16, 32)
        self.second = torch.nn.Linear(32, 32, bias=False)
        self.scale = torch.nn.Parameter(torch.ones(32))

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        states = torch.nn.functional.gelu(self.first(given))
        states = self.second(torch.tanh(self.second(states)))
        return torch.nn.functional.linear(states, self.first.weight.t() * self.scale)


class Tied(torch.nn.Module):
    """One square weight there and, transposed, back: two views of the same memory."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(16, 16))

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        there = torch.tanh(torch.nn.functional.linear(given, self.weight))
        return torch.nn.functional.linear(there, self.weight.t())


def _graphs() -> tuple[torch.jit.ScriptModule, torch.Tensor]:
    torch.manual_seed(3)
    given = torch.randn(2, 5, 16)
    return torch.jit.trace(Layers().eval(), given), given


def _linears(graph: torch.jit.ScriptModule, kind: str) -> int:
    return len(graph.graph.findAllNodes(kind))


def test_answers_stay_within_rounding() -> None:
    """For the shape that was traced, and for another one."""
    graph, given = _graphs()
    made = packed({"b2_s5": graph})["b2_s5"]

    with torch.inference_mode():
        for batch in (given, torch.cat([given, given, given])[:, :3]):
            assert torch.allclose(made(batch), graph(batch), atol=1e-6, rtol=0)


def test_a_weight_is_not_taken_for_its_transpose() -> None:
    """They have address and sizes in common."""
    torch.manual_seed(3)
    given = torch.randn(2, 5, 16)
    graph = torch.jit.trace(Tied().eval(), given)
    made = packed({"b2_s5": graph})["b2_s5"]

    with torch.inference_mode():
        assert torch.allclose(made(given), graph(given), atol=1e-5, rtol=0)


def test_layers_whose_weights_are_known_are_packed() -> None:
    """The computed weight stays as it is."""
    graph, _ = _graphs()
    made = packed({"b2_s5": graph})["b2_s5"]

    assert _linears(made, "mkldnn::_linear_pointwise") >= 3
    assert _linears(made, "aten::linear") <= 1


def test_graphs_of_one_module_share_their_packed_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory grows with the model, not with its buckets."""
    made: list[int] = []
    real = packing._reordered
    monkeypatch.setattr(packing, "_reordered", lambda plain: made.append(plain.data_ptr()) or real(plain))
    torch.manual_seed(3)
    module = Layers().eval()
    graphs = {name: torch.jit.trace(module, torch.randn(2, n, 16)) for name, n in (("a", 3), ("b", 5))}
    for (_, one), (_, other) in zip(graphs["a"].named_parameters(), graphs["b"].named_parameters()):
        other.data = one.data

    packed(graphs)

    assert len(made) == len(set(made))


def test_one_graph_under_several_names_is_packed_once() -> None:
    """Buckets whose graphs are the same bytes."""
    graph, _ = _graphs()

    made = packed({"a": graph, "b": graph})

    assert made["a"] is made["b"]
