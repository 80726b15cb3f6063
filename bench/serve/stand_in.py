"""A stand-in for an accelerator: graphs that sleep as long as a device would take.

The model is MiniLM's tokenizer in front of a BERT of its width without layers, compiled for inf1 with
the tests' double of torch_neuron, so that the server plans and feeds its workers as on Inf1 and can
prove them (``stand_in_worker``) by real answers. ``python -m
bench.serve.stand_in ARTIFACT --port N`` is our server with those workers.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.serve.compiled import compiled
from bench.serve.servers import CHECKOUT, OURS, SERVERS, Run, Server, with_variables
from bench.serve.texts import model_folder

CALL_MS, TOKENS_MS = "BENCH_CALL_MS", "BENCH_TOKENS_MS"
_DOUBLE = CHECKOUT / "tests" / "neuron_double"
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json")


@dataclass(frozen=True)
class Device:
    """Milliseconds of one core for a call, and for each 128 tokens of it, padding included."""

    call_ms: float
    tokens_ms: float

    def seconds(self, tokens: int) -> float:
        return (self.call_ms + self.tokens_ms * tokens / 128) / 1000

    @property
    def variables(self) -> dict[str, str]:
        return {CALL_MS: str(self.call_ms), TOKENS_MS: str(self.tokens_ms)}


INF1 = Device(4.9, 3.0)
"""bert-base: 29 ms for 8 x 128 tokens (1095 a second on the four cores of inf1.xlarge), 7.9 ms for 1 x 128.
Source: aws-neuron/aws-neuron-sdk:about-neuron/benchmarks/inf1/*.csv."""
LIGHT = Device(0.3, 1.0)
"""A small model on a fast device, which leaves most of the work to the host."""


def light_artifact(buckets: Sequence[str], folder: Path) -> Path:
    """Compile the model without layers below ``folder``."""
    script = [sys.executable, "-c", _MODEL, str(folder / "model"), str(model_folder())]
    subprocess.run(script, check=True, capture_output=True)
    for name in _TOKENIZER_FILES:
        shutil.copy(model_folder() / name, folder / "model" / name)
    target = ("inf1", "--min-coverage", "50")  # without layers, the embeddings are much of the model
    return compiled(buckets, folder / "artifact", str(folder / "model"), target=target, path=(_DOUBLE,))


def ours(device: Device, cores: int) -> Server:
    """Our server as on an instance with so many NeuronCores, its workers asleep."""
    more = {**device.variables, "TRACESHIP_QUEUE_LIMIT": "8192", "NEURON_RT_NUM_CORES": str(cores)}
    more["PYTHONPATH"] = f"{CHECKOUT}:{_DOUBLE}"
    return with_variables(SERVERS[OURS], more, command=_command)


def peer(name: str, device: Device) -> Server:
    """A peer whose handler sleeps: text by text, each padded to 128 tokens."""
    return with_variables(SERVERS[name], {**device.variables, "BENCH_MODE": "stand-in"})


def _command(run: Run) -> list[str]:
    return [sys.executable, "-m", "bench.serve.stand_in", str(run.artifact), "--port", str(run.port)]


_MODEL = """
import sys
import torch
from transformers import BertConfig, BertModel
out, base = sys.argv[1:]
config = BertConfig.from_pretrained(base)
config.num_hidden_layers = 0
torch.manual_seed(0)
BertModel(config, add_pooling_layer=False).save_pretrained(out)
"""


def main() -> None:
    """Serve."""
    from inference_code import log
    from inference_code.options import serve_options
    from inference_code.server import serve

    path, _, port = sys.argv[1:]
    lines = log.configure()
    options = serve_options(os.environ, path=path, port=port, lame_duck="0")
    serve(options, lines, program=(sys.executable, str(CHECKOUT / "bench" / "serve" / "stand_in_worker.py")))


if __name__ == "__main__":
    main()
