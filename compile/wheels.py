"""The wheels that AWS's stock container lacks, fetched once and held to their pinned SHA-256.

``inference_code/stock_wheels.sha256`` names them, in the form that ``sha256sum --check`` reads.
``python -m compile.wheels FOLDER`` fetches what FOLDER does not have.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from artifact.errors import ProofFailed, TraceshipError

PINS = "inference_code/stock_wheels.sha256"
CHECKOUT = Path(__file__).resolve().parents[1]
FETCHED = ".traceship/wheels"
"""Where they are kept in the checkout."""
_PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_27_x86_64", "manylinux_2_28_x86_64")
"""Older than the container's glibc 2.31 (Ubuntu 20.04)."""
_SECONDS = 300


class WheelsUnfetched(TraceshipError):
    """pip did not bring what the archive for the stock container needs."""

    id = "wheels-unfetched"

    def __init__(self, *, wheel: str, why: str) -> None:
        super().__init__(
            what=f"{wheel} could not be fetched",
            why=why,
            fix="see that pip reaches a package index, and run the command again",
        )


class WheelChanged(ProofFailed):
    """A wheel is not the one that was pinned."""

    id = "wheel-changed"

    def __init__(self, *, wheel: str, found: str, pinned: str) -> None:
        super().__init__(
            what=f"{wheel} is not the wheel that this checkout pins",
            why=f"its sha256 begins {found[:12]}, {PINS} says {pinned[:12]}",
            fix="delete it, and run the command again",
        )


@dataclass(frozen=True)
class Wheel:
    """A pinned wheel. ``python``: such as ``cp310``; ``abi``: the same, or ``abi3`` for that and later."""

    file: str
    sha256: str

    @property
    def _tags(self) -> list[str]:
        return self.file.split("-")

    @property
    def requirement(self) -> str:
        """As pip spells it."""
        return f"{self._tags[0]}=={self._tags[1]}"

    @property
    def python(self) -> str:
        """The Python that pip is to choose it for, such as ``310``."""
        return self._tags[2].removeprefix("cp")

    @property
    def folder(self) -> str:
        """Where it is unpacked: the Python that it is for, or ``abi3``."""
        return self._tags[3]


def pinned(checkout: Path) -> list[Wheel]:
    """What the archive carries."""
    lines = (checkout / PINS).read_text(encoding="ascii").splitlines()
    return [Wheel(file=file, sha256=sha256) for sha256, file in (line.split() for line in lines)]


def fetch(wheels: list[Wheel], folder: Path) -> None:
    """Bring into ``folder`` those of ``wheels`` that it lacks; with all there nothing is asked for.

    Raises:
        WheelsUnfetched: pip's last words, or another file came.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for wheel in wheels:
        if not (folder / wheel.file).exists():
            _download(wheel, folder)


def contents(wheel: Wheel, folder: Path) -> Mapping[str, bytes]:
    """The files in the wheel by their names.

    Raises:
        WheelChanged: it is another one; nothing of it was read.
    """
    path = folder / wheel.file
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != wheel.sha256:
        raise WheelChanged(wheel=str(path), found=found, pinned=wheel.sha256)
    with zipfile.ZipFile(path) as unpacked:
        return {info.filename: unpacked.read(info) for info in unpacked.infolist() if not info.is_dir()}


def _download(wheel: Wheel, folder: Path) -> None:
    platforms = [word for platform in _PLATFORMS for word in ("--platform", platform)]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    wanted = ["--no-deps", "--only-binary", ":all:", "--implementation", "cp", "--python-version"]
    command = [*pip, *wanted, wheel.python, *platforms, "--dest", str(folder), wheel.requirement]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise WheelsUnfetched(wheel=wheel.file, why=f"pip took more than {_SECONDS} seconds") from None
    if ended.returncode != 0:
        last = (ended.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise WheelsUnfetched(wheel=wheel.file, why=last)
    if not (folder / wheel.file).exists():
        raise WheelsUnfetched(wheel=wheel.file, why="pip brought another file of that version")


if __name__ == "__main__":
    fetch(pinned(CHECKOUT), Path(sys.argv[1]))
