"""A bucket's example inputs as a file, so that a failed trace can be run again on the very same."""

from __future__ import annotations

import json
from pathlib import Path

import torch


def recorded(path: Path, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Take the inputs of ``path`` if it exists, else write ``inputs`` there and take those.

    A list of ``{"dtype", "values"}`` in positional order, values nested as the shape is.
    """
    if not path.exists():
        told = [{"dtype": str(tensor.dtype), "values": tensor.tolist()} for tensor in inputs]
        path.write_text(json.dumps(told), encoding="utf-8")
        return inputs
    kept = json.loads(path.read_text(encoding="utf-8"))
    return tuple(
        torch.tensor(item["values"], dtype=getattr(torch, item["dtype"].removeprefix("torch.")))
        for item in kept
    )
