"""JSON Schemas of our files, out of the types. ``python -m artifact.schemas docs/schemas``"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from artifact.bill import Cost
from artifact.garbage import Garbage
from artifact.golden import Golden
from artifact.manifest import Manifest
from artifact.plan import BucketPlan
from artifact.release import ReleaseLock

_PUBLISHED = {
    "manifest-1": Manifest,
    "golden-1": Golden,
    "lock-1": ReleaseLock,
    "plan-1": BucketPlan,
    "gc-1": Garbage,
    "cost-1": Cost,
}


def schemas() -> dict[str, str]:
    """File name to text, one schema a file kind."""
    return {f"{name}.schema.json": _text(kind) for name, kind in _PUBLISHED.items()}


def _text(kind: type[Any]) -> str:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(kind)}
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    for name, text in schemas().items():
        (Path(sys.argv[1]) / name).write_text(text, encoding="utf-8")
