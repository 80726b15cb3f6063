"""What every stack of ours has in common: its name, its tags, and no look-ups at synth."""

from __future__ import annotations

import re

import aws_cdk as cdk
import jsii
from aws_cdk import aws_iam as iam
from constructs import Construct, IConstruct

from infra import names
from settings.model import Settings

ZONES = 2
DIGITS = 12
"""Of a release's digest, in the names of what belongs to one release."""


class ProjectStack(cdk.Stack):
    """A stack named as names.py says, bound to an account and region only if the settings are."""

    def __init__(self, scope: Construct, role: str, *, settings: Settings, description: str) -> None:
        project = settings.project
        self.project = project.name
        self.prefix = names.prefix(settings) if role in names.SERVICES else project.name
        """What the names of this stack's resources begin with."""
        keep, drop = cdk.RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE, cdk.RemovalPolicy.DESTROY
        self.removal_policy = keep if project.retain_data else drop
        """What happens to data when the stack goes; a stack that could not be made leaves nothing."""
        self._zones = project.zones
        super().__init__(
            scope,
            names.stack_name(settings, role),
            env=cdk.Environment(account=project.account, region=project.region),
            description=description,
            tags={
                names.PROJECT_TAG: project.name,
                "traceship:stack": names.role_name(settings, role),
                **({} if settings.stage is None else {names.STAGE_TAG: settings.stage}),
                **self._service_tag(settings, role),
                **settings.tags,
            },
            termination_protection=project.retain_data and role == "artifacts",
        )

    @staticmethod
    def _service_tag(settings: Settings, role: str) -> dict[str, str]:
        named = settings.service is not None and role in names.SERVICES
        return {"traceship:service": str(settings.service)} if named else {}

    @property
    @jsii.member(jsii_name="availabilityZones")
    def availability_zones(self) -> list[str]:
        """Zones from the settings, else the region's first two; both are chosen at deploy time.

        The CDK would look the zones up as soon as the account is known and write what it found
        to cdk.context.json; a template must depend on the settings and the lock alone.
        """
        if self._zones:
            return self._named_zones()
        return [cdk.Fn.select(index, cdk.Fn.get_azs()) for index in range(ZONES)]

    def _named_zones(self) -> list[str]:
        """The settings' zones by way of their region: CloudFormation refuses any other one at once."""
        found = self.node.try_find_child("Zones")
        keys = [f"Zone{index}" for index in range(len(self._zones))]
        mapping = (
            found
            if isinstance(found, cdk.CfnMapping)
            else cdk.CfnMapping(
                self, "Zones", mapping={_region_of(self._zones[0]): dict(zip(keys, self._zones))}
            )
        )
        return [mapping.find_in_map(cdk.Aws.REGION, key) for key in keys]

    def name_identities_by(self, digest: str, *, within: IConstruct | None = None) -> None:
        """Make another release bring roles, profiles and policies of its own. Call it when all are made.

        ``within``: only what lies below it; where a stack runs two releases.

        CloudFormation deletes the old ones after everything else is done: until then an instance of
        the old release, started during a rollout or by its rollback, may still fetch its files.
        """
        for construct in (within or self).node.find_all():
            if isinstance(construct, iam.CfnRole | iam.CfnManagedPolicy | iam.CfnInstanceProfile):
                construct.override_logical_id(f"{self.get_logical_id(construct)}{digest[:DIGITS]}")

    def promise(self, *values: str) -> None:
        """Export what other stacks may refer to, whether one does today or not.

        Otherwise the foundation would lose exports when it is deployed alone, and CloudFormation
        refuses to delete an export that is in use.
        """
        for value in values:
            self.export_value(value)


def _region_of(zone: str) -> str:
    """``eu-west-1`` of ``eu-west-1a``, and of a local zone's longer name."""
    match = re.match(r"[a-z]+(-[a-z]+)+-[0-9]+", zone)
    return zone if match is None else match[0]


def without_said_dependency(construct: IConstruct) -> None:
    """Take away the dependencies that the CDK adds to a resource and that its references imply already.

    cfn-lint reports them (W3005). Only for a resource whose references were looked at.
    """
    resource = construct.node.default_child
    if not isinstance(resource, cdk.CfnResource):
        resource = next(child for child in construct.node.children if isinstance(child, cdk.CfnResource))
    resource.add_deletion_override("DependsOn")
