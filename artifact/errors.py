"""The base of every error that traceship raises on purpose.

A class owns its words; callers pass facts. ``id`` is stable and goes to HTTP clients and
``--json``; ``exit_code`` is what the command returns:

    2 arguments, settings, an impossible bucket     3 a proof failed (digest, parity, coverage)
    4 credentials     5 conflict     130 interrupted     1 the rest
"""

from __future__ import annotations

from typing import ClassVar


class TraceshipError(Exception):
    """What happened, why, and how to fix it: one sentence each."""

    id: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, *, what: str, why: str, fix: str) -> None:
        super().__init__(f"{what}: {why}")
        self.what = what
        self.why = why
        self.fix = fix


class UsageError(TraceshipError):
    """The arguments, the settings or the model asked for cannot work as given."""

    id = "usage"
    exit_code = 2


class ProofFailed(TraceshipError):
    """Something that must be proven was not; nothing may be used or published."""

    id = "proof-failed"
    exit_code = 3


class CredentialsError(TraceshipError):
    """AWS did not accept who we are, or nobody said who we are."""

    id = "credentials"
    exit_code = 4


class Conflict(TraceshipError):
    """Somebody or something else holds the name, the port or the place."""

    id = "conflict"
    exit_code = 5
