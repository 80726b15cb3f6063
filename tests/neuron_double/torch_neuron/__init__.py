"""The double itself; see the package around it.

``NEURON_DOUBLE_FAIL`` injects a failure: ``zero``, ``timeout``, ``protobuf``, ``killed``,
``killed-compiler``, ``killed-running``, ``unsupported``. ``NEURON_DOUBLE_COVERAGE`` is the percentage
of operators that the log claims for the device.
"""

from __future__ import annotations

import copy
import logging
import os
import signal
import subprocess
import sys
from collections import Counter
from typing import Any

import torch

__version__ = "1.13.1.2.11.13.0"

_log = logging.getLogger("Neuron")
_library = torch.library.Library("neuron", "DEF")
_library.define("forward_1(Tensor x, int[] shape) -> Tensor")
_traced_here: list[str] = []
"""``killed-running`` takes a process that runs a graph which another has traced: the proof."""


def _forward_1(x: torch.Tensor, shape: list[int]) -> torch.Tensor:
    """Stand for the compiled graph's entry: it takes the shape it was compiled for, no other.

    A size of 0 is a dynamic batch.
    """
    allowed = len(x.shape) == len(shape) and all(w in (0, s) for s, w in zip(x.shape, shape))
    if not allowed:
        raise RuntimeError(
            f"neuron::forward_1: incompatible input shape {list(x.shape)}, compiled for {shape}"
        )
    if os.environ.get("NEURON_DOUBLE_FAIL") == "killed-running" and not _traced_here:
        os.kill(os.getpid(), signal.SIGKILL)
    return x.clone()


_library.impl("forward_1", _forward_1, "CPU")


def trace(
    model: torch.nn.Module,
    example_inputs: Any,
    fallback: bool = True,
    op_whitelist: Any = None,
    minimum_segment_size: int | None = None,
    subgraph_builder_function: Any = None,
    subgraph_inputs_pruning: Any = None,
    skip_compiler: bool = False,
    debug_must_trace: bool = False,
    allow_no_ops_on_neuron: bool = False,
    compiler_workdir: str | None = None,
    dynamic_batch_size: bool = False,
    compiler_timeout: int | None = None,
    single_fusion_ratio_threshold: float = 0.6,
    compiler_args: list[str] | None = None,
    separate_weights: bool = False,
    verbose: int | None = None,
    **kwargs: Any,
) -> Any:
    """Trace with static shapes and half-precision matmul inputs; log as the compiler does."""
    if isinstance(compiler_args, str) or not all(isinstance(a, str) for a in compiler_args or []):
        raise TypeError("compiler_args must be a list of strings")
    failure = os.environ.get("NEURON_DOUBLE_FAIL", "")
    _fail_before(failure, compiler_timeout)
    _traced_here.append(type(model).__name__)
    half = torch.float16 if any("fp16" in argument for argument in compiler_args or []) else torch.bfloat16
    rounded = _in_half_precision(copy.deepcopy(model), half)
    inputs = (example_inputs,) if isinstance(example_inputs, torch.Tensor) else tuple(example_inputs)
    shapes = [[0 if dynamic_batch_size else t.shape[0], *t.shape[1:]] for t in inputs]
    traced = torch.jit.trace(_Compiled(rounded, shapes).eval(), inputs, check_trace=False, **kwargs)
    _write_log(traced, failure)
    if failure in ("zero", "killed-compiler") and not allow_no_ops_on_neuron:
        raise RuntimeError(
            "No operations were successfully partitioned and compiled to neuron for this model - "
            "aborting trace!"
        )
    return traced


class _Compiled(torch.nn.Module):
    def __init__(self, model: torch.nn.Module, shapes: list[list[int]]) -> None:
        super().__init__()
        self.model = model
        self.shapes = shapes

    def forward(self, *tensors: torch.Tensor) -> Any:
        entered = [torch.ops.neuron.forward_1(t, s) for t, s in zip(tensors, self.shapes)]
        return self.model(*entered)


def _in_half_precision(model: torch.nn.Module, half: torch.dtype) -> torch.nn.Module:
    """Round weights, inputs and outputs of every linear layer, so that no matmul sees float32."""

    def before(_module: Any, arguments: Any) -> Any:
        return tuple(a.to(half).float() for a in arguments)

    def after(_module: Any, _arguments: Any, output: torch.Tensor) -> torch.Tensor:
        return output.to(half).float()

    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.data = module.weight.data.to(half).float()
            module.register_forward_pre_hook(before)
            module.register_forward_hook(after)
    return model


def _fail_before(failure: str, timeout: int | None) -> None:
    if failure == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if failure == "timeout":
        raise subprocess.TimeoutExpired(["neuron-cc", "compile"], timeout or 0)
    if failure == "protobuf":
        raise ValueError("Message tensorflow.GraphDef exceeds maximum protobuf size of 2GB: 2684354560")
    if failure == "unsupported":
        raise NotImplementedError("Unsupported operator: aten::frobnicate")


def _write_log(traced: Any, failure: str) -> None:
    counts = Counter(node.kind() for node in traced.inlined_graph.nodes() if node.kind().startswith("aten::"))
    total, missing = sum(counts.values()), Counter({"aten::embedding": counts["aten::embedding"]})
    if failure in ("zero", "killed-compiler"):
        missing = counts
    elif "NEURON_DOUBLE_COVERAGE" in os.environ:
        wanted = total - round(total * float(os.environ["NEURON_DOUBLE_COVERAGE"]) / 100)
        missing = _take(counts, wanted)
    compiled = total - sum(missing.values())
    share = f"{round(100 * compiled / total, 2)}%"
    for line in (
        f"There are {counts['aten::embedding']} ops of 1 different types in the TorchScript that are not "
        "compiled by neuron-cc: aten::embedding, (For more information see the documentation)",
        f"Number of arithmetic operators (pre-compilation) before = {total}, fused = {compiled}, "
        f"percent fused = {share}",
        "Compiling function _NeuronGraph$1 with neuron-cc",
        f"Compile command returned: {-9 if failure == 'killed-compiler' else 0}",
        f"Number of arithmetic operators (post-compilation) before = {total}, compiled = {compiled}, "
        f"percent compiled = {share}",
        "The neuron partitioner created 1 sub-graphs",
        f"Neuron successfully compiled {int(compiled > 0)} sub-graphs, Total fused subgraphs = 1, "
        f"Percent of model sub-graphs successfully compiled = {100.0 if compiled else 0.0}%",
    ):
        _log.info(line)
    _log.info("Compiled these operators (and operator counts) to Neuron:")
    for kind, count in sorted((counts - missing).items()):
        _log.info(" => %s: %d", kind, count)
    _log.info("Not compiled operators (and operator counts) to Neuron:")
    for kind, count in sorted(missing.items()):
        _log.info(" => %s: %d [%ssupported]", kind, count, "not " if kind == "aten::embedding" else "")


def _take(counts: Counter[str], wanted: int) -> Counter[str]:
    """``wanted`` operators, the embeddings first."""
    taken: Counter[str] = Counter()
    for kind in sorted(counts, key=lambda kind: (kind != "aten::embedding", kind)):
        taken[kind] = min(counts[kind], wanted - sum(taken.values()))
    return +taken


torch.neuron = sys.modules[__name__]  # type: ignore[attr-defined]
sys.modules["torch.neuron"] = sys.modules[__name__]
