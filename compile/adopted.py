"""One TorchScript file of a user's, behind our calling convention: ``python -m compile.adopted``.

Started by ``adopt.py``. The file is loaded here, in a process of its own, and put into a scripted
module that takes the inputs in the model's order and returns the task's outputs as a tuple.
"""

from __future__ import annotations

import hashlib
import io
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifact.errors import UsageError
from compile.children import child_main
from compile.jobs import AdoptJob, TraceResult

if TYPE_CHECKING:
    import torch


_HERE = "<--- HERE"
_RAISED = re.compile(r"[\w.]+: ")
_TOLD = 300


class TraceUnusable(UsageError):
    """The file is no TorchScript that this torch runs on the bucket, or answers in a form of its own."""

    id = "trace-unusable"

    def __init__(self, *, file: str, why: str) -> None:
        super().__init__(
            what=f"{file} cannot be used as a trace of this model",
            why=why,
            fix="trace the model with torch.jit.trace, inputs by position, and save it with its weights",
        )


def adopt_here(job: AdoptJob) -> TraceResult:
    """Wrap the file and write the bucket's graph.

    Raises:
        InputDropped: ``inputs`` are not those that the model uses.
        TraceUnusable: see there.
    """
    import torch

    from artifact.graphs import prepare
    from compile.backends.protocol import backend_of
    from compile.model import load_model, vocabulary, wrap
    from compile.samples import random_feed
    from compile.trace import built_with, input_tensor, output_tensor
    from compile.wrapper import InputDropped

    prepare(job.target)
    data = Path(job.file).read_bytes()
    theirs = _load(job, data)
    model = load_model(job.model)
    wrapper = wrap(model, job.model)
    order = job.inputs or wrapper.names
    if sorted(order) != sorted(wrapper.names):
        raise InputDropped(used=wrapper.names, given=order)
    feed = random_feed(job.model, wrapper.names, (job.batch, job.length), vocabulary(model))
    with torch.no_grad():
        expected = wrapper(*(feed[name] for name in wrapper.names))
        try:
            answer = theirs(*(feed[name] for name in order))
        except Exception as error:  # their program's own: torch.jit.Error is no RuntimeError
            raise TraceUnusable(file=job.file, why=_own_words(error)) from error
    source = _forward(job, wrapper.names, order, answer=answer, dimensions=expected[0].dim())
    try:
        graph = _behind(theirs, source)
    except RuntimeError as error:
        raise TraceUnusable(file=job.file, why=_own_words(error)) from error
    Path(job.graph).write_bytes(graph)
    return TraceResult(
        inputs=tuple(input_tensor(job.model, name) for name in wrapper.names),
        outputs=tuple(
            output_tensor(job.model, name, tuple(found.shape))
            for name, found in zip(job.model.outputs, expected)
        ),
        weights_sha256=None,
        built_with=built_with(*backend_of(job.target).versions()),
        generation=None,
        adopted=hashlib.sha256(data).hexdigest(),
    )


def _load(job: AdoptJob, data: bytes) -> Any:
    from artifact.graphs import GraphUnreadable, load_graph
    from artifact.sealed import Sealed

    try:
        with Sealed([data]) as file:
            return load_graph(file, None)
    except GraphUnreadable as error:
        raise TraceUnusable(file=job.file, why=error.why) from error


def _picked(job: AdoptJob, answer: Any) -> list[str]:
    """How each of the task's outputs is taken out of what the file answers, as TorchScript."""
    import torch

    fields = job.model.fields
    if isinstance(answer, torch.Tensor) and len(fields) == 1:
        return ["answer"]
    if isinstance(answer, dict) and all(torch.is_tensor(answer.get(field)) for field in fields):
        return [f'answer["{field}"]' for field in fields]
    in_order = isinstance(answer, (tuple, list)) and len(answer) >= len(fields)
    if in_order and all(torch.is_tensor(found) for found in answer[: len(fields)]):
        return [f"answer[{place}]" for place in range(len(fields))]
    told: Any = type(answer).__name__
    if isinstance(answer, dict):
        told = sorted(answer)
    elif isinstance(answer, (tuple, list)):
        told = f"{told} of {', '.join(type(found).__name__ for found in answer)}"
    raise TraceUnusable(file=job.file, why=f"the task needs {', '.join(fields)}, the file answers {told}")


def _forward(
    job: AdoptJob, names: tuple[str, ...], order: tuple[str, ...], *, answer: Any, dimensions: int
) -> str:
    """TorchScript of a ``forward``: arguments in our order, theirs in their order, a tuple out.

    Args:
        answer: what the file gave.
        dimensions: of the untraced model's first output, pooled; a file that pools itself has as many.
    """
    picked = _picked(job, answer)
    lines = [f"def forward(self, {', '.join(f'{name}: torch.Tensor' for name in names)}):"]
    lines.append(f"    answer = self.graph({', '.join(order)})")
    if job.model.pooling == "none" or _first(answer, job).dim() == dimensions:
        return "\n".join([*lines, f"    return ({', '.join(picked)},)"]) + "\n"
    lines.append(f"    states = {picked[0]}")
    if job.model.pooling == "cls":
        lines.append("    pooled = states[:, 0]")
    else:
        lines.append("    mask = attention_mask.unsqueeze(-1).to(states.dtype)")
        lines.append("    pooled = (states * mask).sum(1) / mask.sum(1).clamp(min=1e-9)")
    if job.model.normalize:
        lines.append("    pooled = pooled / pooled.norm(2, -1, True).clamp(min=1e-12)")
    return "\n".join([*lines, "    return (pooled,)"]) + "\n"


def _first(answer: Any, job: AdoptJob) -> torch.Tensor:
    import torch

    if isinstance(answer, torch.Tensor):
        return answer
    found: torch.Tensor = answer[job.model.fields[0]] if isinstance(answer, dict) else answer[0]
    return found


def _behind(theirs: Any, source: str) -> bytes:
    import torch

    from compile.torchscript import canonical

    holder = torch.nn.Module()
    holder.graph = theirs
    scripted = torch.jit.script(holder.eval())
    scripted.define(source)
    buffer = io.BytesIO()
    torch.jit.save(scripted, buffer)
    return canonical(buffer.getvalue())


def _own_words(error: Exception) -> str:
    """What TorchScript says is wrong, on one line, without its excerpts of the code.

    Of a program that failed while it ran it stands below the excerpt, as "RuntimeError: …"; of one
    that does not compile, or was called wrongly, above.
    """
    lines = [line.rstrip() for line in str(error).splitlines() if line.strip()]
    excerpts = [at for at, line in enumerate(lines) if line.endswith(_HERE)]
    if excerpts and any("Traceback of TorchScript" in line for line in lines):
        below = lines[excerpts[-1] + 1 :]
        raised = next((at for at, line in enumerate(below) if _RAISED.match(line)), None)
        lines = [] if raised is None else [" ".join(line.strip() for line in below[raised:])]
    return lines[0].strip()[:_TOLD] if lines else type(error).__name__


if __name__ == "__main__":
    sys.exit(child_main(AdoptJob, adopt_here, sys.argv[1:]))
