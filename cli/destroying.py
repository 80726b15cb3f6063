"""``cdk destroy`` for the stacks that exist, and the list of what CloudFormation kept."""

from __future__ import annotations

import json
from pathlib import Path

from artifact.aws import AwsClient, translated
from cli.cdk import Cdk
from cli.console import step
from cli.deploying import UnknownStack
from cli.project import Project
from infra.names import ARTIFACTS, artifacts_bucket, logs_bucket, stack_name, stack_names

KEPT = ("Retain", "RetainExceptOnCreate")
"""Deletion policies with which a resource outlives its stack; ours is the second."""


def existing(project: Project, asked: tuple[str, ...]) -> list[str]:
    """Names of the project's stacks that exist, last deployed first.

    Raises:
        UnknownStack: ``asked`` names one that the settings do not describe.
    """
    known = stack_names(project.all_settings)
    prefix = project.shared.project.name
    wanted = [n if n in known else f"{prefix}-{n}" for n in asked] or list(known)
    for name in wanted:
        if name not in known:
            raise UnknownStack(asked=name, known=known)
    with translated("list the stacks"):
        pages = project.client("cloudformation").get_paginator("describe_stacks").paginate()
        there = {stack["StackName"] for page in pages for stack in page["Stacks"]}
    return [name for name in reversed(known) if name in wanted and name in there]


def destroy(project: Project, stacks: list[str]) -> list[str]:
    """Destroy ``stacks`` and return what their templates say is retained.

    Everything needed is in the assembly of the last deploy; where that is gone it is
    synthesised again, without the service stacks if there is no lock any more.
    """
    cdk = Cdk.of(project)
    if not all((cdk.out / f"{stack}.template.json").exists() for stack in stacks):
        with step("synthesise the stacks"):
            cdk.synth(foundation=not all(each.lock_path.exists() for each in project.services))
    kept = [row for stack in stacks for row in _retained(cdk.out / f"{stack}.template.json")]
    name, retain_data = project.shared.project.name, project.shared.project.retain_data
    if stack_name(project.shared, ARTIFACTS) in stacks and not retain_data:
        with step("empty the buckets, which the settings say need not be kept"):
            for bucket in (artifacts_bucket, logs_bucket):
                _empty(project.client("s3"), bucket(name, project.account, project.region), project.account)
    with step(f"destroy {', '.join(stacks)}"):
        cdk.destroy(stacks)
    return kept


def _empty(s3: AwsClient, bucket: str, owner: str) -> None:
    """Delete every version of every object: CloudFormation deletes no bucket that holds one."""
    with translated(f"empty the bucket {bucket}"):
        pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket, ExpectedBucketOwner=owner)
        for page in pages:
            rows = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            objects = [{"Key": row["Key"], "VersionId": row["VersionId"]} for row in rows]
            if objects:
                s3.delete_objects(
                    Bucket=bucket, Delete={"Objects": objects, "Quiet": True}, ExpectedBucketOwner=owner
                )


def _retained(template: Path) -> list[str]:
    resources = json.loads(template.read_text())["Resources"]
    return [
        f"{template.name.split('.')[0]}: {body['Type']} {name}"
        for name, body in resources.items()
        if body.get("DeletionPolicy") in KEPT
    ]
