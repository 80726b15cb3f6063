"""A long context in overlapping pieces, as tokenizers cut it: a pure function of lengths."""

from __future__ import annotations

from collections.abc import Iterator

MAX_WINDOWS = 256
"""Windows of one input. More would fill the server's queue with a single question or text."""


def windows(total: int, room: int, overlap: int) -> Iterator[range]:
    """Yield the tokens of each window, in order; the last one ends with the context.

    Args:
        total: tokens of the context, at least one.
        room: tokens of it that one window holds.
        overlap: tokens that two neighbours share, fewer than ``room``.
    """
    for start in range(0, total, room - overlap):
        yield range(start, min(start + room, total))
        if start + room >= total:
            return


def window_count(total: int, room: int, overlap: int) -> int:
    """How many windows ``windows`` yields."""
    return 1 + max(0, -(-(total - room) // (room - overlap)))
