"""The archive for AWS's stock PyTorch container: the artifact, and the handler that serves it there.

    artifact/…               the artifact's own files
    code/inference.py        the module that the toolkit imports, with the four hooks
    code/artifact, code/inference_code       this checkout's packages
    code/packages/…          what the container lacks, unpacked, for each Python (``wheels.py``)
    MAR-INF/MANIFEST.json, model-config.yaml     what TorchServe is told about the model

There is no ``code/requirements.txt``: the toolkit would have pip install it from an index at every
start. Why: docs/decisions/0018-stock-container.md.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from artifact.manifest import File
from artifact.packed import STOCK_FOLDER
from artifact.verify import ListedArtifact
from compile.archive import Member, artifact_members, member_of
from compile.wheels import contents, fetch, pinned

_HOOKS = """\
from pathlib import Path

from inference_code.toolkit import prepare

prepare(Path(__file__).resolve().parent / "packages")

from inference_code.inference import input_fn, model_fn, output_fn, predict_fn  # noqa: E402, F401
"""
_CONFIG = "model-config.yaml"
_RETRY_SECONDS = 1
"""How long TorchServe calls a worker healthy that does not come up; it takes nothing less, and five
minutes unless it is told (TorchServe's configuration page, maxRetryTimeoutInSec)."""


def stock_members(artifact: ListedArtifact, *, checkout: Path, wheels: Path) -> list[Member]:
    """The archive's members in their order.

    Args:
        checkout: folder that holds the packages ``artifact`` and ``inference_code``.
        wheels: folder of wheels; what it lacks is fetched.

    Raises:
        WheelsUnfetched, WheelChanged: see ``wheels.py``.
    """
    beside = [member_of(name, data) for name, data in sorted(_beside(checkout, wheels).items())]
    return artifact_members(artifact, below=STOCK_FOLDER) + beside


def code_files(checkout: Path, wheels: Path) -> list[File]:
    """What ``stock_members`` puts beside the artifact, for ``artifact.packed.verify_packed``."""
    return [
        File(path=name, size=len(data), sha256=hashlib.sha256(data).hexdigest())
        for name, data in _beside(checkout, wheels).items()
    ]


def _beside(checkout: Path, wheels: Path) -> dict[str, bytes]:
    """What is not the artifact, by its name in the archive."""
    sources = [*checkout.glob("artifact/**/*.py"), *checkout.glob("inference_code/**/*.py")]
    code = {source.relative_to(checkout).as_posix(): source.read_bytes() for source in sources}
    code["inference.py"] = _HOOKS.encode()
    wanted = pinned(checkout)
    fetch(wanted, wheels)
    for wheel in wanted:
        for name, data in contents(wheel, wheels).items():
            code[f"packages/{wheel.folder}/{name}"] = data
    return {**{f"code/{name}": data for name, data in code.items()}, **_told_to_torchserve()}


def _told_to_torchserve() -> dict[str, bytes]:
    """Its model archive's manifest, which it needs to read a configuration, and that."""
    manifest = {
        "archiverVersion": "0.11.0",
        "createdOn": "",
        "model": {"configFile": _CONFIG, "modelName": "model", "modelVersion": "1.0"},
        "runtime": "python",
    }
    return {
        "MAR-INF/MANIFEST.json": json.dumps(manifest, indent=1, sort_keys=True).encode() + b"\n",
        _CONFIG: f"maxRetryTimeoutInSec: {_RETRY_SECONDS}\n".encode(),
    }
