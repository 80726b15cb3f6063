"""The inf1 target: torch.neuron.trace, as the container has it.

Source of the signature: aws-neuron-sdk, archive/torch-neuron/api-compilation-python-api.rst.
"""

from __future__ import annotations

import logging
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any

import torch

from artifact.graphs import prepare
from compile.backends.cpu import save
from compile.backends.protocol import TracedGraph, TraceOptions

if TYPE_CHECKING:
    from compile.wrapper import Wrapper

SEPARATE_WEIGHTS_ABOVE = 1_900_000_000
"""Bytes of constants above which the graph's protobuf would pass 2 GB. Source: as above."""


class Inf1Backend:
    """torch.neuron.trace; the compiled graph holds its weights."""

    def __init__(self) -> None:
        """Make ``torch.neuron`` exist.

        Raises:
            NeuronMissing: torch_neuron is not installed here.
        """
        logging.basicConfig(
            level=logging.INFO, stream=sys.stderr, format="%(levelname)s:%(name)s:%(message)s"
        )
        prepare("inf1")

    def versions(self) -> tuple[str | None, str | None]:
        """As installed; the compiler is a distribution of its own."""
        return _version("torch-neuron"), _version("neuron-cc")

    def trace(self, wrapper: Wrapper, inputs: tuple[torch.Tensor, ...], options: TraceOptions) -> TracedGraph:
        """Compile for the device. Operators that it lacks fall back to the CPU; the log tells."""
        with torch.no_grad():
            traced = torch.neuron.trace(wrapper, inputs, **trace_keywords(options))  # type: ignore[attr-defined]
        return TracedGraph(graph=save(traced), weights=None)


def trace_keywords(options: TraceOptions) -> dict[str, Any]:
    """The keyword arguments of ``torch.neuron.trace``; what is not asked for keeps its default."""
    keywords: dict[str, Any] = {
        "compiler_args": list(options.arguments),
        "compiler_timeout": options.timeout_seconds,
        "compiler_workdir": str(options.workdir),
        "fallback": True,
        "dynamic_batch_size": options.dynamic_batch,
    }
    if options.minimum_segment_size is not None:
        keywords["minimum_segment_size"] = options.minimum_segment_size
    if options.single_fusion_ratio is not None:
        keywords["single_fusion_ratio_threshold"] = options.single_fusion_ratio
    if options.separate_weights or options.weight_bytes > SEPARATE_WEIGHTS_ABOVE:
        keywords["separate_weights"] = True
    return keywords


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
