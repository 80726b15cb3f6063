"""Every policy finding that we accept, where, and why. Nothing is acknowledged anywhere else.

At most ten, and none that is not needed any more: policy.py refuses a synthesis with one that
accepts nothing, because it would hide the next finding.

Ids carry the pack's name in front: a bare id hides the finding and leaves no trace of it in the
validation report (cdk-nag 3.0.2 with aws-cdk-lib 2.275).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import aws_cdk as cdk
from constructs import IConstruct

from infra import names
from settings.model import Settings

SOLUTIONS = "AwsSolutions::AwsSolutions"
NIST = "NIST.800.53.R5::NIST.800.53.R5"
BUCKET = "arn:<AWS::Partition>:s3:::{project}-artifacts-<AWS::AccountId>-<AWS::Region>"

BELOW = {
    "JobRolePolicy/Resource": (f"{BUCKET}/models/", f"{BUCKET}/compiled/"),
    "IntakeRolePolicy/Resource": (
        f"{BUCKET}/requests/",
        f"{BUCKET}/models/",
        f"{BUCKET}/compiled/",
        "arn:<AWS::Partition>:states:<AWS::Region>:<AWS::AccountId>:execution:{project}-compile:",
    ),
    "ReverifyRolePolicy/Resource": (f"{BUCKET}/releases/", f"{BUCKET}/blobs/"),
}
"""What the jobs of the compile stack reach, by the policy of each."""


def _always(settings: Settings) -> bool:  # noqa: ARG001 - the shape of a condition
    return True


def _no_certificate(settings: Settings) -> bool:
    return settings.fleet is not None and settings.fleet.certificate_arn is None


def _vpc_is_ours(settings: Settings) -> bool:
    return settings.network.vpc_id is None


def _data_may_go(settings: Settings) -> bool:
    return not settings.project.retain_data


def _captures(settings: Settings) -> bool:
    return settings.endpoint is not None and settings.endpoint.capture is not None


def _answers_later(settings: Settings) -> bool:
    return settings.endpoint is not None and settings.endpoint.async_ is not None


@dataclass(frozen=True)
class Acknowledgement:
    """A finding accepted on the constructs at ``places`` (stack role, path) while ``when`` holds.

    ``rule`` may name ``{project}``, ``{endpoint}`` and, as ``{below}``, what ``below`` lists for each path:
    the beginnings of names that it is found with there. ``also``: further rules that find the same thing
    in other words, each with its own condition. A construct that these settings do not make is passed over.
    """

    rule: str
    places: tuple[tuple[str, str], ...]
    reason: str
    when: Callable[[Settings], bool] = _always
    also: tuple[tuple[str, Callable[[Settings], bool]], ...] = ()
    below: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def findings(self, settings: Settings, *, whenever: bool = False) -> Iterator[tuple[str, str, str]]:
        """Id, stack role and path of each finding; ``whenever``: whether its condition holds or not."""
        project, endpoint = settings.project.name, names.endpoint_name(settings)
        rules = [rule for rule, when in ((self.rule, self.when), *self.also) if whenever or when(settings)]
        for rule, (role, path) in itertools.product(rules, self.places):
            for beginning in self.below.get(path, ("",)):
                named = rule.replace("{below}", beginning)
                yield named.replace("{project}", project).replace("{endpoint}", endpoint), role, path


ACKNOWLEDGEMENTS = (
    Acknowledgement(
        rule=f"{SOLUTIONS}-IAM5[Resource::*]",
        places=(
            (names.COMPILE, "ExecutionRolePolicy/Resource"),
            (names.COMPILE, "InstanceRolePolicy/Resource"),
            (names.COMPILE, "MachineRolePolicy/Resource"),
            (names.COMPILE, "RequestsMachineRolePolicy/Resource"),
            (names.COMPILE, "ReverifyMachineRolePolicy/Resource"),
            (names.FLEET, "RolePolicy/Resource"),
            (names.ENDPOINT, "RolePolicy/Resource"),
            (names.IMAGE, "RolePolicy/Resource"),
            (names.ENDPOINT, "Canary/RolePolicy/Resource"),
        ),
        reason="Only actions that know no resources: registry login, session channels, network interfaces "
        "of SageMaker, log delivery, traces, describing and ending batch jobs, the ECS agent, commands of "
        "Image Builder; and what instances do to their own Auto Scaling group, which its tag names.",
    ),
    Acknowledgement(
        rule=f"{SOLUTIONS}-IAM5[Resource::{{below}}*]",
        places=tuple((names.COMPILE, path) for path in BELOW),
        reason="Names that nobody knows before: objects below one prefix of the project's own bucket, and "
        "executions of one state machine. Releases are read by the job that compares them; none writes them.",
        below=BELOW,
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
        when=_vpc_is_ours,
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
        also=((f"{NIST}-ELBv2ACMCertificateRequired", _no_certificate),),
    ),
    Acknowledgement(
        rule=f"{SOLUTIONS}-IAM5[Resource::{BUCKET}/{names.CAPTURED}/{{endpoint}}/*]",
        places=((names.ENDPOINT, "RolePolicy/Resource"), (names.ENDPOINT, "Canary/RolePolicy/Resource")),
        reason="SageMaker chooses the keys of what it captures and answers; below prefixes of this endpoint "
        "only, which empty themselves, and never a release.",
        when=_captures,
        also=tuple(
            (
                f"{SOLUTIONS}-IAM5[Resource::{BUCKET}/{names.async_prefix('{endpoint}', part)}/*]",
                _answers_later,
            )
            for part in ("input", "output", "failed")
        ),
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
        for rule, role, path in entry.findings(settings):
            construct = _find(app, names.stack_name(settings, role), path)
            if construct is not None and (rule, construct.node.path) not in told:
                told.add((rule, construct.node.path))
                yield rule, construct, entry.reason


def _find(app: cdk.App, stack: str, path: str) -> IConstruct | None:
    """The construct at ``path``; None if these settings make none there."""
    found: IConstruct | None = app
    for part in (stack, *path.split("/")):
        found = None if found is None else found.node.try_find_child(part)
    return found
