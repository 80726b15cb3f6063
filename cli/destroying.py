"""The stacks that exist deleted, last deployed first, and the list of what CloudFormation kept.

Asked of CloudFormation itself, which needs names only: an assembly of the last deploy may be of another
stage or of one service, and synthesising a new one needs locks that may be gone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from artifact.aws import AwsClient, is_local, translated
from artifact.errors import TraceshipError, UsageError
from cli.console import step
from cli.deploying import UnknownStack
from cli.owners import check_owner
from cli.project import Project
from infra.names import ARTIFACTS, artifacts_bucket, logs_bucket, stack_name, stack_names

KEPT = ("Retain", "RetainExceptOnCreate")
"""Deletion policies with which a resource outlives its stack; ours is the second."""
LOOK_SECONDS, LOCAL_LOOK_SECONDS = 5, 0.2
EMPTYINGS = 3
"""Times that the buckets are emptied before it is given up."""
LOOKS = 1440
"""Two hours: an endpoint or a group of a thousand instances takes its time."""


class StackProtected(UsageError):
    """A stack that holds data is protected, and everything was to go."""

    id = "stack-protected"

    def __init__(self, *, stacks: list[str], others: list[str]) -> None:
        rest = f"destroy the others by name: `traceship destroy {' '.join(others)}`; or " if others else ""
        super().__init__(
            what=f"{', '.join(stacks)} is protected, so nothing was destroyed",
            why="project.retain_data keeps what it holds from being deleted by mistake",
            fix=f"{rest}set project.retain_data = false and deploy it, which takes the protection off",
        )


class StackInUse(UsageError):
    """The data of a stack was to go while another stack works with it."""

    id = "stack-in-use"

    def __init__(self, *, stack: str, users: list[str]) -> None:
        super().__init__(
            what=f"{stack} is in use by {', '.join(users)}, so nothing was destroyed",
            why="they run the releases that it holds",
            fix=f"destroy them first: `traceship destroy {' '.join(users)}`",
        )


class DestroyIncomplete(TraceshipError):
    """CloudFormation could not delete a stack."""

    id = "destroy-incomplete"

    def __init__(self, *, stack: str, why: str) -> None:
        super().__init__(
            what=f"{stack} could not be destroyed; what was deployed after it is gone",
            why=why,
            fix="take that cause away, then run the command again: it goes on with this stack",
        )


def existing(project: Project, asked: tuple[str, ...]) -> list[str]:
    """Names of the project's stacks that exist, last deployed first.

    Of a service that was named only its own: what it shares is another's, too, and goes when it is asked for.

    Raises:
        UnknownStack: ``asked`` names one that the settings do not describe.
    """
    known = stack_names(project.all_settings)
    prefix = project.shared.project.name
    own = [name for name in known if project.service is None or name not in _foundation(project)]
    wanted = [n if n in known else f"{prefix}-{n}" for n in asked] or own
    for name in wanted:
        if name not in known:
            raise UnknownStack(asked=name, known=known)
    there = _present(project)
    return [name for name in reversed(known) if name in wanted and name in there]


def _foundation(project: Project) -> tuple[str, ...]:
    return stack_names(project.all_settings, foundation=True)


def _present(project: Project) -> set[str]:
    """Names of all stacks of the account and region."""
    with translated("list the stacks"):
        pages = project.client("cloudformation").get_paginator("describe_stacks").paginate()
        return {stack["StackName"] for page in pages for stack in page["Stacks"]}


def destroy(project: Project, stacks: list[str]) -> list[str]:
    """Destroy ``stacks``, in their order, and return what their templates say is retained.

    Raises:
        StackOfAnother: one of them is; nothing was deleted.
        StackProtected, StackInUse: likewise.
        DestroyIncomplete: CloudFormation gave up on one; those before it are gone.
        AwsDenied, AwsUnreachable, AwsRefused: what AWS said.
    """
    cloudformation = project.client("cloudformation")
    with translated("look at the stacks"):
        found = {name: cloudformation.describe_stacks(StackName=name)["Stacks"][0] for name in stacks}
        for stack in found.values():
            check_owner(stack, project.shared)
        protected = [name for name in stacks if found[name].get("EnableTerminationProtection")]
        if protected:
            others = [name for name in stacks if name not in protected]
            raise StackProtected(stacks=protected, others=others)
        kept = [row for name in stacks for row in _retained(cloudformation, name)]
    data = stack_name(project.shared, ARTIFACTS)
    if data in stacks:
        _check_unused(project, data, leaving=stacks)
    for stack in stacks:
        with step(f"destroy {stack}"):
            if stack == data and not project.shared.project.retain_data:
                _delete_with_data(project, stack, str(found[stack]["StackId"]))
            else:
                _delete(cloudformation, stack, str(found[stack]["StackId"]))
    return kept


def _check_unused(project: Project, data: str, *, leaving: list[str]) -> None:
    """CloudFormation would refuse too, but only after the buckets were emptied."""
    everybody = stack_names(replace(project, service=None).all_settings)
    present = _present(project)
    users = [name for name in reversed(everybody) if name in present and name not in leaving]
    if users:
        raise StackInUse(stack=data, users=users)


def _delete_with_data(project: Project, stack: str, stack_id: str) -> None:
    """Empty the buckets, which the settings say need not be kept, and delete the stack at once.

    Access logs of what was just destroyed still come in for minutes, and a bucket with one is not deleted.
    """
    buckets = [
        bucket(project.shared.project.name, project.account, project.region)
        for bucket in (artifacts_bucket, logs_bucket)
    ]
    for left in reversed(range(EMPTYINGS)):
        for bucket in buckets:
            _empty(project.client("s3"), bucket, project.account, stack)
        try:
            _delete(project.client("cloudformation"), stack, stack_id)
            break
        except DestroyIncomplete:
            if not left:
                raise


def _delete(cloudformation: AwsClient, name: str, stack_id: str) -> None:
    """Delete a stack and wait; by its id, because one that is gone has no name any more."""
    from botocore.exceptions import WaiterError

    pause = LOCAL_LOOK_SECONDS if is_local() else LOOK_SECONDS
    with translated(f"destroy {name}"):
        cloudformation.delete_stack(StackName=stack_id)
        try:
            cloudformation.get_waiter("stack_delete_complete").wait(
                StackName=stack_id, WaiterConfig={"Delay": pause, "MaxAttempts": LOOKS}
            )
        except WaiterError as error:
            raise DestroyIncomplete(stack=name, why=_reason(cloudformation, stack_id) or str(error)) from None


def _reason(cloudformation: AwsClient, stack_id: str) -> str:
    """What the stack's latest failure says; empty where it has none."""
    events = cloudformation.describe_stack_events(StackName=stack_id)["StackEvents"]
    failed = (event for event in events if event["ResourceStatus"] == "DELETE_FAILED")
    return next((f"{e['LogicalResourceId']}: {e.get('ResourceStatusReason', '?')}" for e in failed), "")


def _empty(s3: AwsClient, bucket: str, owner: str, stack: str) -> None:
    """Delete every version of every object: CloudFormation deletes no bucket that holds one.

    One that is gone already was deleted by an attempt before this one.
    """
    with translated(f"empty the bucket {bucket}"), _gone_is_empty():
        pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket, ExpectedBucketOwner=owner)
        for page in pages:
            rows = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            objects = [{"Key": row["Key"], "VersionId": row["VersionId"]} for row in rows]
            if objects:
                answer = s3.delete_objects(
                    Bucket=bucket, Delete={"Objects": objects, "Quiet": True}, ExpectedBucketOwner=owner
                )
                for error in answer.get("Errors", ()):
                    raise DestroyIncomplete(stack=stack, why=f"{bucket}/{error['Key']}: {error['Message']}")


@contextmanager
def _gone_is_empty() -> Iterator[None]:
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") != "NoSuchBucket":
            raise


def _retained(cloudformation: AwsClient, stack: str) -> list[str]:
    """Stack, type and logical id of what outlives it, by the template that is deployed."""
    found: Any = cloudformation.get_template(StackName=stack)["TemplateBody"]
    template: dict[str, Any] = json.loads(found) if isinstance(found, str) else found
    return [
        f"{stack}: {body['Type']} {name}"
        for name, body in template["Resources"].items()
        if body.get("DeletionPolicy") in KEPT
    ]
