"""Workers that are programs of their own: each loads the graphs itself.

So it is on Inf1, whose runtime does not survive a fork (aws-neuron/aws-neuron-sdk#441).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from artifact.manifest import Manifest
from artifact.sealed import Sealed
from inference_code.threads import in_thread
from inference_code.workers.arena import Arena
from inference_code.workers.beginning import (
    PROGRAM,
    Begun,
    channel,
    descriptors,
    discarded_on_error,
    spawned,
)
from inference_code.workers.cores import Share
from inference_code.workers.messages import Own, Start
from inference_code.workers.supply import Supply


class Programs:
    """A ``Starter``; its workers load side by side, and say when they are ready."""

    def __init__(self, manifest: Manifest, supply: Supply, program: Sequence[str] = PROGRAM) -> None:
        self._manifest = manifest
        self._supply = supply
        self._program = program

    async def start(self, shares: Sequence[Share], patience: float) -> list[Begun]:  # noqa: ARG002
        """See ``Starter``; call from the main thread.

        Raises:
            ArtifactChanged: a file is no longer what was verified.
            MemoryFileRefused, TooFewDescriptors: the kernel refused.
        """
        begun: list[Begun] = []
        with await in_thread(self._supply.files) as files, discarded_on_error(begun):
            for share in shares:
                begun.append(self._started(share, files))
        return begun

    async def close(self) -> None:
        """There is nothing to close."""

    def _started(self, share: Share, files: Mapping[str, Sealed]) -> Begun:
        arena = Arena(self._manifest, share.slots)
        own = Own(share.number, arena.descriptor, share.slots, share.threads)
        start = Start(
            manifest=self._manifest,
            digest=self._supply.digest,
            files=descriptors(files),
            pack=share.pack,
            own=own,
        )
        ours, theirs = channel()
        with theirs:
            return Begun(spawned(start, theirs, share.environ, self._program), ours, arena)
