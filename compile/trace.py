"""One bucket traced, in a fresh process: ``python -m compile.trace``. Started by ``buckets.py``.

Makes ``graphs/*.pt``; ``artifact/graphs.py`` loads them, on both sides.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifact.manifest import BuiltWith, Tensor
from compile.children import child_main
from compile.jobs import ModelJob, TraceJob, TraceResult

if TYPE_CHECKING:
    import torch


def trace_here(job: TraceJob) -> TraceResult:
    """Trace in this process; only the first trace of a process has reproducible bytes.

    The example inputs are seeded random ids, never a user's text: a trace may keep them.
    """
    import torch
    from safetensors.torch import save

    from compile.backends.protocol import TraceOptions, backend_of
    from compile.inputs import recorded
    from compile.model import load_model, vocabulary, weight_bytes, wrap
    from compile.samples import random_feed
    from compile.seq2seq import Decoder, decoder_feed, generation_of

    torch.set_num_threads(1)  # one small forward; more threads only get in each other's way
    backend = backend_of(job.target)
    model = load_model(job.model)
    wrapper = wrap(model, job.model)
    names = wrapper.names
    feed = random_feed(job.model, names, (job.batch, job.length), vocabulary(model))
    inputs = recorded(Path(job.inputs), tuple(feed[name] for name in names))
    with torch.no_grad():
        shapes = [tuple(output.shape) for output in wrapper(*inputs)]
    generation = generation_of(model, job.model) if job.model.seq2seq else None
    parts: list[tuple[Any, tuple[torch.Tensor, ...], str]] = [(wrapper, inputs, job.graph)]
    if generation is not None and job.decoder is not None:
        states = wrapper(*inputs)[0].detach()
        decoder = Decoder(model).eval().requires_grad_(False)
        parts.append((decoder, decoder_feed(generation, states, feed["attention_mask"]), job.decoder))
    tensors: dict[str, torch.Tensor] | None = None
    for part, arguments, path in parts:
        workdir = Path(job.workdir) / Path(path).stem
        workdir.mkdir(parents=True)
        traced = backend.trace(
            part,
            arguments,
            TraceOptions(
                arguments=job.compiler_args,
                timeout_seconds=job.compiler_timeout,
                workdir=workdir,
                weight_bytes=weight_bytes(part),
                minimum_segment_size=job.minimum_segment_size,
                single_fusion_ratio=job.single_fusion_ratio,
                separate_weights=job.separate_weights,
                dynamic_batch=job.dynamic_batch,
            ),
        )
        Path(path).write_bytes(traced.graph)
        if traced.weights is not None:
            tensors = {**(tensors or {}), **traced.weights}
    weights = None if tensors is None else save(tensors)
    if weights is not None and job.weights is not None:
        Path(job.weights).write_bytes(weights)
    return TraceResult(
        inputs=tuple(input_tensor(job.model, name) for name in names),
        outputs=tuple(
            output_tensor(job.model, name, shape) for name, shape in zip(job.model.outputs, shapes)
        ),
        weights_sha256=None if weights is None else hashlib.sha256(weights).hexdigest(),
        built_with=built_with(*backend.versions()),
        generation=generation,
    )


def input_tensor(model: ModelJob, name: str) -> Tensor:
    """An input as the manifest describes it."""
    choices = () if model.choices is None else (model.choices,)
    return Tensor(name=name, dtype="int64", shape=("batch", *choices, "length"))


def output_tensor(model: ModelJob, name: str, shape: tuple[int, ...]) -> Tensor:
    """An output as the manifest describes it; ``shape`` is what one bucket gave."""
    symbols: tuple[str | int, ...] = ("batch", *shape[1:])
    if model.token_level:
        symbols = ("batch", "length", *shape[2:])
    return Tensor(name=name, dtype="float32", shape=symbols)


def built_with(torch_neuron: str | None, neuron_cc: str | None) -> BuiltWith:
    """The versions of this process."""
    import platform

    import tokenizers
    import torch
    import transformers

    described = torch.__config__.show()
    _, _, capability = described.partition("CPU capability usage: ")
    return BuiltWith(
        torch=torch.__version__.partition("+")[0],
        transformers=transformers.__version__,
        tokenizers=tokenizers.__version__,
        torch_neuron=torch_neuron,
        neuron_cc=neuron_cc,
        cpu=f"{platform.machine()} {capability.splitlines()[0].strip() if capability else 'unknown'}",
    )


if __name__ == "__main__":
    sys.exit(child_main(TraceJob, trace_here, sys.argv[1:]))
