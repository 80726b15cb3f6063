"""CloudFormation's own schemas of resource types, as cfn-lint brings them."""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from pathlib import Path
from typing import Any

_SPEC = importlib.util.find_spec("cfnlint")
assert _SPEC is not None
assert _SPEC.origin is not None
_DATA = Path(_SPEC.origin).parent / "data/schemas"
SNAPSHOTS = Path(__file__).resolve().parents[1] / "infra/snapshots"


@cache
def schema(type_name: str) -> dict[str, Any]:
    """The registry's schema of a type in us-east-1."""
    known = json.loads((_DATA / "providers/us-east-1.json").read_text(encoding="utf-8"))
    file = _DATA / "resources" / f"{known[type_name]}.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def types_of_our_templates() -> list[str]:
    """Every resource type in a snapshot of a stack."""
    templates = [json.loads(path.read_text(encoding="utf-8")) for path in SNAPSHOTS.glob("*.json")]
    return sorted({one["Type"] for template in templates for one in template["Resources"].values()})
