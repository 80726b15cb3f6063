"""Every policy finding that we accept, where, and why. Nothing is acknowledged anywhere else.

At most ten, and none that is not needed any more: policy.py refuses a synthesis with one that
accepts nothing, because it would hide the next finding.

Ids carry the pack's name in front: a bare id hides the finding and leaves no trace of it in the
validation report (cdk-nag 3.0.2 with aws-cdk-lib 2.275).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import aws_cdk as cdk
from constructs import IConstruct

from infra import names
from settings.model import Settings

SOLUTIONS = "AwsSolutions::AwsSolutions"
NIST = "NIST.800.53.R5::NIST.800.53.R5"
BUCKET = "arn:<AWS::Partition>:s3:::{project}-artifacts-<AWS::AccountId>-<AWS::Region>"


def _always(settings: Settings) -> bool:  # noqa: ARG001 - the shape of a condition
    return True


def _no_certificate(settings: Settings) -> bool:
    return settings.fleet is not None and settings.fleet.certificate_arn is None


def _data_may_go(settings: Settings) -> bool:
    return not settings.project.retain_data


@dataclass(frozen=True)
class Acknowledgement:
    """A finding accepted on the constructs at ``places`` (stack role, path) while ``when`` holds.

    ``rule`` may name the project as ``{project}``.
    """

    rule: str
    places: tuple[tuple[str, str], ...]
    reason: str
    when: Callable[[Settings], bool] = _always


ACKNOWLEDGEMENTS = (
    Acknowledgement(
        rule=f"{SOLUTIONS}-IAM5[Resource::*]",
        places=(
            (names.COMPILE, "ExecutionRolePolicy/Resource"),
            (names.COMPILE, "MachineRolePolicy/Resource"),
            (names.FLEET, "RolePolicy/Resource"),
            (names.ENDPOINT, "RolePolicy/Resource"),
            (names.IMAGE, "RolePolicy/Resource"),
        ),
        reason="Only actions that know no resources: registry login, session channels, network interfaces "
        "of SageMaker, log delivery, traces, describing and ending batch jobs, commands of Image Builder; "
        "and what instances do to their own Auto Scaling group, which its tag names.",
    ),
    Acknowledgement(
        rule=f"{SOLUTIONS}-IAM5[Resource::{BUCKET}/models/*]",
        places=((names.COMPILE, "JobRolePolicy/Resource"),),
        reason="Compile jobs read whichever model they are handed; releases lie under other prefixes.",
    ),
    Acknowledgement(
        rule=f"{SOLUTIONS}-IAM5[Resource::{BUCKET}/compiled/*]",
        places=((names.COMPILE, "JobRolePolicy/Resource"),),
        reason="Compile jobs leave results here for the publisher; they cannot write a release.",
    ),
    Acknowledgement(
        rule=f"{NIST}-S3BucketReplicationEnabled",
        places=((names.ARTIFACTS, "AccessLogs/Resource"), (names.ARTIFACTS, "Artifacts/Resource")),
        reason="A release can be compiled again to the same digest; copies in other regions are made by "
        "shipping the release there.",
    ),
    Acknowledgement(
        rule=f"{NIST}-S3DefaultEncryptionKMS",
        places=((names.ARTIFACTS, "AccessLogs/Resource"),),
        reason="S3 and load balancers deliver access logs only to buckets encrypted with S3's own key.",
    ),
    Acknowledgement(
        rule=f"{NIST}-VPCDefaultSecurityGroupClosed",
        places=((names.NETWORK, "Vpc/Resource"),),
        reason="CloudFormation cannot close the default group without a custom resource; nothing is in it.",
    ),
    Acknowledgement(
        rule=f"{NIST}-ALBWAFEnabled",
        places=((names.FLEET, "LoadBalancer/Resource"),),
        reason="The load balancer is internal and admits named address ranges; requests are bounded JSON.",
    ),
    Acknowledgement(
        rule=f"{NIST}-ALBHttpToHttpsRedirection",
        places=((names.FLEET, "LoadBalancer/Listener/Resource"),),
        reason="The settings give no certificate, so callers inside the VPC use HTTP.",
        when=_no_certificate,
    ),
    Acknowledgement(
        rule=f"{NIST}-ELBv2ACMCertificateRequired",
        places=((names.FLEET, "LoadBalancer/Listener/Resource"),),
        reason="The settings give no certificate, so callers inside the VPC use HTTP.",
        when=_no_certificate,
    ),
    Acknowledgement(
        rule=f"{NIST}-ELBDeletionProtectionEnabled",
        places=((names.FLEET, "LoadBalancer/Resource"),),
        reason="The settings say retain_data = false: a demonstration that must be possible to destroy.",
        when=_data_may_go,
    ),
)


def acknowledge(app: cdk.App, services: Sequence[Settings]) -> None:
    """Tell the CDK which findings are accepted, on exactly the constructs that are named."""
    for rule, construct, reason in _in_force(app, services):
        cdk.Validations.of(construct).acknowledge(cdk.Acknowledgment(id=rule, reason=reason))


def accepted(app: cdk.App, services: Sequence[Settings]) -> set[tuple[str, str]]:
    """Id and construct path of every finding that ``acknowledge`` accepts in ``app``."""
    return {(rule, construct.node.path) for rule, construct, _ in _in_force(app, services)}


def _in_force(app: cdk.App, services: Sequence[Settings]) -> Iterator[tuple[str, IConstruct, str]]:
    told = set()
    for settings, entry in itertools.product(services, ACKNOWLEDGEMENTS):
        if not entry.when(settings):
            continue
        rule = entry.rule.replace("{project}", settings.project.name)
        for role, path in entry.places:
            construct = _find(app, names.stack_name(settings, role), path)
            if construct is not None and (rule, construct.node.path) not in told:
                told.add((rule, construct.node.path))
                yield rule, construct, entry.reason


def _find(app: cdk.App, stack: str, path: str) -> IConstruct | None:
    """The construct at ``path``; None only if its whole stack is not part of the app."""
    found = app.node.try_find_child(stack)
    if found is None:
        return None
    for part in path.split("/"):
        found = found.node.find_child(part)
    return found
