"""Services → templates by stack name, in the order in which the stacks deploy."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from artifact.release import ReleaseLock
from settings.model import Settings

CDK_JSON = Path(__file__).parents[2] / "cdk.json"


def templates_of(
    services: Sequence[tuple[Settings, ReleaseLock, ReleaseLock | None]],
) -> dict[str, dict[str, Any]]:
    """The templates that ``cdk deploy`` would send; starts Node, some seconds.

    Args:
        services: of each its settings, its lock, and its canary's if it has one.

    Raises:
        What ``infra.app.add_stacks`` does.
    """
    from infra.entry import use_pinned_node

    use_pinned_node()
    import aws_cdk as cdk

    from infra.app import Service, add_stacks

    context = json.loads(CDK_JSON.read_text(encoding="utf-8"))["context"]
    with tempfile.TemporaryDirectory() as folder:
        app = cdk.App(outdir=folder, context=context, analytics_reporting=False)
        add_stacks(app, [Service(*service) for service in services])
        return {stack.stack_name: dict(stack.template) for stack in app.synth().stacks}
