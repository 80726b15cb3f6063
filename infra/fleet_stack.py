"""An EC2 fleet that serves one release behind an internal load balancer.

What it gives unasked: instances without a way in but the load balancer, a launch template by
number and a machine image by id (both are what makes a rollback possible), CloudFormation's own
instance refresh with checkpoints, alarms and bake, a drain that outlasts the slowest request, and
a size that follows the load.

    fleet_doors.py     load balancer, target group, security groups
    fleet_metrics.py   what is measured; fleet_health.py: alarms and dashboard on it
    fleet_group.py     the Auto Scaling group, its hooks, warm pool and schedule
    fleet_scaling.py   its policies; scaling_steps.py: how far they go
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from constructs import Construct

from artifact.release import ReleaseLock, manifest_key
from infra import names
from infra.alarms import Watch, alarm_topic
from infra.artifacts_stack import ArtifactsStack
from infra.boot import Boot
from infra.exact_keys import listed_blobs
from infra.fleet_doors import make_doors
from infra.fleet_group import add_hooks, add_schedule, add_warm_pool, make_group
from infra.fleet_health import fleet_dashboard, watch_fleet
from infra.fleet_metrics import FleetMetrics
from infra.fleet_scaling import scale_fleet
from infra.instances import instances
from infra.logs import make_log_group
from infra.machine_image import ImageById
from infra.neuron_metrics import watch_chips
from infra.replacements import be_replaced, let_instances_act, smallest
from infra.roles import (
    EC2,
    be_reached_by_session_manager,
    pull_image,
    read_blobs,
    read_objects,
    service_role,
    write_log,
)
from infra.stack import DIGITS, ProjectStack
from settings.model import Fleet, Settings

ROOT_DEVICE = "/dev/xvda"
DISK_GIB = 50


class FleetStack(ProjectStack):
    """Launch template, Auto Scaling group, load balancer, alarms and dashboard of one release."""

    def __init__(
        self,
        scope: Construct,
        *,
        settings: Settings,
        fleet: Fleet,
        lock: ReleaseLock,
        artifacts: ArtifactsStack,
        vpc: ec2.IVpc,
    ) -> None:
        super().__init__(scope, names.FLEET, settings=settings, description="traceship: EC2 fleet")
        self._settings, self._fleet, self._lock = settings, fleet, lock
        self._artifacts = artifacts
        self._logs = make_log_group(self, names.role_name(settings, names.FLEET), key=artifacts.key)
        subnets = ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED)
        doors = make_doors(
            self, settings=settings, fleet=fleet, artifacts=artifacts, vpc=vpc, subnets=subnets
        )
        metrics = FleetMetrics(
            targets=doors.targets.metrics,
            balancer=doors.load_balancer.metrics,
            group=names.fleet_group(settings),
            service=self.stack_name,
        )
        watch = Watch(self, alarm_topic(self, settings.alarms, key=artifacts.key))
        watch_fleet(watch, metrics, settings.alarms, lock)
        chips = instances()[fleet.instance_types[0]].chips
        if chips:
            watch_chips(watch, service=self.stack_name, min_size=smallest(fleet))
        group = make_group(
            self,
            name=metrics.group,
            fleet=fleet,
            lock=lock,
            template=self._launch_template(self._role(), doors.inside),
            vpc=vpc,
            subnets=subnets,
            topic=watch.topic,
            stopping=watch.stopping,
        )
        doors.targets.add_target(group)
        let_instances_act(group, self.stack_name)
        add_hooks(group, settings.serve, lock)
        if fleet.warm_pool is not None:
            add_warm_pool(group, fleet.warm_pool)
        add_schedule(self, group, fleet)
        scale_fleet(self, group, metrics, settings=settings, fleet=fleet, lock=lock)
        fleet_dashboard(watch, metrics, lock, settings, fleet, on_chips=chips > 0)
        cdk.CfnOutput(self, "LoadBalancerDnsName", value=doors.load_balancer.load_balancer_dns_name)
        cdk.CfnOutput(self, "AutoScalingGroupName", value=group.auto_scaling_group_name)

    def _role(self) -> iam.Role:
        """What an instance may do: read this release, pull this image, log, be reached, be replaced."""
        may = [
            *read_objects(self._artifacts, manifest_key(self._lock.name, self._lock.digest)),
            *pull_image(self._lock.serving_image),
            *be_reached_by_session_manager(),
            *write_log(self._logs),
            *be_replaced(self._artifacts, self.stack_name, smallest(self._fleet)),
        ]
        blobs = read_blobs(self._artifacts, listed_blobs(self._lock))
        return service_role(self, "Role", EC2, "Instances of the fleet", may, blobs=blobs)

    def _launch_template(self, role: iam.Role, inside: ec2.SecurityGroup) -> ec2.LaunchTemplate:
        boot = Boot(
            lock=self._lock,
            serve=self._settings.serve,
            signing=self._settings.signing,
            host=self._settings.host,
            bucket=self._artifacts.bucket.bucket_name,
            log_group=self._logs.log_group_name,
            chips=instances()[self._fleet.instance_types[0]].chips,
            service=self.stack_name,
            min_size=smallest(self._fleet),
        )
        user_data = ec2.UserData.custom(boot.user_data())
        template = ec2.LaunchTemplate(
            self,
            "LaunchTemplate",
            launch_template_name=self.stack_name,
            version_description=f"release {self._lock.digest[:DIGITS]}",
            machine_image=ImageById(self._lock.ami.id, user_data),
            instance_type=ec2.InstanceType(self._fleet.instance_types[0]),
            user_data=user_data,
            role=role,
            security_group=inside,
            require_imdsv2=True,
            http_put_response_hop_limit=1,
            http_protocol_ipv6=False,  # `traceship-host confine` shuts the other address
            instance_metadata_tags=True,  # tell an instance its group's name
            detailed_monitoring=True,
            block_devices=[
                ec2.BlockDevice(
                    device_name=ROOT_DEVICE,
                    volume=ec2.BlockDeviceVolume.ebs(
                        DISK_GIB, encrypted=True, volume_type=ec2.EbsDeviceVolumeType.GP3
                    ),
                )
            ],
        )
        cdk.Tags.of(template).add("traceship:digest", self._lock.digest)
        self.name_identities_by(self._lock.digest)
        return template
