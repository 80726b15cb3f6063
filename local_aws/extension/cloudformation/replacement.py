"""Which changes replace a resource, for every type of our templates: as CloudFormation's own schemas say.

ministack knows this for some types and updates the others in place, or makes them anew and leaves
the old one behind.
"""

from __future__ import annotations

from pathlib import Path

import tomllib

from local_aws.extension.registry import Registry

CREATE_ONLY = Path(__file__).with_name("create_only.toml")
KEPT = {"AWS::Batch::ComputeEnvironment": ("Tags",)}
"""Changed in place here: batch.py says of a compute environment what replaces it, and a stack's new
tag would take it from the job queues that use it."""


def register(registry: Registry) -> None:
    """Give ministack the lists; call this when every type is registered."""
    for type_name, properties in create_only().items():
        kept = KEPT.get(type_name, ())
        registry.replace_on_change(type_name, [name for name in properties if name not in kept])


def create_only() -> dict[str, list[str]]:
    """Property names by type."""
    return tomllib.loads(CREATE_ONLY.read_text(encoding="utf-8"))
