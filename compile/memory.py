"""What a model needs in memory: to be traced, on a host that serves it, and on the device.

Estimates, each with its formula. Too high costs parallelism or a replica, too low costs a run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifact.machine import Machine
from artifact.manifest import Target, Task
from compile.architectures import architecture_of
from compile.request import Shape

if TYPE_CHECKING:
    from compile.jobs import ModelJob

_GIB = 1024**3
_WEIGHTS = (".safetensors", ".bin")
DTYPE_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class Needs:
    """Memory of one tracing child: ``fixed`` bytes and ``factor`` times the float32 weights."""

    fixed: int
    factor: float


TRACING: dict[Target, Needs] = {
    "cpu": Needs(fixed=_GIB // 2, factor=5.0),
    "inf1": Needs(fixed=4 * _GIB, factor=12.0),
}
"""cpu: Python with torch and transformers takes 0.4 GiB; the checkpoint as read, the parameters, the
tensors taken out of the trace, their serialised bytes and the file's bytes are five copies at most.

inf1: neuron-cc has no published figure. These two numbers agree with what users report: a BERT base
(0.44 GB of weights) is killed on a host of 8 GiB (aws-neuron/aws-neuron-sdk#439) and compiles on the
recommended c5.4xlarge of 32 GiB; 16 GiB is too little for some (aws-neuron/aws-neuron-sdk#1064).
"""


@dataclass(frozen=True)
class Sizes:
    """What decides the size of a forward pass. ``choices``: multiple-choice's candidates, else 1;
    ``words``: the vocabulary where the task has an output over it, else 0."""

    hidden: int
    intermediate: int
    heads: int
    choices: int = 1
    words: int = 0

    @staticmethod
    def of(config: Mapping[str, Any], task: Task, choices: int | None) -> Sizes:
        """The sizes that the config gives, or the architecture's defaults where it is silent."""
        row = architecture_of(config)
        return Sizes(
            hidden=int(config.get(row.hidden_key, row.hidden)),
            intermediate=int(config.get(row.intermediate_key, row.intermediate)),
            heads=int(config.get(row.heads_key, row.heads)),
            choices=choices or 1,
            words=int(config.get("vocab_size", 0)) if task == "fill-mask" else 0,
        )

    def activation_bytes(self, shape: Shape) -> int:
        """Intermediate values of one forward pass, float32, in bytes.

        Eight vectors of the hidden size and two of the intermediate size a token, two attention
        matrices a head, and fill-mask's vector over the vocabulary: 4 x rows x length x (8 x
        hidden + 2 x intermediate + 2 x heads x length + vocabulary), where a row of
        multiple-choice counts once for each choice.
        """
        token = 8 * self.hidden + 2 * self.intermediate + 2 * self.heads * shape.length + self.words
        return 4 * shape.batch * self.choices * shape.length * token


def parameters(config: Mapping[str, Any], weight_file_bytes: int) -> int:
    """Number of parameters, from the size of the checkpoint and the dtype that the config names."""
    dtype = str(config.get("dtype") or config.get("torch_dtype") or "float32").removeprefix("torch.")
    return weight_file_bytes // DTYPE_BYTES.get(dtype, 4)


def is_weights(name: str) -> bool:
    """Whether a file of a checkpoint holds its tensors."""
    return name.endswith(_WEIGHTS)


def tracing_bytes(target: Target, model: ModelJob, shape: Shape) -> int:
    """Memory that the child needs to trace one bucket of the model."""
    folder = Path(model.folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    files = sum(path.stat().st_size for path in folder.iterdir() if is_weights(path.name))
    needs = TRACING[target]
    weights = 4 * parameters(config, files)
    activations = Sizes.of(config, model.task, model.choices).activation_bytes(shape)
    return needs.fixed + int(needs.factor * weights) + activations


@dataclass(frozen=True)
class Width:
    """How many buckets are traced at once. ``told`` says why where memory decided."""

    buckets: int
    told: str | None = None


def tracing_width(each: int, count: int, jobs: int | None, machine: Machine) -> Width:
    """The least of buckets, cores and what memory permits; ``jobs`` takes the cores' place.

    Args:
        each: bytes that the hungriest child needs.

    One bucket is always traced: the estimate is no reason to refuse what might work.
    """
    wanted = min(count, jobs or machine.cores())
    available = machine.available_memory()
    if available is None or available >= wanted * each:
        return Width(buckets=wanted)
    permitted = max(1, available // each)
    figures = f"{_gib(each)} each, {_gib(available)} available"
    if available < each:
        return Width(1, f"memory may not suffice: about {figures}; tracing one bucket at a time")
    return Width(permitted, f"tracing {permitted} of {count} buckets at a time: about {figures}")


def _gib(count: int) -> str:
    return f"{count / _GIB:.1f} GiB"
