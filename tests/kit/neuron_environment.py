"""A Python environment that has ``torch_neuron``: the double's, as a Deep Learning AMI has the real one.

The double lies on this environment's path and on no other's; production code meets it only by
``import torch_neuron``, as it would meet the real package.
"""

from __future__ import annotations

import sysconfig
import venv
from pathlib import Path

from tests.kit.command import CHECKOUT

DOUBLE = CHECKOUT / "tests/neuron_double"


def make(folder: Path) -> Path:
    """Make the environment in ``folder`` and return its interpreter."""
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
    ours = Path(sysconfig.get_path("purelib"))
    site = folder / ours.relative_to(Path(sysconfig.get_path("data")))
    (site / "double.pth").write_text(f"{ours}\n{CHECKOUT}\n{DOUBLE}\n")
    (folder / "bin/node").symlink_to(Path(sysconfig.get_path("scripts")) / "node")
    return folder / "bin/python"
