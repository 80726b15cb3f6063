"""The pipeline that bakes the fleet's machine image each week and tries it on an Inf1 instance.

It gives an AMI whose id a person puts into ``fleet.ami``: nothing follows the newest image by itself
(docs/machine-image.md). The machines that build and test have no way out: the system's packages are in S3,
and so are the driver's, by digest, in the artifacts bucket.

Image Builder's resources cannot be changed, so everything that has content is named by a digest of it.
"""

from __future__ import annotations

import hashlib
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_imagebuilder as imagebuilder
from constructs import Construct

from artifact import serving
from artifact.canonical import encode
from artifact.release import ReleaseLock, manifest_key
from infra import names
from infra.artifacts_stack import ArtifactsStack
from infra.boot import Boot
from infra.exact_keys import listed_blobs
from infra.images import uri
from infra.instances import instances
from infra.logs import make_log_group
from infra.machine.components import BUILD, TEST, document
from infra.roles import (
    EC2,
    be_built_by_image_builder,
    be_reached_by_session_manager,
    pull_image,
    read_blobs,
    read_objects,
    service_role,
    write_log,
)
from infra.stack import ProjectStack
from infra.units import MODEL_DIR, SERVE_USER_ID, USER_ID
from settings.model import MachineImage, Settings

VERSION = "1.0.0"
"""Of every component and recipe; the content is in the name."""
ROOT_DEVICE = "/dev/xvda"
HTTPS = 443
TEST_MINUTES = 90
GOLDEN_ATTEMPTS = 300
"""Two seconds and more each: ten minutes for loading the model and replaying the golden set."""
OLDEST_CLI = "2.22.0"
"""Of the aws command that knows ``s3api put-object --if-match``, which infra/data/traceship-host.sh needs.
Source: AWS CLI v2 change log, 2.22."""


class ImageStack(ProjectStack):
    """Components, recipe, infrastructure, distribution and pipeline of one machine image."""

    def __init__(
        self,
        scope: Construct,
        *,
        settings: Settings,
        image: MachineImage,
        lock: ReleaseLock,
        artifacts: ArtifactsStack,
        vpc: ec2.IVpc,
    ) -> None:
        super().__init__(scope, names.IMAGE, settings=settings, description="traceship: machine image")
        self._settings, self._image, self._lock = settings, image, lock
        self._artifacts, self._vpc = artifacts, vpc
        self._components = [
            self._component("Build", BUILD, self._build_constants()),
            self._component("Test", TEST, self._test_constants()),
        ]
        recipe = self._recipe()
        self._logs = make_log_group(
            self, "image", key=artifacts.key, name=names.image_builder_log_group(str(recipe.name))
        )
        pipeline = self._pipeline(recipe)
        cdk.CfnOutput(self, names.IMAGE_PIPELINE_OUTPUT, value=pipeline.attr_arn)

    def _build_constants(self) -> dict[str, str]:
        wanted = self._image
        return {
            "KERNEL_PACKAGE": wanted.kernel_package,
            "KERNEL": wanted.kernel,
            "DRIVER_VERSION": wanted.driver_version,
            "DRIVER_SHA256": wanted.driver_sha256,
            "TOOLS_VERSION": wanted.tools_version,
            "TOOLS_SHA256": wanted.tools_sha256,
            "OLDEST_CLI": OLDEST_CLI,
            "BUCKET": self._artifacts.bucket.bucket_name,
            "ACCOUNT": cdk.Aws.ACCOUNT_ID,
            "REGION": cdk.Aws.REGION,
            "IMAGE": uri(self._lock.serving_image),
        }

    def _test_constants(self) -> dict[str, str]:
        chips = instances()[self._image.instance_type].chips
        boot = Boot(
            lock=self._lock,
            serve=self._settings.serve,
            signing=self._settings.signing,
            host=self._settings.host,
            bucket=self._artifacts.bucket.bucket_name,
            log_group="",
            chips=chips,
            service=self.stack_name,
            min_size=0,
        )
        return {
            "CHIPS": str(chips),
            "DRIVER_VERSION": self._image.driver_version,
            "IMAGE": uri(self._lock.serving_image),
            "MODEL_DIR": MODEL_DIR,
            "USER_ID": str(USER_ID),
            "SERVE_USER_ID": str(SERVE_USER_ID),
            "PORT": str(serving.PORT),
            "ATTEMPTS": str(GOLDEN_ATTEMPTS),
            "SERVE_ENV": boot.serve_env(),
        }

    def _component(self, role: str, phases: Any, constants: dict[str, str]) -> imagebuilder.CfnComponent:
        data = document(f"traceship-{role.lower()}", phases, constants)
        properties: dict[str, Any] = {"platform": "Linux", "version": VERSION, "data": data}
        return imagebuilder.CfnComponent(
            self, role, name=self._name_of(role.lower(), properties), **properties
        )

    def _recipe(self) -> imagebuilder.CfnImageRecipe:
        recipe = imagebuilder.CfnImageRecipe
        properties: dict[str, Any] = {
            "version": VERSION,
            "parent_image": self._image.parent_ami,
            "components": [
                recipe.ComponentConfigurationProperty(component_arn=component.attr_arn)
                for component in self._components
            ],
            "block_device_mappings": [
                recipe.InstanceBlockDeviceMappingProperty(
                    device_name=ROOT_DEVICE,
                    ebs=recipe.EbsInstanceBlockDeviceSpecificationProperty(
                        encrypted=True,
                        delete_on_termination=True,
                        volume_size=self._image.disk_gib,
                        volume_type="gp3",
                    ),
                )
            ],
            "additional_instance_configuration": recipe.AdditionalInstanceConfigurationProperty(
                systems_manager_agent=recipe.SystemsManagerAgentProperty(uninstall_after_build=False)
            ),
        }
        names_of_parts = [component.name for component in self._components]
        return recipe(self, "Recipe", name=self._name_of("host", [properties, names_of_parts]), **properties)

    def _name_of(self, part: str, content: Any) -> str:
        """Project, part and a digest of everything in it."""
        digest = hashlib.sha256(encode(self.resolve(content))).hexdigest()[:12]
        return f"{self.prefix}-{part}-{digest}"

    def _role(self) -> iam.Role:
        """Be run by Image Builder, read two packages, pull, serve the release, log."""
        packages = names.machine_packages(self._image.driver_version, self._image.tools_version)
        may = [
            *read_objects(self._artifacts, *packages, manifest_key(self._lock.name, self._lock.digest)),
            *pull_image(self._lock.serving_image),
            *be_reached_by_session_manager(),
            *be_built_by_image_builder([component.attr_arn for component in self._components]),
            *write_log(self._logs),
        ]
        blobs = read_blobs(self._artifacts, listed_blobs(self._lock))
        return service_role(self, "Role", EC2, "Machines that build and test the image", may, blobs=blobs)

    def _infrastructure(self) -> imagebuilder.CfnInfrastructureConfiguration:
        role = self._role()
        profile = iam.CfnInstanceProfile(self, "Profile", roles=[role.role_name])
        inside = ec2.SecurityGroup(
            self,
            "Machines",
            vpc=self._vpc,
            allow_all_outbound=False,
            description="Machines that build and test the image: nobody calls them",
        )
        inside.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(HTTPS), "AWS services by private endpoints")
        subnets = self._vpc.select_subnets(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED).subnet_ids
        return imagebuilder.CfnInfrastructureConfiguration(
            self,
            "Infrastructure",
            name=f"{self.prefix}-host",
            instance_profile_name=profile.ref,
            instance_types=[self._image.instance_type],
            instance_metadata_options=imagebuilder.CfnInfrastructureConfiguration.InstanceMetadataOptionsProperty(
                http_tokens="required", http_put_response_hop_limit=1
            ),
            subnet_id=subnets[self._image.subnet],
            security_group_ids=[inside.security_group_id],
            terminate_instance_on_failure=True,
        )

    def _distribution(self) -> imagebuilder.CfnDistributionConfiguration:
        kind = imagebuilder.CfnDistributionConfiguration
        tags = {"traceship:project": self.project, "traceship:driver": self._image.driver_version}
        return kind(
            self,
            "Distribution",
            name=f"{self.prefix}-host",
            distributions=[
                kind.DistributionProperty(
                    region=cdk.Aws.REGION,
                    ami_distribution_configuration={
                        "Name": f"{self.prefix}-host-{{{{ imagebuilder:buildDate }}}}",
                        "AmiTags": tags,
                    },
                )
            ],
        )

    def _pipeline(self, recipe: imagebuilder.CfnImageRecipe) -> imagebuilder.CfnImagePipeline:
        kind = imagebuilder.CfnImagePipeline
        pipeline = kind(
            self,
            "Pipeline",
            name=f"{self.prefix}-host",
            image_recipe_arn=recipe.attr_arn,
            infrastructure_configuration_arn=self._infrastructure().attr_arn,
            distribution_configuration_arn=self._distribution().attr_arn,
            enhanced_image_metadata_enabled=True,
            image_tests_configuration=kind.ImageTestsConfigurationProperty(
                image_tests_enabled=True, timeout_minutes=TEST_MINUTES
            ),
            schedule=kind.ScheduleProperty(
                schedule_expression=self._image.schedule,
                pipeline_execution_start_condition="EXPRESSION_MATCH_ONLY",
            ),
            status="ENABLED",
        )
        pipeline.node.add_dependency(self._logs)
        return pipeline
