"""What shapes an artifact besides the request and the model: versions, processor, our own code."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_CODE_FOLDERS = ("artifact", "compile")
_CODE = {".py", ".json", ".toml", ".txt"}
NOT_SHAPING = (
    "artifact/packed.py",
    "artifact/envelope.py",
    "artifact/keys.py",
    "artifact/release.py",
    "artifact/statement.py",
    "artifact/trust.py",
    "compile/archive.py",
    "compile/batch/",
    "compile/cache/",
    "compile/exchange.py",
    "compile/measure.py",
    "compile/provenance.py",
    "compile/publish/",
    "compile/reference.py",
    "compile/sbom.py",
)
"""What only looks at or carries artifacts that are finished; a test sees that no stage imports it."""

DISTRIBUTIONS = (
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "sentencepiece",
    "sacremoses",
    "torch-neuron",
    "neuron-cc",
)
_INSTRUCTIONS = ("amx", "asimd", "avx", "bf16", "f16c", "fma", "i8mm", "neon", "sse4", "sve")
_LIMITS = (
    "ATEN_CPU_CAPABILITY",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_MAX_CPU_ISA",
)
"""Variables that make the libraries use less of the processor than it has, which moves last bits."""


@dataclass(frozen=True)
class Environment:
    """Where a compile runs, as fields of the key; ``None`` is "not installed"."""

    versions: Mapping[str, str | None]
    cpu: Mapping[str, str]
    code: Mapping[str, str]


def this_python() -> Environment:
    """The interpreter that runs this, for the local runner; no library is imported to ask it."""
    versions = {name: _version(name) for name in DISTRIBUTIONS}
    python = ".".join(platform.python_version_tuple()[:2])
    return Environment(versions={"python": python, **versions}, cpu=_cpu(), code=code_digests())


def in_image(image: str) -> Environment:
    """A container: its image's digest stands for every version in it."""
    return Environment(versions={"image": image.rpartition("@")[2]}, cpu=_cpu(), code=code_digests())


def in_batch(image: str) -> Environment:
    """A job on Fargate, which gives a processor of its own choice and does not say which."""
    return Environment(
        versions={"image": image.rpartition("@")[2]}, cpu={"machine": "Fargate"}, code=code_digests()
    )


def code_digests() -> dict[str, str]:
    """SHA-256 of each of our files that has a part in what an artifact holds, by path."""
    paths = sorted(p for folder in _CODE_FOLDERS for p in (_ROOT / folder).rglob("*") if p.suffix in _CODE)
    named = {path.relative_to(_ROOT).as_posix(): path for path in paths}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in named.items()
        if not name.startswith(NOT_SHAPING)
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cpu() -> dict[str, str]:
    """Maker, instructions for numbers, and limits on their use.

    Finer than torch's own "CPU capability", which is one of a few names: the mathematics libraries
    choose among more kernels than it does, and their float answers differ in last bits.
    """
    described = _cpuinfo()
    flags = described.get("flags", described.get("Features", "")).split()
    return {
        "machine": platform.machine(),
        "vendor": described.get("vendor_id", described.get("CPU implementer", platform.processor())),
        "instructions": " ".join(sorted(flag for flag in flags if flag.startswith(_INSTRUCTIONS))),
        **{name: os.environ[name] for name in _LIMITS if name in os.environ},
    }


def _cpuinfo() -> dict[str, str]:
    """The first processor of Linux's list; nothing elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    rows = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in rows}
