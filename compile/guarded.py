"""A graph behind a check of its inputs' shapes, as one TorchScript archive.

A traced graph by itself accepts other shapes on a CPU, and a compiled one fails without saying
which shape it wants. The check is TorchScript too, so it goes where the file goes.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from artifact.errors import ProofFailed
from compile.torchscript import canonical

if TYPE_CHECKING:
    from artifact import manifest


class ExportDiffers(ProofFailed):
    """The file, read back, does not answer as the artifact's graph does."""

    id = "export-differs"

    def __init__(self, *, bucket: str, why: str) -> None:
        super().__init__(
            what=f"the exported file of the bucket {bucket} does not give the artifact's answers",
            why=why,
            fix="nothing was written; run `traceship verify` on the artifact, then export again",
        )


def guarded(
    graph: Any, inputs: Sequence[manifest.Tensor], *, bucket: str, extra_files: dict[str, bytes]
) -> bytes:
    """The canonical archive of ``graph`` behind its check, with every tensor that it uses.

    Args:
        graph: a loaded TorchScript module in eval mode.
        inputs: in positional order, shapes as numbers, names that can be arguments.
        bucket: as the error names it, such as ``8x128``.
        extra_files: content by name, which ``torch.jit.load`` hands out as ``_extra_files``.
    """
    holder = torch.nn.Module()
    holder.graph = graph
    scripted = torch.jit.script(holder.eval())
    scripted.define(_forward(inputs, bucket))
    buffer = io.BytesIO()
    torch.jit.save(scripted, buffer, _extra_files=extra_files)
    return canonical(buffer.getvalue())


def _forward(inputs: Sequence[manifest.Tensor], bucket: str) -> str:
    """TorchScript of a ``forward`` that checks and delegates; arguments have the inputs' names."""
    lines = [f"def forward(self, {', '.join(f'{tensor.name}: torch.Tensor' for tensor in inputs)}):"]
    for tensor in inputs:
        shape = list(tensor.shape)
        words = f"this graph is the bucket {bucket}: {tensor.name} has shape {{}}, it takes {shape}"
        lines.append(f"    if {tensor.name}.size() != {shape}:")
        lines.append(f'        raise ValueError("{words}".format({tensor.name}.size()))')
    lines.append(f"    return self.graph({', '.join(tensor.name for tensor in inputs)})")
    return "\n".join(lines) + "\n"


def check_same(
    data: bytes, graph: Any, inputs: Sequence[manifest.Tensor], *, bucket: str, tolerance: float
) -> None:
    """Run the archive as a stranger would load it, and the graph, on the same tensors.

    Raises:
        ExportDiffers: another number of outputs, other shapes, or a number further off than ``tolerance``.
    """
    feed = [torch.ones([int(size) for size in tensor.shape], dtype=torch.int64) for tensor in inputs]
    with torch.no_grad():
        expected: tuple[torch.Tensor, ...] = graph(*feed)
        found: tuple[torch.Tensor, ...] = torch.jit.load(io.BytesIO(data))(*feed)  # type: ignore[no-untyped-call]
    if [tensor.shape for tensor in found] != [tensor.shape for tensor in expected]:
        raise ExportDiffers(bucket=bucket, why="its outputs have other shapes")
    furthest = max(float((a - b).abs().max()) for a, b in zip(found, expected))
    if not furthest <= tolerance:  # NaN is not close to anything
        raise ExportDiffers(bucket=bucket, why=f"largest difference {furthest:.3g}, allowed {tolerance:g}")
