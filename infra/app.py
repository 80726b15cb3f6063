"""Settings and lock in, stacks out. A stack exists if and only if its section of the settings does."""

from __future__ import annotations

from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2

from artifact.release import LOCK_FILE, ReleaseLock
from infra import names
from infra.artifacts_stack import ArtifactsStack
from infra.compatibility import check
from infra.compile_stack import CompileStack
from infra.endpoint_stack import EndpointStack
from infra.fleet_stack import FleetStack
from infra.images import unknown
from infra.lock import LockMissing
from infra.network_stack import NetworkStack
from infra.policy import enforce_policies
from settings.model import Settings


def build(app: cdk.App, settings: Settings, lock: ReleaseLock | None, *, foundation: bool = False) -> None:
    """Add the stacks of ``settings`` to ``app``, with the policies that fail its synthesis.

    Raises what ``add_stacks`` does.
    """
    add_stacks(app, settings, lock, foundation=foundation)
    enforce_policies(app, settings)


def add_stacks(
    app: cdk.App, settings: Settings, lock: ReleaseLock | None, *, foundation: bool = False
) -> None:
    """The stacks alone.

    Args:
        lock: the release to serve; needed for a fleet or an endpoint.
        foundation: only what a first release is published into; ``lock`` may be None.

    Raises:
        LockMissing: there is a fleet or an endpoint, and no lock.
        Incompatible: see compatibility.py; nothing was added then.
    """
    wants_release = not foundation and (settings.fleet is not None or settings.endpoint is not None)
    if wants_release and lock is None:
        raise LockMissing(path=Path(LOCK_FILE), sections=_service_sections(settings))
    check(settings, lock if wants_release else None)
    artifacts = ArtifactsStack(app, settings=settings)
    vpc = NetworkStack(app, settings=settings, key=artifacts.key).vpc
    image = unknown(settings.project.name, names.COMPILE) if lock is None else lock.compile_image
    CompileStack(app, settings=settings, image=image, artifacts=artifacts, vpc=vpc)
    if wants_release and lock is not None:
        _add_services(app, settings, lock, artifacts, vpc)


def _add_services(
    app: cdk.App, settings: Settings, lock: ReleaseLock, artifacts: ArtifactsStack, vpc: ec2.IVpc
) -> None:
    if settings.fleet is not None:
        FleetStack(app, settings=settings, fleet=settings.fleet, lock=lock, artifacts=artifacts, vpc=vpc)
    if settings.endpoint is not None:
        EndpointStack(
            app, settings=settings, endpoint=settings.endpoint, lock=lock, artifacts=artifacts, vpc=vpc
        )


def _service_sections(settings: Settings) -> str:
    wanted = {"[fleet]": settings.fleet, "[endpoint]": settings.endpoint}
    return " and ".join(name for name, section in wanted.items() if section is not None)
