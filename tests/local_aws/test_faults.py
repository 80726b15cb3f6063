"""A fault strikes where and as often as it was asked to, and leaves the rest alone."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws import names
from local_aws.launcher import LocalAws
from tests.local_aws.stacks import Json, Stack, new_stack

DENIED = {"code": "AccessDeniedException", "message": "User is not authorized to perform: kms:CreateGrant"}
TOPIC: Json = {"Type": "AWS::SNS::Topic", "Properties": {}}


class Faults:
    """Asks for faults and reads how often each struck."""

    def __init__(self, aws: LocalAws) -> None:
        self._url = f"{aws.endpoint}{names.INTERNAL_PREFIX}{names.FAULTS}"

    def ask(self, *faults: dict[str, Any]) -> None:
        self._call(json.dumps(faults).encode())

    def hits(self) -> list[int]:
        return [fault["hits"] for fault in self._call(None)]

    def _call(self, body: bytes | None) -> list[dict[str, Any]]:
        with urllib.request.urlopen(urllib.request.Request(self._url, data=body)) as answer:
            found: list[dict[str, Any]] = json.load(answer)
            return found


@pytest.fixture
def faults(aws: LocalAws) -> Iterator[Faults]:
    asked = Faults(aws)
    yield asked
    asked.ask()


def _named(stack: Stack, text: str) -> Json:
    return {"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": text}}


def test_a_resource_that_cannot_be_made_rolls_the_stack_back(aws: LocalAws, faults: Faults) -> None:
    """With the service's words as the event's reason; the other resource goes again."""
    stack, sns = new_stack(aws), aws.client("sns")
    before = sns.list_topics()["Topics"]
    faults.ask({"point": f"cloudformation:{stack.name}/Second", **DENIED})
    second = {**TOPIC, "DependsOn": "First"}

    assert stack.deploy({"First": TOPIC, "Second": second}) == "ROLLBACK_COMPLETE"

    assert faults.hits() == [1]
    assert DENIED["message"] in stack.failure()
    assert sns.list_topics()["Topics"] == before


def test_an_update_that_fails_late_sends_the_earlier_changes_back(aws: LocalAws, faults: Faults) -> None:
    """The first topic has its old name again, the second never lost it."""
    stack, sns = new_stack(aws), aws.client("sns")

    def resources(text: str) -> Json:
        return {"First": _named(stack, text), "Second": {**_named(stack, text), "DependsOn": "First"}}

    assert stack.deploy(resources("old")) == "CREATE_COMPLETE"
    faults.ask({"point": f"cloudformation:{stack.name}/Second", **DENIED})

    assert stack.deploy(resources("new")) == "UPDATE_ROLLBACK_COMPLETE"

    assert faults.hits() == [1]
    topics = [stack.physical_id(name) for name in ("First", "Second")]
    names_now = [sns.get_topic_attributes(TopicArn=t)["Attributes"]["DisplayName"] for t in topics]
    assert names_now == ["old", "old"]
    assert stack.deploy(resources("new")) == "UPDATE_COMPLETE"


@pytest.mark.parametrize(
    ("service", "operation", "request_"),
    [
        ("cloudformation", "DescribeStacks", "describe_stacks"),
        ("stepfunctions", "ListStateMachines", "list_state_machines"),
    ],
)
def test_throttling_passes_and_is_retried_by_the_sdk(
    aws: LocalAws, faults: Faults, service: str, operation: str, request_: str
) -> None:
    """Query and JSON protocols: two refusals, and the SDK's own retries get the answer."""
    scope = "states" if service == "stepfunctions" else service
    throttled = {"code": "ThrottlingException", "message": "Rate exceeded", "times": 2}
    faults.ask({"point": f"{scope}:{operation}", **throttled})

    getattr(aws.client(service), request_)()

    assert faults.hits() == [2]


def test_a_fault_waits_for_its_turn_and_ends(aws: LocalAws, faults: Faults) -> None:
    """One call passes, one fails with code and message, then all pass again."""
    cloudformation = aws.client("cloudformation")
    denied = {"code": "AccessDenied", "message": "no"}
    faults.ask({"point": "cloudformation:ListExports", "skip": 1, **denied})

    cloudformation.list_exports()
    with pytest.raises(ClientError, match=r"AccessDenied.*no"):
        cloudformation.list_exports()
    cloudformation.list_exports()

    assert faults.hits() == [1]
