"""What compile jobs run on: Fargate, or EC2 instances of a pinned image; Spot first, on-demand after it.

The two differ in how a container is defined, in the sizes of memory, and in the words with which AWS
takes a Spot machine away. Everything else (queues, limits, roles, log) is the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_batch as batch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs

from infra.job_image import JobImage
from infra.machine_image import ImageById
from infra.network_stack import ISOLATED
from infra.roles import EC2, be_an_ecs_instance, pull_from, service_role, write_log
from infra.stack import ProjectStack
from settings.model import CompileAws

VCPUS = 16
"""AWS recommends c5.4xlarge (16 vCPUs, 32 GiB) or larger. Source: torch-neuron compilation API page."""
DISK_GIB = 100
TASKS = "ecs-tasks.amazonaws.com"
JOB_LIMIT = cdk.Duration.hours(6)


@dataclass(frozen=True)
class Kind:
    """``ladder_gib``: sizes of memory to try, rising. ``interrupted``: beginning of the status reason of a
    job that Spot took away; the exit code says nothing, because our code ends with 130 on the SIGTERM
    of the warning, or is killed with 137 after it."""

    ladder_gib: tuple[int, ...]
    interrupted: str


KINDS = {
    # Fargate offers 32 to 120 GiB with 16 vCPUs; 16 GiB is too little (aws-neuron/aws-neuron-sdk#1064).
    # ECS's stopped reason, which Batch passes on.
    "fargate": Kind(ladder_gib=(32, 64, 120), interrupted="Your Spot Task was interrupted"),
    # What the default types leave for a job of their 32, 64 and 128 GiB: the system and the ECS agent keep
    # some. The words: Batch user guide, "Automated job retries".
    "ec2": Kind(ladder_gib=(28, 58, 116), interrupted="Host EC2"),
}


class Compute:
    """The environments and queues of the compile stack, and the job definitions that fit them."""

    def __init__(
        self,
        stack: ProjectStack,
        *,
        aws: CompileAws,
        image: JobImage,
        vpc: ec2.IVpc,
        log: logs.ILogGroup,
    ) -> None:
        self._stack, self._aws, self._image, self._vpc, self._log = stack, aws, image, vpc, log
        self.kind = KINDS[aws.compute]
        self.spot_first, self.on_demand = self._queues()
        self._execution_role = self._agent_role()

    @property
    def image_uri(self) -> str:
        """The image of every job."""
        return self._image.uri

    @property
    def queue_arns(self) -> tuple[str, str]:
        """First the queue that tries Spot."""
        return self.spot_first.job_queue_arn, self.on_demand.job_queue_arn

    def job(
        self, name: str, *, role: iam.IRole, cpu: int, memory_gib: int, limit: cdk.Duration = JOB_LIMIT
    ) -> batch.EcsJobDefinition:
        """A definition whose command is whoever submits it says; construct ids begin with ``name``."""
        shared: dict[str, Any] = {
            "image": ecs.ContainerImage.from_registry(self._image.uri),
            "cpu": cpu,
            "memory": cdk.Size.gibibytes(memory_gib),
            "execution_role": self._execution_role,
            "job_role": role,
            "logging": ecs.LogDriver.aws_logs(stream_prefix="job", log_group=self._log),
        }
        container: batch.IEcsContainerDefinition
        if self._aws.compute == "ec2":
            container = batch.EcsEc2ContainerDefinition(self._stack, f"{name}Container", **shared)
        else:
            container = batch.EcsFargateContainerDefinition(
                self._stack,
                f"{name}Container",
                **shared,
                ephemeral_storage_size=cdk.Size.gibibytes(DISK_GIB),
                assign_public_ip=False,
                fargate_platform_version=ecs.FargatePlatformVersion.VERSION1_4,
            )
        return batch.EcsJobDefinition(
            self._stack, f"{name}Job", timeout=limit, retry_attempts=1, container=container
        )

    def _queues(self) -> tuple[batch.JobQueue, batch.JobQueue]:
        """One queue that tries Spot before on-demand, and one for jobs that Spot let down.

        Batch tries the environments of a queue in order. It would send an interrupted job back to
        the same queue, so to Spot again; only another queue keeps it away from there.
        """
        group = ec2.SecurityGroup(
            self._stack,
            "Jobs",
            vpc=self._vpc,
            description="Compile jobs: nobody calls them",
            allow_all_outbound=False,
        )
        group.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(443), "AWS services by private endpoints")
        spot, on_demand = self._environments(group)
        spot_first = batch.JobQueue(self._stack, "Queue")
        only_on_demand = batch.JobQueue(self._stack, "OnDemandQueue")
        spot_first.add_compute_environment(spot, 1)
        spot_first.add_compute_environment(on_demand, 2)
        only_on_demand.add_compute_environment(on_demand, 1)
        return spot_first, only_on_demand

    def _environments(
        self, group: ec2.SecurityGroup
    ) -> tuple[batch.IComputeEnvironment, batch.IComputeEnvironment]:
        if self._aws.compute == "fargate":
            return self._fargate("Spot", group, spot=True), self._fargate("Fargate", group, spot=False)
        role, template = self._instance_role(), self._launch_template()
        return (
            self._ec2("Ec2Spot", group, role, template, spot=True),
            self._ec2("Ec2", group, role, template, spot=False),
        )

    def _fargate(
        self, construct_id: str, group: ec2.SecurityGroup, *, spot: bool
    ) -> batch.FargateComputeEnvironment:
        return batch.FargateComputeEnvironment(
            self._stack,
            construct_id,
            vpc=self._vpc,
            vpc_subnets=ISOLATED,
            security_groups=[group],
            maxv_cpus=VCPUS * self._aws.max_parallel,
            spot=spot,
        )

    def _ec2(
        self,
        construct_id: str,
        group: ec2.SecurityGroup,
        role: iam.IRole,
        template: ec2.ILaunchTemplate,
        *,
        spot: bool,
    ) -> batch.ManagedEc2EcsComputeEnvironment:
        """No instance stays when there is no job, and none is of a type that the settings do not name."""
        image = ImageById(str(self._aws.ami), ec2.UserData.for_linux())
        return batch.ManagedEc2EcsComputeEnvironment(
            self._stack,
            construct_id,
            vpc=self._vpc,
            vpc_subnets=ISOLATED,
            security_groups=[group],
            maxv_cpus=VCPUS * self._aws.max_parallel,
            minv_cpus=0,
            spot=spot,
            images=[batch.EcsMachineImage(image=image, image_type=batch.EcsMachineImageType.ECS_AL2023)],
            instance_types=[ec2.InstanceType(name) for name in self._aws.instance_types],
            use_optimal_instance_classes=False,
            instance_role=role,
            launch_template=template,
        )

    def _launch_template(self) -> ec2.LaunchTemplate:
        """Batch adds the image, the type and the role; what we insist on is how the machine is set up.

        One hop: a container in Docker's own network does not reach the instance's credentials, and
        gets those of its own role from the ECS agent.
        """
        return ec2.LaunchTemplate(
            self._stack,
            "Instances",
            require_imdsv2=True,
            http_put_response_hop_limit=1,
            http_tokens=ec2.LaunchTemplateHttpTokens.REQUIRED,
            detailed_monitoring=True,
            block_devices=[
                ec2.BlockDevice(
                    device_name="/dev/xvda",
                    volume=ec2.BlockDeviceVolume.ebs(
                        DISK_GIB, encrypted=True, volume_type=ec2.EbsDeviceVolumeType.GP3
                    ),
                )
            ],
        )

    def _agent_role(self) -> iam.IRole:
        """What ECS itself does before our code runs: pull that image, open the log."""
        may = [*pull_from(self._image.repository_arn), *write_log(self._log)]
        who = "Fargate" if self._aws.compute == "fargate" else "ECS"
        role = service_role(self._stack, "ExecutionRole", TASKS, f"{who} agent of compile jobs", may)
        return role.without_policy_updates()

    def _instance_role(self) -> iam.IRole:
        """What the agent on an instance does: join Batch's cluster, pull that image, open the log."""
        may = [*be_an_ecs_instance(), *pull_from(self._image.repository_arn), *write_log(self._log)]
        role = service_role(self._stack, "InstanceRole", EC2, "Instances that run compile jobs", may)
        return role.without_policy_updates()
