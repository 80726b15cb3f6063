"""Gathers ``traceship status`` from the project's settings, lock and account."""

from __future__ import annotations

from artifact.aws import translated
from cli.project import Project
from fleet import status
from infra.canary import read_canary
from infra.lock import read_lock
from infra.names import ENDPOINT, FLEET, canary_variant, endpoint_name, stack_name, stack_names


def look(project: Project) -> status.Status:
    """Ask AWS for everything that the settings describe; what is absent is shown as absent."""
    settings = project.settings
    lock, canary = read_lock(project.lock_path), read_canary(settings, project.root)
    found = status.stacks(project.client("cloudformation"), stack_names([settings]))
    present = {stack.name for stack in found if stack.status != "ABSENT"}
    endpoint = fleet = None
    if stack_name(settings, ENDPOINT) in present:
        endpoint = status.endpoint(project.client("sagemaker"), endpoint_name(settings))
    if stack_name(settings, FLEET) in present:
        fleet = status.fleet(project.client, group_name(project))
    return status.assemble(
        release=lock.digest if lock else None,
        waivers=tuple(f"{w.gate}: {w.reason}" for w in lock.artifact.waivers) if lock else (),
        stacks=found,
        endpoint=endpoint,
        fleet=fleet,
        canary=(canary_variant(canary.digest), canary.digest) if canary is not None else None,
    )


def group_name(project: Project) -> str:
    """The fleet's Auto Scaling group, as its stack put it out."""
    stack = stack_name(project.settings, FLEET)
    with translated(f"read the outputs of {stack}"):
        answer = project.client("cloudformation").describe_stacks(StackName=stack)
        outputs = {o["OutputKey"]: o["OutputValue"] for o in answer["Stacks"][0].get("Outputs", [])}
    return str(outputs["AutoScalingGroupName"])
