"""Where batches are run, and which of these places get any.

A lane whose batches fail one after the other gets no more of them: it fails faster than others answer, so it
would take most of the traffic. It is checked (``suspicion.py`` says when), and gets batches again, or ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from artifact.manifest import Bucket
from inference_code.rows import Outputs, Row
from inference_code.suspicion import Suspicion

Done = Callable[["list[Outputs] | Exception", float], None]
"""Takes the outputs of a batch, or why there are none, and the seconds that it ran."""


class Lane(Protocol):
    """Something that runs one batch after the other."""

    @property
    def name(self) -> str:
        """What metrics and log call it."""

    @property
    def load(self) -> int:
        """Batches that it has: 0 idles, 1 runs."""

    @property
    def room(self) -> int:
        """Batches that it would take now."""

    @property
    def late(self) -> bool:
        """Whether the batch that it runs takes far longer than such a one should."""

    def start(self, bucket: Bucket, rows: Sequence[Row], done: Done) -> None:
        """Run a batch, after those that it has; ``done`` is called later, in any case."""


Check = Callable[[Lane, Bucket], None]
"""Finds out, later, whether the graph of that shape is well on that lane, and has ``checked`` called then."""


class Lanes:
    """``taking``: those that get batches now."""

    def __init__(self) -> None:
        self.taking: list[Lane] = []
        self._suspects: list[Lane] = []
        self._ill: set[Lane] = set()
        self._suspicion = Suspicion()
        self._check: Check | None = None

    @property
    def all(self) -> list[Lane]:
        """Those that get batches, and those that are checked."""
        return [*self.taking, *self._suspects]

    def have_checked(self, check: Check) -> None:
        """Have ``check`` look at suspects; until then there are none, since nobody could clear them."""
        self._check = check

    def add(self, lane: Lane) -> None:
        self.taking.append(lane)

    def remove(self, lane: Lane) -> None:
        """It is gone; nothing happens where it was already."""
        for lanes in (self.taking, self._suspects):
            if lane in lanes:
                lanes.remove(lane)
        self._ill.discard(lane)
        self._suspicion.forget(lane)

    def ended(self, lane: Lane, shape: Bucket, *, well: bool) -> None:
        """A batch came to its end on ``lane``, and not because that is gone."""
        if lane not in self.taking:
            # What it was handed early: the check says more.
            return
        if well:
            self._suspicion.succeeded(lane, shape.path)
        elif self._suspicion.failed(lane, shape.path, time.monotonic()) and self._check is not None:
            self.taking.remove(lane)
            self._suspects.append(lane)
            self._check(lane, shape)

    def checked(self, lane: Lane, *, well: bool, seconds: float) -> None:
        """A check of so many ``seconds`` found that it gets batches again, or that it is to be removed."""
        if lane not in self._suspects:
            return
        if well:
            self._suspicion.cleared(lane, time.monotonic(), seconds)
            self._suspects.remove(lane)
            self.taking.append(lane)
        else:
            self._ill.add(lane)

    def trouble(self) -> str | None:
        """Why an inference would not succeed now, or None.

        A suspect is none until it is proven ill or takes too long for that: what its batches failed at may
        well have been their inputs, and then whoever sent them could turn /ping.
        """
        lanes = self.all
        if not lanes:
            return "without a worker"
        if self._ill.issuperset(lanes):
            return "failing at every inference"
        if all(lane in self._ill or lane.late for lane in lanes):
            return "not getting its batches done"
        return None
