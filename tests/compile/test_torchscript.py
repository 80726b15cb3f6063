"""The archive holds the graph and nothing of where or when it was made; the loader fills it."""

from __future__ import annotations

import io
import zipfile

import pytest
import torch
from safetensors.torch import save as save_tensors

from artifact.graphs import (
    GraphUnreadable,
    NeuronMissing,
    WeightsDoNotFit,
    load_graph,
    load_weights,
    named_tensors,
    prepare,
)
from artifact.sealed import Sealed
from compile.backends.cpu import CpuBackend, jit_trace, save
from compile.backends.protocol import TracedGraph
from compile.torchscript import canonical


class _Small(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)
        self.register_buffer("shift", torch.arange(3, dtype=torch.float32), persistent=False)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.linear(x) + self.shift,)


@pytest.fixture
def module() -> torch.nn.Module:
    """A parameter matrix and a buffer that state_dict() does not know."""
    torch.manual_seed(0)
    return _Small().eval()


def _traced(module: torch.nn.Module) -> TracedGraph:
    return CpuBackend().trace(module, (torch.ones(2, 4),), None)  # type: ignore[arg-type]


def _weights(traced: TracedGraph) -> dict[str, torch.Tensor]:
    assert traced.weights is not None
    return load_weights(Sealed([save_tensors(traced.weights)]))


def test_the_archive_holds_no_paths_no_inputs_and_no_dates(module: torch.nn.Module) -> None:
    """Each would tell of the machine or of the example texts, and change the bytes."""
    with zipfile.ZipFile(io.BytesIO(_traced(module).graph)) as archive:
        infos = archive.infolist()

    names = [info.filename for info in infos]
    assert names == sorted(names)
    assert not [
        n for n in names if n.endswith(".debug_pkl") or "traced_inputs" in n or "serialization_id" in n
    ]
    assert {info.date_time for info in infos} == {(1980, 1, 1, 0, 0, 0)}
    assert {info.compress_type for info in infos} == {zipfile.ZIP_STORED}


def test_canonical_bytes_are_a_fixed_point(module: torch.nn.Module) -> None:
    """Writing what was written changes nothing."""
    graph = _traced(module).graph

    assert canonical(graph) == graph


def test_a_graph_without_tensors_answers_as_before_once_filled(module: torch.nn.Module) -> None:
    """Parameters and non-persistent buffers alike; the graph alone is small."""
    with torch.no_grad():
        expected = module(torch.ones(2, 4))[0]
    traced = _traced(module)

    with torch.no_grad():
        found = load_graph(Sealed([traced.graph]), _weights(traced))(torch.ones(2, 4))[0]

    assert torch.equal(found, expected)


def test_two_buckets_share_one_copy_of_the_weights(module: torch.nn.Module) -> None:
    """In memory too, not only on disk."""
    traced = _traced(module)
    weights = _weights(traced)

    first, second = load_graph(Sealed([traced.graph]), weights), load_graph(Sealed([traced.graph]), weights)

    pointers = {name: tensor.data_ptr() for name, tensor in named_tensors(first)}
    assert pointers == {name: tensor.data_ptr() for name, tensor in named_tensors(second)}
    assert pointers == {name: weights[name].data_ptr() for name in pointers}


def test_a_missing_tensor_is_named(module: torch.nn.Module) -> None:
    """A graph is never run with an empty weight."""
    traced = _traced(module)
    weights = _weights(traced)
    del weights["linear.weight"]

    with pytest.raises(WeightsDoNotFit) as refused:
        load_graph(Sealed([traced.graph]), weights)
    with pytest.raises(WeightsDoNotFit):
        load_graph(Sealed([traced.graph]), None)

    assert refused.value.tensor == "linear.weight"


def test_a_tensor_of_another_type_is_refused(module: torch.nn.Module) -> None:
    """float16 values in a float32 graph would fail later, in the middle of a request."""
    traced = _traced(module)
    weights = {name: tensor.half() for name, tensor in _weights(traced).items()}

    with pytest.raises(WeightsDoNotFit, match="float16"):
        load_graph(Sealed([traced.graph]), weights)


def test_broken_bytes_are_refused(module: torch.nn.Module) -> None:
    """Both kinds of file, with our own error."""
    graph = _traced(module).graph

    with pytest.raises(GraphUnreadable):
        load_graph(Sealed([graph[: len(graph) // 2]]), {})
    with pytest.raises(GraphUnreadable):
        load_weights(Sealed([b"\x00" * 7]))


def test_a_graph_with_its_own_weights_loads_without_others(module: torch.nn.Module) -> None:
    """As Inf1 graphs are."""
    graph = save(jit_trace(module, (torch.ones(2, 4),)))

    with torch.no_grad():
        assert torch.equal(
            load_graph(Sealed([graph]), None)(torch.ones(2, 4))[0], module(torch.ones(2, 4))[0]
        )


def test_inf1_needs_the_vendors_package() -> None:
    """Said before anything is loaded; the cpu target needs nothing."""
    prepare("cpu")

    with pytest.raises(NeuronMissing, match="torch_neuron"):
        prepare("inf1")
