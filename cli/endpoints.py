"""What an update of the endpoint would meet, asked before it, and what came of it, asked after.

SageMaker refuses some updates only when CloudFormation is half through, accepts one that nobody
could call any more, and can go back to the old configuration without an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artifact.aws import translated
from artifact.errors import TraceshipError, UsageError
from cli.project import Project
from infra.names import ENDPOINT, STABLE_VARIANT, endpoint_name, stack_name

CONFIG = "AWS::SageMaker::EndpointConfig"


class DeployIncomplete(TraceshipError):
    """CloudFormation said yes, but something that was asked for is not there."""

    id = "deploy-incomplete"

    def __init__(self, *, what: str, why: str) -> None:
        super().__init__(
            what=what, why=why, fix="read the stack's events; deploy again once the cause is mended"
        )


class ScaledTypeChanges(UsageError):
    """SageMaker changes no instance type of what is registered for scaling."""

    id = "scaled-type-changes"

    def __init__(self, *, variant: str, before: str, after: str) -> None:
        super().__init__(
            what=f"the variant {variant} cannot go from {before} to {after} in one deploy",
            why="SageMaker changes no instance type of a variant that is registered for scaling, and "
            "CloudFormation would end the registration only afterwards",
            fix=f"keep {before} and deploy with enabled = false in [endpoint.scaling]; then set {after}, take"
            " that line out, and deploy again",
        )


class NoTrafficLeft(UsageError):
    """The update would keep weights with which no variant is reached."""

    id = "no-traffic-left"

    def __init__(self, *, variants: tuple[str, ...]) -> None:
        super().__init__(
            what="after this deploy no request would reach the endpoint",
            why=f"an update keeps the weights, and that of {', '.join(variants)} is 0; a canary with all the "
            "traffic is about to go",
            fix=f"deploy the canary's lock as {STABLE_VARIANT} with the canary still there, give "
            f"{STABLE_VARIANT} weight 1, then take the canary out (docs/endpoint.md)",
        )


@dataclass(frozen=True)
class Variant:
    """A production variant: as a template wants it, or as it is. ``weight``: its share of the traffic."""

    name: str
    instance_type: str
    weight: float


def wanted_variants(out: Path, stack: str) -> tuple[Variant, ...]:
    """The variants of the endpoint's configuration in the synthesised template of ``stack``."""
    template: dict[str, Any] = json.loads((out / f"{stack}.template.json").read_text(encoding="utf-8"))
    (config,) = (r["Properties"] for r in template["Resources"].values() if r["Type"] == CONFIG)
    return tuple(
        Variant(row["VariantName"], row["InstanceType"], row["InitialVariantWeight"])
        for row in config["ProductionVariants"]
    )


def check_update(project: Project, wanted: tuple[Variant, ...]) -> None:
    """See that SageMaker will take ``wanted`` in place of what runs; nothing to see where nothing runs.

    Raises:
        ScaledTypeChanges, NoTrafficLeft, AwsDenied, AwsUnreachable, AwsRefused.
    """
    running = {variant.name: variant for variant in _running(project)}
    if not running:
        return
    for variant in wanted:
        before = running.get(variant.name)
        if before is None or before.instance_type == variant.instance_type:
            continue
        if _is_scaled(project, variant.name):
            raise ScaledTypeChanges(
                variant=variant.name, before=before.instance_type, after=variant.instance_type
            )
    if not any(running.get(variant.name, variant).weight > 0 for variant in wanted):
        raise NoTrafficLeft(variants=tuple(variant.name for variant in wanted))


@dataclass(frozen=True)
class Deployed:
    """An endpoint after a deploy. ``instances``: those that run and those that should, by variant."""

    status: str
    config: str
    instances: Mapping[str, tuple[int, int]]


def check_endpoint(project: Project, wanted: tuple[Variant, ...]) -> None:
    """See that the endpoint runs the configuration and the variants that were deployed.

    Raises:
        DeployIncomplete, AwsDenied, AwsUnreachable, AwsRefused.
    """
    from sagemaker.core.resources import Endpoint

    stack = stack_name(project.settings, ENDPOINT)
    name = endpoint_name(project.settings)
    with translated("compare the endpoint with what was deployed"):
        resources = project.client("cloudformation").describe_stack_resources(StackName=stack)
        asked = next(
            row["PhysicalResourceId"] for row in resources["StackResources"] if row["ResourceType"] == CONFIG
        )
        found = Endpoint.get(endpoint_name=name, region=project.region)
    deployed = Deployed(
        status=found.endpoint_status,
        config=found.endpoint_config_name,
        instances={
            row.variant_name: (row.current_instance_count, row.desired_instance_count)
            for row in found.production_variants
        },
    )
    compare(name, deployed, asked=asked.rpartition("/")[2], wanted=wanted)


def compare(endpoint: str, found: Deployed, *, asked: str, wanted: tuple[Variant, ...]) -> None:
    """See that ``found`` is what was asked for: the configuration ``asked`` with the variants ``wanted``.

    Raises:
        DeployIncomplete: the first difference.
    """
    if found.status != "InService" or found.config != asked:
        raise DeployIncomplete(
            what=f"the endpoint {endpoint} does not run what was deployed",
            why=f"it is {found.status} with {found.config}, asked for was {asked}",
        )
    if set(found.instances) != {variant.name for variant in wanted}:
        raise DeployIncomplete(
            what=f"the endpoint {endpoint} does not have the variants that were deployed",
            why=f"it has {', '.join(sorted(found.instances))}, asked for was "
            f"{', '.join(variant.name for variant in wanted)}",
        )
    for name, (running, should) in found.instances.items():
        if running < should:
            raise DeployIncomplete(
                what=f"the endpoint {endpoint} is short of instances",
                why=f"{name} has {running} of {should}",
            )


def _running(project: Project) -> tuple[Variant, ...]:
    """The variants of the endpoint as it is; none where there is no endpoint."""
    from botocore.exceptions import ClientError

    sagemaker, name = project.client("sagemaker"), endpoint_name(project.settings)
    with translated(f"look at the endpoint {name}"):
        try:
            found = sagemaker.describe_endpoint(EndpointName=name)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") == "ValidationException":
                return ()
            raise
        config = sagemaker.describe_endpoint_config(EndpointConfigName=found["EndpointConfigName"])
    weights = {row["VariantName"]: row["CurrentWeight"] for row in found.get("ProductionVariants", ())}
    return tuple(
        Variant(row["VariantName"], row["InstanceType"], weights[row["VariantName"]])
        for row in config["ProductionVariants"]
        if row["VariantName"] in weights
    )


def _is_scaled(project: Project, variant: str) -> bool:
    resource = f"endpoint/{endpoint_name(project.settings)}/variant/{variant}"
    with translated(f"look how {resource} is scaled"):
        answer = project.client("application-autoscaling").describe_scalable_targets(
            ServiceNamespace="sagemaker", ResourceIds=[resource]
        )
    return bool(answer["ScalableTargets"])
