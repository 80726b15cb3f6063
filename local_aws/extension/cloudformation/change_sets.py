"""Change sets that change no resource's properties and still something.

ministack compares properties only and calls an added output or a changed UpdatePolicy "no
changes", so that the CDK CLI skips the stack and the next one misses its export. On AWS such a
change set can be executed.
"""

from __future__ import annotations

import re
from typing import Any

from ministack.services import cloudformation
from ministack.services.cloudformation import handlers

from local_aws.extension.registry import Registry

_ID = re.compile(rb"<Id>([^<]+)</Id>")


def register(registry: Registry) -> None:
    """Look again at every change set that ministack found empty."""
    registry.replace_action(handlers._ACTION_HANDLERS, "CreateChangeSet", _around)


def _around(own: Any) -> Any:
    def create(parameters: Any) -> Any:
        answer = own(parameters)
        found = _ID.search(answer[2])
        if found is not None:
            _reconsider(cloudformation._change_sets[found.group(1).decode()])
        return answer

    return create


def _reconsider(change_set: dict[str, Any]) -> None:
    stack = cloudformation._stacks[change_set["StackName"]]
    empty = change_set["Status"] == "FAILED" and not change_set["Changes"]
    if empty and change_set["ChangeSetType"] == "UPDATE" and change_set["_template"] != stack["_template"]:
        change_set.update(Status="CREATE_COMPLETE", ExecutionStatus="AVAILABLE", StatusReason="")
