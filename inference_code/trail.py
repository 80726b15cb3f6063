"""What happened to one request, and when: the marks that metrics and log are made of."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

import msgspec

from inference_code.rows import Row

STAGES = ("read", "prepare", "queue", "run", "write")
"""In the order in which a request goes through them; together they are its whole time."""


class Ran(Protocol):
    """What the queue tells of a request's rows; ``engine.Job`` is one.

    ``began``: when its first row was taken into a batch, ``ended``: when its last row was answered,
    both by ``time.monotonic``, 0.0 for not yet.
    """

    began: float
    ended: float
    buckets: set[str]
    workers: set[str]


class Trail(msgspec.Struct):
    """Marks are ``time.monotonic`` seconds, 0.0 where the request never came so far."""

    started: float = msgspec.field(default_factory=time.monotonic)
    read: float = 0.0
    prepared: float = 0.0
    begun: float = 0.0
    ran: float = 0.0
    error: str = ""
    """Id of the error that was answered, or nothing."""
    inputs: int = 0
    tokens: int = 0
    buckets: tuple[str, ...] = ()
    workers: tuple[str, ...] = ()

    def asked(self, rows_of: Sequence[Sequence[Row]]) -> None:
        """The body was understood: the rows of each input."""
        self.inputs = len(rows_of)
        self.tokens = sum(row.tokens for rows in rows_of for row in rows)
        self.prepared = time.monotonic()

    def left_queue(self, job: Ran) -> None:
        """Take over what is known of ``job`` when nobody waits for it any more.

        A request that was given up while it waited spent that time in the queue; one that was given
        up while it ran spent it running.
        """
        now = time.monotonic()
        self.begun = job.began or now
        self.ran = job.ended or (now if job.began else 0.0)
        self.buckets, self.workers = tuple(sorted(job.buckets)), tuple(sorted(job.workers))

    def stages(self, ended: float) -> list[tuple[str, float]]:
        """Seconds of each stage that the request finished; ``ended``: when its answer was written."""
        marks = (self.started, self.read, self.prepared, self.begun, self.ran, ended)
        return [
            (stage, after - before)
            for stage, before, after in zip(STAGES, marks, marks[1:])
            if before and after
        ]
