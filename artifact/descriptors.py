"""Too many open files: a limit of the process, which must never be told as a damaged artifact."""

from __future__ import annotations

import errno

from artifact.errors import TraceshipError

_LIMITS = {errno.EMFILE, errno.ENFILE}


class TooFewDescriptors(TraceshipError):
    """The process may not open as many files and connections as it needs."""

    id = "too-few-descriptors"

    def __init__(self, *, doing: str, why: str) -> None:
        super().__init__(
            what=f"could not {doing} with so few open files",
            why=why,
            fix="raise the limit (`ulimit -n 1024`), then run the command again",
        )


def check_descriptors(error: BaseException, *, doing: str) -> None:
    """See that ``error`` does not come from "too many open files", through whatever wrapped it.

    Raises:
        TooFewDescriptors: it does. ``doing`` completes "could not …".
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _LIMITS:
            raise TooFewDescriptors(doing=doing, why=str(seen)) from error
        seen = seen.__cause__ or seen.__context__
