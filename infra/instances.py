"""What an instance type offers, from data/instances.toml. Nothing is looked up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import tomllib

DATA = Path(__file__).parent / "data" / "instances.toml"
SAGEMAKER_PREFIX = "ml."
INF1_DRIVER = "2.24"
"""Newer drivers of the host have no Inf1. Source: aws-neuron/aws-neuron-sdk:about-neuron/announcements/
neuron2.x/announce-correction-neuron-driver-support-inf1.rst."""


@dataclass(frozen=True)
class Instance:
    """An EC2 instance type. ``memory_gib`` of the host; ``sagemaker``: "ml.NAME" can host endpoints."""

    name: str
    vcpus: int
    memory_gib: float
    chips: int
    sagemaker: bool

    @property
    def family(self) -> str:
        """``inf1`` of ``inf1.xlarge``."""
        return self.name.partition(".")[0]

    @property
    def memory_bytes(self) -> int:
        return int(self.memory_gib * 1024**3)


@dataclass(frozen=True)
class Chip:
    """One Inferentia device: NeuronCores, and the memory they share."""

    cores: int
    memory_bytes: int


@cache
def chip() -> Chip:
    """The Inferentia chip."""
    data = tomllib.loads(DATA.read_text(encoding="utf-8"))
    return Chip(cores=data["cores_per_chip"], memory_bytes=data["memory_gib_per_chip"] * 1024**3)


def chips_of(cores: int) -> int:
    """Chips that so many NeuronCores lie on."""
    return -(-cores // chip().cores)


@cache
def instances() -> dict[str, Instance]:
    """Every known type by its EC2 name."""
    data = tomllib.loads(DATA.read_text(encoding="utf-8"))
    return {name: Instance(name=name, **facts) for name, facts in data["types"].items()}
