"""Let the CUDA build of torch 1.13.1 start on a machine without CUDA.

PyPI has no CPU build of that version, and its libraries want ``libcublas.so.11`` and
``libcudnn.so.8`` before they load. On a CPU no function of either is ever called, so two
libraries of a few kilobytes that only carry the names take the place of 900 MB. They exist for
this lane alone: nothing that ships uses them.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

LIBRARIES = {"libcublas.so.11": "cublas", "libcudnn.so.8": "cudnn"}


def build(torch_lib: Path, into: Path) -> Path:
    """Compile the stand-ins for what the libraries in ``torch_lib`` miss; return ``into``."""
    into.mkdir(parents=True, exist_ok=True)
    wanted = _undefined(torch_lib)
    for soname, prefix in LIBRARIES.items():
        _library(into, soname, sorted(name for name in wanted if name.startswith(prefix)))
    return into


def _undefined(torch_lib: Path) -> set[str]:
    command = ["nm", "-D", "--undefined-only", *map(str, sorted(torch_lib.glob("lib*.so*")))]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {line.split()[-1].split("@")[0] for line in listed.splitlines() if " U " in line}


def _library(into: Path, soname: str, names: list[str]) -> None:
    source, versions = into / f"{soname}.c", into / f"{soname}.map"
    body = "\n".join(f"void {name}(void) {{ __builtin_trap(); }}" for name in names)
    source.write_text(f"{body}\n")
    versions.write_text(f"{soname} {{ global: *; }};\n")
    command = ["gcc", "-shared", "-fPIC", "-w", f"-Wl,-soname,{soname}"]
    command += [f"-Wl,--version-script={versions}", "-o", str(into / soname), str(source)]
    subprocess.run(command, check=True)
