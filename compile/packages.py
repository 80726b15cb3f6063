"""The packages that take part in a compile: what the libraries it imports ask for, as installed here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata
from urllib.parse import quote

_ROOTS = (
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "sentencepiece",
    "msgspec",
    "torch-neuron",
    "neuron-cc",
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_OF_AN_EXTRA = re.compile(r"\bextra\s*==")


@dataclass(frozen=True)
class Package:
    """A distribution. ``name`` as PyPI normalises it."""

    name: str
    version: str

    @property
    def purl(self) -> str:
        """The package's URL: ``pkg:pypi/NAME@VERSION``."""
        version = f"@{quote(self.version, safe='')}" if self.version else ""
        return f"pkg:pypi/{_normalised(self.name)}{version}"


def installed() -> tuple[Package, ...]:
    """The libraries and everything that they need and that is installed, by name.

    Markers are not evaluated: a requirement of another platform is not installed here. Requirements
    of an extra are left out.
    """
    found: dict[str, str] = {}
    waiting = list(_ROOTS)
    while waiting:
        name = _normalised(waiting.pop())
        if name in found:
            continue
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        found[name] = distribution.version
        waiting += [
            _required(line) for line in distribution.requires or () if _OF_AN_EXTRA.search(line) is None
        ]
    return tuple(Package(name=name, version=found[name]) for name in sorted(found))


def _required(line: str) -> str:
    match = _NAME.match(line)
    return match[0] if match else ""


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
