"""How many copies of an Inf1 artifact an instance holds: NeuronCores, device memory, host memory.

A copy (replica) is one process that loads every bucket onto its NeuronCores: one, or with a
pipeline as many as the model was spread over. Facts of the chip are in platform.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from artifact.errors import UsageError
from artifact.manifest import MODEL_CONFIG
from artifact.verify import VerifiedArtifact
from compile.memory import Sizes, is_weights, parameters
from compile.request import Shape

_GIB = 1024**3
_BYTES_A_PARAMETER = 2
"""The device computes in 16 bits and keeps weights so. With 8 GiB for four cores that gives about
1e9 / parameters buckets a core, as the vendor's bucketing application note says."""


class BucketsDoNotFitDevice(UsageError):
    """All buckets together need more device memory than the chips of one copy have."""

    id = "buckets-do-not-fit-device"

    def __init__(self, *, needed: int, available: int, buckets: int, cores: int) -> None:
        super().__init__(
            what=f"{buckets} buckets of this model do not fit the device",
            why=f"they need about {needed / _GIB:.1f} GiB of device memory; a copy on {cores} "
            f"NeuronCore{'s' if cores > 1 else ''} has at most {available / _GIB:.1f} GiB",
            fix="give fewer or smaller `--bucket`, or spread the model over more chips with "
            f"`traceship compile --pipeline-cores {min(64, _cores_for(needed))}`",
        )


class NoDeviceNeeded(UsageError):
    """The artifact does not run on NeuronCores."""

    id = "no-device-needed"

    def __init__(self, *, target: str) -> None:
        super().__init__(
            what="NeuronCores cannot be counted for this artifact",
            why=f"it was compiled for {target}",
            fix="compile it with `traceship compile --target inf1`",
        )


@dataclass(frozen=True)
class Chip:
    """One Inferentia device."""

    cores: int
    memory_bytes: int


@dataclass(frozen=True)
class Host:
    """An instance type. ``memory_bytes`` is what replicas may use of the host's memory."""

    name: str
    chips: int
    memory_bytes: int


@dataclass(frozen=True)
class Footprint:
    """What one copy takes: NeuronCores, device memory of all its buckets, host memory."""

    cores: int
    device_bytes: int
    host_bytes: int


@dataclass(frozen=True)
class Capacity:
    """Copies that one instance holds. ``reason`` says what limits them, or why there are none.

    ``device_bytes_per_core`` of a core in use; ``host_bytes`` of all copies together.
    """

    instance_type: str
    neuron_cores: int
    replicas: int
    cores_used: int
    device_bytes_per_core: int
    host_bytes: int
    host_bytes_usable: int
    fits: bool
    reason: str


@cache
def chip() -> Chip:
    """The Inferentia chip, from platform.json."""
    facts = json.loads(Path(__file__).with_name("platform.json").read_text(encoding="utf-8"))["inf1"]
    return Chip(cores=facts["cores_per_chip"]["value"], memory_bytes=facts["device_bytes_per_chip"]["value"])


def device_bytes(parameters: int, activations: Sequence[int]) -> int:
    """Estimate of the device memory of all buckets, in bytes; ``activations`` of each bucket.

    Each bucket is a program of its own with its own weights: 2 x parameters + activations. The
    activations are counted as float32, the parameters with the embeddings that stay on the host.
    """
    return sum(_BYTES_A_PARAMETER * parameters + each for each in activations)


def check_device(parameters: int, activations: Sequence[int], cores: int) -> None:
    """Refuse buckets that no instance could load.

    Args:
        cores: NeuronCores of one copy. On one core the whole chip's memory can be used, at the
            price of its other cores.

    Raises:
        BucketsDoNotFitDevice: see there.
    """
    needed = device_bytes(parameters, activations)
    available = _chips_of(cores) * chip().memory_bytes
    if needed > available:
        raise BucketsDoNotFitDevice(needed=needed, available=available, buckets=len(activations), cores=cores)


def footprint(artifact: VerifiedArtifact) -> Footprint:
    """What one copy of the artifact takes.

    Raises:
        NoDeviceNeeded: it is not for Inf1.
    """
    manifest = artifact.manifest
    if manifest.requires.target != "inf1":
        raise NoDeviceNeeded(target=manifest.requires.target)
    config = json.loads(artifact.read(MODEL_CONFIG))
    files = sum(file.size for file in manifest.source.files if is_weights(file.path))
    sizes = Sizes.of(config, manifest.task, manifest.choices)
    shapes = [Shape(batch=bucket.batch, length=bucket.length) for bucket in manifest.buckets]
    return Footprint(
        cores=1 if manifest.compiler is None else manifest.compiler.pipeline_cores,
        device_bytes=device_bytes(
            parameters(config, files), [sizes.activation_bytes(shape) for shape in shapes]
        ),
        host_bytes=manifest.requires.memory_bytes,
    )


def capacity(needs: Footprint, host: Host) -> Capacity:
    """How many copies the instance holds: the least that cores, device and host memory permit."""
    limits = {
        f"its {chip().cores * host.chips} NeuronCores": _by_cores(needs, host),
        "device memory": _by_device(needs, host),
        "host memory": host.memory_bytes // needs.host_bytes,
    }
    name = min(limits, key=lambda key: limits[key])
    replicas = limits[name]
    return Capacity(
        instance_type=host.name,
        neuron_cores=chip().cores * host.chips,
        replicas=replicas,
        cores_used=replicas * needs.cores,
        device_bytes_per_core=needs.device_bytes // needs.cores,
        host_bytes=replicas * needs.host_bytes,
        host_bytes_usable=host.memory_bytes,
        fits=replicas > 0,
        reason=f"limited by {name}" if replicas else _why_none(needs, host, limits),
    )


def _by_cores(needs: Footprint, host: Host) -> int:
    """Copies that share a chip share no core; a copy over several chips takes them whole."""
    if needs.cores <= chip().cores:
        return host.chips * (chip().cores // needs.cores)
    return host.chips // _chips_of(needs.cores)


def _by_device(needs: Footprint, host: Host) -> int:
    if needs.cores <= chip().cores:
        return host.chips * (chip().memory_bytes // needs.device_bytes)
    chips = _chips_of(needs.cores)
    return host.chips // chips if needs.device_bytes <= chips * chip().memory_bytes else 0


def _why_none(needs: Footprint, host: Host, limits: Mapping[str, int]) -> str:
    """Everything that one copy lacks."""
    lacking = [name for name, permitted in limits.items() if permitted == 0]
    told = {
        "device memory": f"one copy needs {needs.device_bytes / _GIB:.1f} GiB of device memory, "
        f"its chips have {_chips_of(needs.cores) * chip().memory_bytes / _GIB:.1f}",
        "host memory": f"one copy needs {needs.host_bytes / _GIB:.1f} GiB of host memory, "
        f"{host.memory_bytes / _GIB:.1f} are usable",
    }
    cores = f"one copy needs {needs.cores} NeuronCores, there are {chip().cores * host.chips}"
    return "; ".join(told.get(name, cores) for name in lacking)


def _chips_of(cores: int) -> int:
    return -(-cores // chip().cores)


def _cores_for(needed: int) -> int:
    """Cores of as many chips as hold ``needed`` bytes."""
    return chip().cores * -(-needed // chip().memory_bytes)
