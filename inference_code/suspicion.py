"""Which lanes are to be checked: a pure function of how their batches ended.

What failed may be the lane, or what a client sent: an input can make a healthy graph raise, or answer with
NaN. So failures never condemn a lane. They only have it checked, with inputs that are known to be good,
and so seldom that whoever sends such inputs on purpose takes little of its time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

IN_A_ROW = 3
"""Failures without a success between them: one input alone, sent once, has nothing checked."""
_PAUSE = 5.0
"""Seconds from a check that found nothing to the next one: a lane that falls ill in between fails so long."""
_SHARE = 20
"""The pause is at least so many times as long as that check took, so checks take a twentieth at the most."""


@dataclass
class _Record:
    """``failures`` in a row by graph, and under None of the whole lane. ``not_before``: the next check."""

    failures: Counter[str | None] = field(default_factory=Counter)
    not_before: float = 0.0


class Suspicion:
    """Times in seconds, on any clock that only goes forward. A lane is whatever is its key."""

    def __init__(self) -> None:
        self._records: dict[object, _Record] = {}

    def succeeded(self, lane: object, graph: str) -> None:
        """A batch of ``graph`` was answered; of the lane's other graphs that says nothing."""
        record = self._records.get(lane)
        if record is not None and record.failures:
            del record.failures[graph], record.failures[None]

    def failed(self, lane: object, graph: str, now: float) -> bool:
        """A batch of ``graph`` failed; return whether the lane is to be checked, with that graph."""
        record = self._records.setdefault(lane, _Record())
        record.failures.update((graph, None))
        many = max(record.failures[graph], record.failures[None])
        return many >= IN_A_ROW and now >= record.not_before

    def cleared(self, lane: object, now: float, seconds: float) -> None:
        """A check of so many ``seconds`` found nothing: the count begins anew."""
        self._records[lane] = _Record(not_before=now + max(_PAUSE, _SHARE * seconds))

    def forget(self, lane: object) -> None:
        """There is no such lane any more."""
        self._records.pop(lane, None)
