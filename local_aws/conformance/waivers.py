"""waivers.toml as values: what the inventory does not compare, why, and which test stands in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tomllib

WAIVERS = Path(__file__).with_name("waivers.toml")


@dataclass(frozen=True, kw_only=True)
class Waiver:
    """Why something is not compared. ``tested``: the test that covers it, ``path::function``."""

    reason: str
    tested: str


@dataclass(frozen=True, kw_only=True)
class Waivers:
    """Types and properties that are not compared."""

    types: Mapping[str, Waiver]
    properties: Mapping[str, Mapping[str, Waiver]]

    @classmethod
    def load(cls) -> Waivers:
        """Read waivers.toml."""
        data = tomllib.loads(WAIVERS.read_text(encoding="utf-8"))
        return cls(
            types={name: Waiver(**entry) for name, entry in data.get("types", {}).items()},
            properties={
                kind: {name: Waiver(**entry) for name, entry in entries.items()}
                for kind, entries in data.get("properties", {}).items()
            },
        )
