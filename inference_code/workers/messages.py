"""What the server and a worker say to each other, one message a packet, in MessagePack."""

from __future__ import annotations

import msgspec

from artifact.manifest import Bucket, Manifest
from inference_code.rows import Wanted

MAX_BYTES = 262_144
"""Of one packet. The largest names the kept tokens of a full batch."""


class Own(msgspec.Struct, frozen=True):
    """What one worker gets. ``number``: its own; ``arena``: descriptor of the memory that it shares,
    ``slots`` of it; ``threads``: of torch, at the most.
    """

    number: int
    arena: int
    slots: int
    threads: int


class Start(msgspec.Struct, frozen=True):
    """How a process begins; it lies in a sealed file of its own, since manifests are long.

    ``digest``: of the manifest. ``files``: descriptors of the artifact's sealed files by path. ``pack``:
    the weights, where that is possible. ``own``: of the worker that the process is to be; None: it is to
    fork workers.
    """

    manifest: Manifest
    digest: str
    files: dict[str, int]
    pack: bool
    own: Own | None


class Loaded(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The graphs are loaded, in a process of so many ``threads``; with more than one it may not fork."""

    threads: int


class Fork(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Fork a worker. Its channel and its arena come along as descriptors.

    ``number``: the worker's; ``server``: process id of the server, its parent to be.
    """

    number: int
    server: int
    slots: int
    threads: int


class Forked(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The process id of the worker, now a child of the server; 0: there was no room for a process."""

    pid: int


class Ready(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The graphs are loaded, and run with ``threads`` each."""

    threads: int


class Refused(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The graphs cannot be loaded; the worker ends."""

    id: str
    exit_code: int
    what: str
    why: str
    fix: str


class Run(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Run the batch whose inputs lie in ``slot``. ``encode``: want what the graph itself says."""

    slot: int
    shape: Bucket
    wanted: list[Wanted]
    encode: bool


class Placed(msgspec.Struct, frozen=True, array_like=True):
    """An array in a slot's output memory, in C order."""

    dtype: str
    shape: tuple[int, ...]
    offset: int


class Ran(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A batch is done: per row its arrays. ``seconds`` that the graph ran; ``not_finite``: the rows that
    have NaN or infinity among their numbers.
    """

    slot: int
    rows: list[list[Placed]]
    seconds: float
    not_finite: tuple[int, ...] = ()


class Failed(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A batch came to nothing. ``known``: the id of an error of ours, with its reason."""

    slot: int
    error: str
    trace: str
    known: bool
    seconds: float


class Beat(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Are you there? The answer is the same message."""

    number: int


FromServer = Run | Beat
FromWorker = Ready | Refused | Ran | Failed | Beat
FromForkServer = Loaded | Refused | Forked
