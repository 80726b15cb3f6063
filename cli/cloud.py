"""The compile stack of a project in its account, for the batch runner."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from artifact.aws import is_local, translated
from artifact.errors import UsageError
from artifact.release import PLACEHOLDER_DIGEST
from cli.project import Project
from infra import names

if TYPE_CHECKING:
    from compile.batch.deployment import Deployment

LOOK_SECONDS = 5.0
LOCAL_LOOK_SECONDS = 0.5
"""Between two looks at a running execution: jobs take minutes, and Batch bounds how often one may ask."""
_OUTPUTS = (
    names.STATE_MACHINE_OUTPUT,
    names.QUEUES_OUTPUT,
    names.JOB_LOGS_OUTPUT,
    names.COMPILE_IMAGE_OUTPUT,
)


class CompileStackAbsent(UsageError):
    """There is no compile stack that the batch runner could use."""

    id = "compile-stack-absent"

    def __init__(self, *, stack: str, why: str) -> None:
        super().__init__(
            what=f"the batch runner needs the stack {stack}",
            why=why,
            fix="deploy it with `traceship deploy --foundation`, or use `--runner local`",
        )


class CompileImageUnknown(UsageError):
    """The deployed job definition names an image that nobody pushed."""

    id = "compile-image-unknown"

    def __init__(self, *, image: str) -> None:
        super().__init__(
            what="the deployed compile jobs have no image to run",
            why=f"{image} is a placeholder",
            fix="push the image and set compile.image (docs/first-deploy.md), then `traceship deploy`",
        )


def find_deployment(project: Project) -> Deployment:
    """The project's compile stack, by its outputs, with clients for it.

    Raises:
        CompileStackAbsent: there is none, or it is one of an older version.
        CompileImageUnknown: it runs a placeholder, outside the local AWS.
        AwsDenied, AwsUnreachable, AwsRefused: what AWS said.
    """
    from compile.batch.deployment import Clients, Deployment
    from compile.cache.local import LocalCache, default_folder

    outputs = _outputs(project)
    image = outputs[names.COMPILE_IMAGE_OUTPUT]
    if image.endswith(PLACEHOLDER_DIGEST) and not is_local():
        raise CompileImageUnknown(image=image)
    seconds = LOCAL_LOOK_SECONDS if is_local() else LOOK_SECONDS
    return Deployment(
        account=project.account,
        bucket=names.artifacts_bucket(project.shared.project.name, project.account, project.region),
        machine=outputs[names.STATE_MACHINE_OUTPUT],
        queues=tuple(outputs[names.QUEUES_OUTPUT].split(",")),
        log_group=outputs[names.JOB_LOGS_OUTPUT],
        image=image,
        clients=Clients(
            s3=project.client("s3"),
            states=project.client("stepfunctions"),
            batch=project.client("batch"),
            logs=project.client("logs"),
        ),
        remembered=LocalCache(default_folder()).remembered,
        pause=lambda: time.sleep(seconds),
        give_up_after=project.settings.compile.aws.give_up_after,
    )


def afresh() -> str:
    """A word that no earlier compile used."""
    return secrets.token_hex(4)


def _outputs(project: Project) -> dict[str, str]:
    from botocore.exceptions import ClientError

    stack = names.stack_name(project.shared, names.COMPILE)
    with translated(f"look for the stack {stack}"):
        try:
            described = project.client("cloudformation").describe_stacks(StackName=stack)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "ValidationError":
                raise
            raise CompileStackAbsent(
                stack=stack, why=f"there is none in {project.account}, {project.region}"
            ) from None
    found = {o["OutputKey"]: o["OutputValue"] for o in described["Stacks"][0].get("Outputs", ())}
    missing = [name for name in _OUTPUTS if name not in found]
    if missing:
        raise CompileStackAbsent(stack=stack, why=f"the deployed one has no output {missing[0]}")
    return found
