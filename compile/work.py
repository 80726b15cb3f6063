"""What a row costs in a bucket: floating point operations, and an estimate of device memory.

Both follow from config.json; nothing is loaded. They are for choosing between buckets, not for
promising a latency.
"""

from __future__ import annotations

import json
import math
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artifact.errors import UsageError
from compile.architectures import Architecture, architecture_of, usable_positions
from compile.source import ModelSource

WEIGHT_BYTES = 2
"""Bytes of a weight on the device (bf16). Source: aws-neuron/aws-neuron-sdk,
archive/appnotes/torch-neuron/bucketing-app-note.rst: about 1e9 / parameters graphs fit a core of 2 GB."""

ACTIVATION_BYTES = 4
"""Bytes of an intermediate value. An upper bound: the compiler may keep it in bf16."""


class SizesUnknown(UsageError):
    """The model's config does not say how large its layers are."""

    id = "model-sizes-unknown"

    def __init__(self, *, architecture: str, why: str) -> None:
        super().__init__(
            what=f"the work of this {architecture} model cannot be told from its config",
            why=why,
            fix="plan without `--model` from a file of lengths; padded tokens are the work then",
        )


@dataclass(frozen=True)
class Encoder:
    """The sizes of a transformer encoder. ``parameters`` counts every value of the weights files."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    positions: int
    parameters: int

    def flops(self, length: int) -> int:
        """Floating point operations of one row of ``length`` tokens, a multiply-add counted as two.

        With L tokens, hidden size h, intermediate size i, for each layer:

            8 L h^2     query, key, value and output projections
            4 L h i     the two matrices of the feed-forward part
            4 L^2 h     scores of each pair of tokens, and the mean they weight

        Source: Narayanan et al. 2021, arXiv:2104.04473, appendix (24 B s h^2 + 4 B s^2 h for
        i = 4 h). Left out, because they are small or the same for every choice of buckets:
        embeddings, norms, softmax, the head. A family with another layer (a gated feed-forward
        part, relative positions, local attention) is only approximated.
        """
        linear = 8 * length * self.hidden**2 + 4 * length * self.hidden * self.intermediate
        return self.layers * (linear + 4 * length**2 * self.hidden)

    def device_bytes(self, batch: int, length: int) -> int:
        """Device memory of one loaded bucket in bytes: a careful estimate, not measured.

        All weights once (an Inf1 graph holds its own), and every tensor of one layer at the same
        time: seven of (batch, length, hidden) with input, projections, context and output, two
        of (batch, length, intermediate), two of (batch, heads, length, length).
        """
        row = length * (7 * self.hidden + 2 * self.intermediate + 2 * self.heads * length)
        return self.parameters * WEIGHT_BYTES + batch * row * ACTIVATION_BYTES


def encoder_of(source: ModelSource) -> Encoder:
    """The sizes of the model at ``source``.

    Raises:
        SizesUnknown: the config lacks one, and the family is not in the table of architectures.
        What ``ModelSource.expose`` raises of a pickle.
    """
    row, config = architecture_of(source.config), source.config
    hidden = _size(row, config, row.hidden_key, row.hidden)
    intermediate = (
        row.intermediate_per_hidden * hidden
        if row.intermediate_per_hidden
        else _size(row, config, row.intermediate_key, row.intermediate)
    )
    return Encoder(
        layers=_size(row, config, row.layers_key, row.layers),
        hidden=hidden,
        intermediate=intermediate,
        heads=_size(row, config, row.heads_key, row.heads),
        positions=usable_positions(row, config),
        parameters=_parameters(source),
    )


def _size(row: Architecture, config: dict[str, Any], key: str, default: int) -> int:
    """The value of ``key``, else the family's default, which only a family of the table has."""
    value = config.get(key, None if row.support == "generic" else default)
    if not isinstance(value, int) or value < 1:
        why = f"its {key} is {value!r}" if key in config else f"it has no {key}"
        raise SizesUnknown(architecture=row.model_type, why=why)
    return value


def _parameters(source: ModelSource) -> int:
    """How many numbers the weights hold; a pickle's are counted once they are safetensors."""
    if not source.pickled:
        return sum(_values(source.folder / name) for name in source.weights)
    with tempfile.TemporaryDirectory(prefix="traceship-weights-") as scratch:
        exposed = source.expose(Path(scratch) / "model")
        return sum(map(_values, exposed.glob("*.safetensors")))


def _values(path: Path) -> int:
    """How many numbers a safetensors file holds, whose header was checked before."""
    with path.open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    return sum(math.prod(entry["shape"]) for key, entry in header.items() if key != "__metadata__")
