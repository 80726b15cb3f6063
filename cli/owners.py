"""Whose a deployed stack is: names alone do not say, two projects or stages can spell the same one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from artifact.errors import UsageError
from infra.names import PROJECT_TAG, STAGE_TAG
from settings.model import Settings


class StackOfAnother(UsageError):
    """A stack with this name belongs to another project or stage, and would be overwritten or destroyed."""

    id = "stack-of-another"

    def __init__(self, *, stack: str, owner: str, ours: str) -> None:
        super().__init__(
            what=f"the stack {stack} belongs to {owner}, not to {ours}",
            why="its tags say so; names of stacks hold no stage, and a project with a service can be spelt"
            " as another project is",
            fix="give one of the two a project.name, an account or a region of its own, or name the stage"
            " that made it with --stage; `traceship deploy --take-over` makes it yours",
        )


def check_owner(stack: Mapping[str, Any], settings: Settings) -> None:
    """See that ``stack``, as CloudFormation describes it, was made from these settings' project and stage.

    A stack without our tags is taken for ours: CloudFormation lists one that is only planned without any.

    Raises:
        StackOfAnother: see there.
    """
    tags = {tag["Key"]: tag["Value"] for tag in stack.get("Tags", ())}
    if PROJECT_TAG not in tags:
        return
    owner = _spelt(tags[PROJECT_TAG], tags.get(STAGE_TAG))
    ours = _spelt(settings.project.name, settings.stage)
    if owner != ours:
        raise StackOfAnother(stack=str(stack["StackName"]), owner=owner, ours=ours)


def _spelt(project: str, stage: str | None) -> str:
    return f"the project {project!r} " + ("without a stage" if stage is None else f"in stage {stage!r}")
