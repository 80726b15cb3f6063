"""Settings and locks in, stacks out. A stack exists if and only if its section of the settings does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2

from artifact.release import Image, ReleaseLock
from infra import names
from infra.artifacts_stack import ArtifactsStack
from infra.canary import wanted_canary
from infra.compatibility import check, check_canary
from infra.compile_stack import CompileStack
from infra.endpoint_stack import EndpointStack
from infra.fleet_stack import FleetStack
from infra.image_stack import ImageStack
from infra.images import unknown
from infra.lock import CompileImagesDiffer, LockMissing
from infra.network_stack import NetworkStack
from infra.policy import enforce_policies
from settings.model import Settings


@dataclass(frozen=True)
class Service:
    """One service of the settings, and the release that it runs; None before there is one.

    ``canary``: the release beside it, for ``[endpoint.canary]``.
    """

    settings: Settings
    lock: ReleaseLock | None
    canary: ReleaseLock | None = None


def build(
    app: cdk.App, services: Sequence[Service], *, foundation: bool = False, only: str | None = None
) -> None:
    """Add the stacks of ``services`` to ``app``, with the policies that fail its synthesis.

    Raises what ``add_stacks`` does.
    """
    add_stacks(app, services, foundation=foundation, only=only)
    enforce_policies(app, [service.settings for service in services])


def add_stacks(
    app: cdk.App, services: Sequence[Service], *, foundation: bool = False, only: str | None = None
) -> None:
    """The stacks alone.

    Args:
        services: of one project, so that what they share is the same in all; at least one. A fleet or an
            endpoint needs a lock.
        foundation: only what a first release is published into; no lock is needed.
        only: the service whose stacks are added; what all share is the same with it as with all of them.

    Raises:
        LockMissing: there is a fleet or an endpoint, and no lock.
        CanaryLockMissing: there is a canary, and no lock of its own.
        Incompatible: see compatibility.py; nothing was added then.
        CompileImagesDiffer: the locks name several images for the compile stage that they share.
    """
    chosen = [service for service in services if only is None or service.settings.service == only]
    for service in chosen:
        _check(service, foundation=foundation)
    shared = services[0].settings.shared
    image = _compile_image(services)
    artifacts = ArtifactsStack(app, settings=shared)
    vpc = NetworkStack(
        app,
        settings=shared,
        key=artifacts.key,
        bakes=any(service.settings.image is not None for service in services),
    ).vpc
    CompileStack(app, settings=shared, image=image, artifacts=artifacts, vpc=vpc)
    for service in chosen:
        if not foundation and service.lock is not None:
            _add_service(app, service, service.lock, artifacts, vpc)


def _check(service: Service, *, foundation: bool) -> None:
    settings, lock = service.settings, service.lock
    sections = () if foundation else names.service_roles(settings)
    if sections and lock is None:
        tables = " and ".join(f"[{section}]" for section in sections)
        raise LockMissing(path=Path(names.lock_file(settings)), who=f"{tables} of the settings")
    canary = wanted_canary(settings, service.canary) if sections else None
    if canary is not None and lock is not None:
        check_canary(settings, lock, canary)
    else:
        check(settings, lock if sections else None)


def _compile_image(services: Sequence[Service]) -> Image:
    """What compile jobs run in, which all services share."""
    found = {service.lock.compile_image for service in services if service.lock is not None}
    if len(found) > 1:
        raise CompileImagesDiffer(images=sorted(f"{image.repository}@{image.digest[:12]}" for image in found))
    return found.pop() if found else unknown(services[0].settings.project.name, names.COMPILE)


def _add_service(
    app: cdk.App, service: Service, lock: ReleaseLock, artifacts: ArtifactsStack, vpc: ec2.IVpc
) -> None:
    settings = service.settings
    if settings.image is not None:
        ImageStack(app, settings=settings, image=settings.image, lock=lock, artifacts=artifacts, vpc=vpc)
    if settings.fleet is not None:
        FleetStack(app, settings=settings, fleet=settings.fleet, lock=lock, artifacts=artifacts, vpc=vpc)
    if settings.endpoint is not None:
        EndpointStack(
            app,
            settings=settings,
            endpoint=settings.endpoint,
            lock=lock,
            canary=wanted_canary(settings, service.canary),
            artifacts=artifacts,
            vpc=vpc,
        )
