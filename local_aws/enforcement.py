"""enforcement.toml as values: what the local AWS refuses, and what is only there."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import tomllib

CLAIMS = Path(__file__).with_name("enforcement.toml")


class Status(StrEnum):
    """How far a property of the stacks is real on this machine."""

    ENFORCED = "enforced"
    PRESENT = "present"
    ABSENT = "absent"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One property of the stacks and what becomes of it here."""

    subject: str
    status: Status
    detail: str
    tested: str = ""
    """Unless enforced: the test that covers it instead, ``path::function``."""


def claims() -> tuple[Claim, ...]:
    """Every claim, in the order of the file."""
    entries = tomllib.loads(CLAIMS.read_text(encoding="utf-8"))["claim"]
    return tuple(Claim(**{**entry, "status": Status(entry["status"])}) for entry in entries)
