"""What the model alone can do: so many processes of one thread each call it, without HTTP.

Variants: ``pad128_b1``, traced, every text padded to 128 tokens, as the Inf1 samples do; ``eager_b1``,
untraced and unpadded; ``eager``, batches of eight out of the corpus sorted by length, which no
server that answers at once can have; ``packed``, the same with Linear weights packed for oneDNN.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.serve.figures import Limit

VARIANTS = ("pad128_b1", "eager_b1", "eager", "packed")
_CHECKOUT = Path(__file__).resolve().parents[2]
_BATCH, _TEXTS = 8, 400


def limits(round_: int, *, processes: int, seconds: float) -> list[Limit]:
    """Every variant in turn; texts per processor second, the mean of the processes."""
    return [Limit(round_, name, _run(name, processes, seconds)) for name in VARIANTS]


def _run(name: str, processes: int, seconds: float) -> float:
    command = [sys.executable, "-m", "bench.serve.limit", name, str(seconds)]
    env = {**os.environ, "PYTHONPATH": str(_CHECKOUT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    started = [
        subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        for _ in range(processes)
    ]
    # Each says that it is warm, and begins when it is told: all work at the same time.
    for process in started:
        if process.stdout is None or not process.stdout.readline():
            raise SystemExit(f"the variant {name} did not start")
    outputs = []
    for process in started:
        if process.stdin is not None:
            process.stdin.write(b"\n")
            process.stdin.flush()
    for process in started:
        output, _ = process.communicate()
        outputs.append(float(json.loads(output)))
    return sum(outputs) / len(outputs)


def measure(name: str, seconds: float) -> float:
    """In this process, whole passes over the corpus until the time is over."""
    import torch

    torch.set_num_threads(1)
    model, jobs = _jobs(name)
    with torch.inference_mode():
        for inputs, _ in jobs[:: max(1, len(jobs) // 12)]:
            model(*inputs)
        print("warm", flush=True)
        sys.stdin.readline()
        done, used, began = 0, time.process_time(), time.perf_counter()
        while time.perf_counter() - began < seconds:
            for inputs, count in jobs:
                model(*inputs)
                done += count
        return done / (time.process_time() - used)


def _jobs(name: str) -> tuple[Any, list[tuple[tuple[Any, Any], int]]]:
    import torch
    from transformers import AutoModel, AutoTokenizer

    from bench.serve.peers.embedder import mean_pooled
    from bench.serve.texts import MAX_TOKENS, mixed, model_folder

    bert = AutoModel.from_pretrained(model_folder()).eval()
    if name == "packed":
        _pack(bert.encoder)
    model = mean_pooled(bert)
    # What is padded costs the same for every text.
    texts = mixed(48 if name == "pad128_b1" else _TEXTS)
    tokenizer = AutoTokenizer.from_pretrained(model_folder())
    rows = [tokenizer(text, truncation=True, max_length=MAX_TOKENS)["input_ids"] for text in texts]
    size = 1 if name.endswith("_b1") else _BATCH
    rows = rows if size == 1 else sorted(rows, key=len)
    groups = [rows[at : at + size] for at in range(0, len(rows), size)]
    jobs = [(_padded(group, MAX_TOKENS if name == "pad128_b1" else 0), len(group)) for group in groups]
    if name == "pad128_b1":
        with torch.no_grad():
            model = torch.jit.trace(model, jobs[0][0], check_trace=False)  # type: ignore[no-untyped-call]
    return model, jobs


def _padded(rows: Sequence[Sequence[int]], least: int) -> tuple[Any, Any]:
    import torch

    length = max(least, *map(len, rows), 0)
    ids = torch.zeros((len(rows), length), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for at, row in enumerate(rows):
        ids[at, : len(row)] = torch.tensor(row)
        mask[at, : len(row)] = 1
    return ids, mask


def _pack(module: Any) -> None:
    """Give every Linear below ``module`` weights in oneDNN's own layout; answers stay float32's."""
    import torch

    class Packed(torch.nn.Module):
        def __init__(self, linear: Any) -> None:
            super().__init__()
            self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), 256)
            self.bias = linear.bias.detach()

        def forward(self, states: torch.Tensor) -> Any:
            return torch.ops.mkldnn._linear_pointwise(states, self.weight, self.bias, "none", [], "")

    for name, child in list(module.named_children()):
        if isinstance(child, torch.nn.Linear):
            setattr(module, name, Packed(child))
        else:
            _pack(child)


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], float(sys.argv[2]))))
