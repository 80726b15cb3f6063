"""A stand-in for torch_neuron: put this folder on ``PYTHONPATH`` of a child process, in tests only.

Like the real one: reached as ``torch_neuron`` and ``torch.neuron``, the documented signature,
static shapes, matmul inputs in half precision, the log lines of the compiler, an archive that
plain torch cannot load ("Unknown builtin op: neuron::forward_1"), and its failures.

Unlike the real one: the archive runs on the CPU, nothing is compiled, attention probabilities
keep full precision, and the order of the operators in the log is not the compiler's.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
"""To be put on ``PYTHONPATH``."""
