"""How many workers, and what each may use: NeuronCores on Inf1, threads on the CPU.

A NeuronCore belongs to one process (aws-neuron/aws-neuron-sdk#453), so each worker gets its own by
number. Sources: a chip of Inf1 has four NeuronCores and is a device /dev/neuronN
(aws-neuron/aws-neuron-sdk:archive/neuronperf and the container tutorial); NEURON_RT_VISIBLE_CORES
takes numbers and ranges (aws-neuron/aws-neuron-sdk:neuron-runtime/nrt-configurable-parameters.rst).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from artifact.errors import UsageError
from artifact.manifest import Manifest
from inference_code.option_values import OptionInvalid, whole_number

CORES_PER_CHIP = 4
SLOTS = 2
"""One batch runs, one waits."""
VISIBLE_CORES = "NEURON_RT_VISIBLE_CORES"
NUM_CORES = "NEURON_RT_NUM_CORES"
THREADS = "OMP_NUM_THREADS"
TUNABLES = "GLIBC_TUNABLES"

_MOST_CORES = 64
"""Of the largest instance, inf1.24xlarge."""
_MOST_THREADS = 1024
_RANGE = re.compile(r"(\d{1,3})(?:-(\d{1,3}))?", re.ASCII)
_DEVICE = re.compile(r"neuron\d+")
_MEMORY_SHARE = 0.8
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 32)}
"""glibc would map and unmap the activations of each batch: up to 13 % of its time (mallopt(3))."""
_HUGE_PAGES = {TUNABLES: "glibc.malloc.hugetlb=1"}
"""The heap, packed weights and all, in pages of 2 MiB where the kernel lets programs ask for them (glibc
manual, "Memory Allocation Tunables"; from 2.35 on). Weights are read from end to end in every run, which in
pages of 4 KiB took a tenth of the time of a small one."""


class TooFewCores(UsageError):
    """The machine, or what is left of it, has fewer NeuronCores than the workers need."""

    id = "too-few-neuron-cores"

    def __init__(self, *, needed: str, found: int) -> None:
        super().__init__(
            what=f"there are not enough NeuronCores for {needed}",
            why=f"{found} may be used here",
            fix="set TRACESHIP_WORKERS lower, give the container more of the /dev/neuron devices, "
            "or compile for a pipeline of fewer cores",
        )


class Resources(Protocol):
    """What a ``Machine`` tells."""

    def cores(self) -> int: ...

    def available_memory(self) -> int | None: ...


@dataclass(frozen=True)
class Share:
    """What one worker gets. ``environ`` is set in its process; ``threads`` is the most for its torch.

    ``slots``: batches that it may have at once. The second keeps an accelerator from waiting for
    the host; on the CPU, where they share the cores, a later batch is a better one. ``pack``: keep
    the weights of linear layers in the processor's own layout.
    """

    number: int
    threads: int = 1
    slots: int = 1
    pack: bool = False
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def cores(self) -> str:
        """The NeuronCores as their variable has them, or nothing."""
        return self.environ.get(VISIBLE_CORES, "")


def shares(
    manifest: Manifest,
    workers: int | None = None,
    *,
    cores: Sequence[int],
    here: Resources,
    threads: int | None = None,
) -> list[Share]:
    """One share for each worker.

    Args:
        workers: how many; ``None``: as many as there are NeuronCore groups or processors, with
            memory for each copy of the model.
        cores: the NeuronCores that may be used, by number.
        threads: of each worker on the CPU; ``None``: its share of the processors.

    Raises:
        TooFewCores: more cores are needed than there are.
    """
    if manifest.requires.target == "inf1":
        fitting = _fitting(manifest, here, len(cores) // _group(manifest))
        return _on_neuron_cores(manifest, cores, workers or fitting)
    processors = here.cores()
    count = workers or max(1, _fitting(manifest, here, processors))
    threads = threads or max(1, processors // count)
    environ = {**_KEEP_MEMORY, **_HUGE_PAGES}
    return [Share(number=number, threads=threads, pack=True, environ=environ) for number in range(count)]


def allotted(
    wanted: Sequence[tuple[Manifest, int | None]],
    *,
    cores: Sequence[int],
    here: Resources,
    threads: int | None = None,
) -> list[list[Share]]:
    """Shares of several artifacts, none of which has a NeuronCore of another.

    Args:
        wanted: each with its number of workers. Those that name none divide evenly what the others
            leave; see ``shares`` for the rest.

    Raises:
        TooFewCores: more cores are needed than there are.
    """
    named = sum(_group(manifest) * (workers or 0) for manifest, workers in wanted)
    open_ended = sum(_group(manifest) > 0 and workers is None for manifest, workers in wanted)
    each = max(0, len(cores) - named) // open_ended if open_ended else 0
    found, start = [], 0
    for manifest, workers in wanted:
        if manifest.requires.target != "inf1":
            of_several = _PartOf(here, len(wanted))
            found.append(shares(manifest, workers, cores=(), here=of_several, threads=threads))
            continue
        count = each if workers is None else _group(manifest) * workers
        found.append(shares(manifest, workers, cores=cores[start : start + count], here=here))
        start += count
    return found


@dataclass(frozen=True)
class _PartOf:
    """A machine's processors and memory, divided by several models."""

    whole: Resources
    parts: int

    def cores(self) -> int:
        return max(1, self.whole.cores() // self.parts)

    def available_memory(self) -> int | None:
        memory = self.whole.available_memory()
        return None if memory is None else memory // self.parts


def _group(manifest: Manifest) -> int:
    """NeuronCores that one copy of the model is spread over; of the CPU it takes none."""
    if manifest.requires.target != "inf1":
        return 0
    return manifest.compiler.pipeline_cores if manifest.compiler is not None else 1


def _fitting(manifest: Manifest, here: Resources, most: int) -> int:
    """As many copies as the host's memory holds, and no more than ``most``; at least one of them."""
    memory = here.available_memory()
    if memory is None:
        return most
    return min(most, max(1, int(memory * _MEMORY_SHARE) // manifest.requires.memory_bytes))


def _on_neuron_cores(manifest: Manifest, cores: Sequence[int], count: int) -> list[Share]:
    group = _group(manifest)
    if count == 0 or count * group > len(cores):
        needed = f"{count or 1} workers of {group}"
        raise TooFewCores(needed=needed, found=len(cores))
    groups = [cores[at * group : (at + 1) * group] for at in range(count)]
    return [
        # The older variable would count from core 0 again in each process.
        Share(
            number=number,
            slots=SLOTS,
            environ={VISIBLE_CORES: ",".join(map(str, mine)), NUM_CORES: str(group)},
        )
        for number, mine in enumerate(groups)
    ]


def neuron_cores(environ: Mapping[str, str], devices: Path = Path("/dev")) -> tuple[int, ...]:
    """The NeuronCores that this process may use: those of the runtime's own variables, else all.

    Raises:
        OptionInvalid: a variable holds something else than numbers.
    """
    if environ.get(VISIBLE_CORES):
        return visible(environ[VISIBLE_CORES])
    if environ.get(NUM_CORES):
        return tuple(range(whole_number(NUM_CORES, environ[NUM_CORES], at_most=_MOST_CORES)))
    try:
        chips = sum(bool(_DEVICE.fullmatch(entry.name)) for entry in devices.iterdir())
    except OSError:
        chips = 0
    return tuple(range(CORES_PER_CHIP * chips))


def threads_asked(environ: Mapping[str, str]) -> int | None:
    """OMP_NUM_THREADS, which torch would go by too, or None.

    Raises:
        OptionInvalid: it holds no number.
    """
    value = environ.get(THREADS)
    return whole_number(THREADS, value, at_most=_MOST_THREADS) if value else None


def visible(text: str, name: str = VISIBLE_CORES) -> tuple[int, ...]:
    """The numbers in a list such as ``0,2-3``.

    Raises:
        OptionInvalid: it is none.
    """
    found: list[int] = []
    for part in text.split(","):
        ends = _RANGE.fullmatch(part.strip())
        if ends is None or not int(ends[1]) <= int(ends[2] or ends[1]) < _MOST_CORES:
            raise OptionInvalid(name=name, value=text, wanted="core numbers and ranges such as 0,2-3")
        found += range(int(ends[1]), int(ends[2] or ends[1]) + 1)
    return tuple(dict.fromkeys(found))
