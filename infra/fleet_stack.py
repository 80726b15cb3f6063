"""An EC2 fleet that serves one release behind an internal load balancer.

What it gives unasked: instances without a way in but the load balancer, a launch template by
number and a machine image by id (both are what makes a rollback possible), CloudFormation's own
instance refresh with checkpoints, alarms and bake, and a drain that outlasts the slowest request.
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_autoscaling as autoscaling
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticloadbalancingv2 as elb
from aws_cdk import aws_iam as iam
from constructs import Construct

from artifact import serving
from artifact.release import ReleaseLock, manifest_key
from infra import names
from infra.alarms import Watch, alarm_topic
from infra.artifacts_stack import LOAD_BALANCER_LOGS, ArtifactsStack
from infra.boot import Boot
from infra.exact_keys import listed_blobs
from infra.fleet_health import fleet_dashboard, watch_fleet
from infra.instances import instances
from infra.logs import make_log_group
from infra.machine_image import ImageById
from infra.roles import (
    EC2,
    be_reached_by_session_manager,
    pull_image,
    read_blobs,
    read_objects,
    service_role,
    write_log,
)
from infra.stack import DIGITS, ProjectStack, without_said_dependency
from infra.throughput import per_replica_minute
from infra.timing import drain_seconds, grace_seconds, hook_seconds, idle_seconds
from settings.model import Fleet, Settings

HTTP = 80
HTTPS = 443
ROOT_DEVICE = "/dev/xvda"
DISK_GIB = 50
MAX_LIFETIME = cdk.Duration.days(30)


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
        self._artifacts, self._vpc = artifacts, vpc
        self._subnets = ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED)
        self._logs = make_log_group(self, names.role_name(settings, names.FLEET), key=artifacts.key)
        self._watch = Watch(self, alarm_topic(self, settings.alarms, key=artifacts.key))
        self._door, self._inside = self._security_groups()
        self.load_balancer = self._load_balancer()
        self.target_group = self._target_group()
        self._listener()
        metrics = self.target_group.metrics
        watch_fleet(self._watch, metrics, settings.alarms, min_size=fleet.min_size)
        self.group = self._auto_scaling_group(self._launch_template(self._role()))
        scaling = self.group.scale_on_request_count(
            "Requests", target_requests_per_minute=per_replica_minute(lock)
        )
        without_said_dependency(scaling)
        fleet_dashboard(self._watch, metrics, lock, settings.serve)
        cdk.CfnOutput(self, "LoadBalancerDnsName", value=self.load_balancer.load_balancer_dns_name)
        cdk.CfnOutput(self, "AutoScalingGroupName", value=self.group.auto_scaling_group_name)

    @property
    def _port(self) -> int:
        return HTTP if self._fleet.certificate_arn is None else HTTPS

    def _security_groups(self) -> tuple[ec2.SecurityGroup, ec2.SecurityGroup]:
        """Callers → load balancer → port 8080 of instances → HTTPS; nothing else opens.

        Egress to 443 names no addresses: S3's change, and subnets without a route out reach
        only the VPC's own endpoints with it.
        """
        door = ec2.SecurityGroup(
            self, "Door", vpc=self._vpc, allow_all_outbound=False, description="Load balancer of the fleet"
        )
        inside = ec2.SecurityGroup(
            self, "Instances", vpc=self._vpc, allow_all_outbound=False, description="Instances of the fleet"
        )
        callers = self._fleet.client_cidrs or (self._settings.network.cidr,)
        for cidr in callers:
            door.add_ingress_rule(ec2.Peer.ipv4(cidr), ec2.Port.tcp(self._port), "Callers")
        serving_port = ec2.Port.tcp(serving.PORT)
        door.add_egress_rule(inside, serving_port, "Requests and health checks")
        inside.add_ingress_rule(door, serving_port, "Requests and health checks")
        inside.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(HTTPS), "AWS services by private endpoints")
        return door, inside

    def _load_balancer(self) -> elb.ApplicationLoadBalancer:
        balancer = elb.ApplicationLoadBalancer(
            self,
            "LoadBalancer",
            vpc=self._vpc,
            vpc_subnets=self._subnets,
            internet_facing=False,
            security_group=self._door,
            deletion_protection=self._settings.project.retain_data,
            idle_timeout=cdk.Duration.seconds(idle_seconds(self._settings.serve)),
            drop_invalid_header_fields=True,
            desync_mitigation_mode=elb.DesyncMitigationMode.STRICTEST,
        )
        # log_access_logs() asks for a region at synth; the attributes need none.
        balancer.set_attribute("access_logs.s3.enabled", "true")
        balancer.set_attribute("access_logs.s3.bucket", self._artifacts.logs_bucket.bucket_name)
        balancer.set_attribute("access_logs.s3.prefix", LOAD_BALANCER_LOGS)
        return balancer

    def _target_group(self) -> elb.ApplicationTargetGroup:
        return elb.ApplicationTargetGroup(
            self,
            "Targets",
            vpc=self._vpc,
            port=serving.PORT,
            protocol=elb.ApplicationProtocol.HTTP,
            target_type=elb.TargetType.INSTANCE,
            deregistration_delay=cdk.Duration.seconds(drain_seconds(self._settings.serve)),
            load_balancing_algorithm_type=elb.TargetGroupLoadBalancingAlgorithmType.LEAST_OUTSTANDING_REQUESTS,
            health_check=elb.HealthCheck(
                path=serving.PING,
                healthy_http_codes="200",
                interval=cdk.Duration.seconds(10),
                timeout=cdk.Duration.seconds(5),
                healthy_threshold_count=2,
                unhealthy_threshold_count=3,
            ),
        )

    def _listener(self) -> None:
        secure = self._fleet.certificate_arn is not None
        self.load_balancer.add_listener(
            "Listener",
            port=self._port,
            protocol=elb.ApplicationProtocol.HTTPS if secure else elb.ApplicationProtocol.HTTP,
            certificates=[elb.ListenerCertificate.from_arn(str(self._fleet.certificate_arn))]
            if secure
            else None,
            ssl_policy=elb.SslPolicy.RECOMMENDED_TLS if secure else None,
            open=False,
            default_target_groups=[self.target_group],
        )

    def _role(self) -> iam.Role:
        """What an instance may do: read this release, pull this image, log, be reached by a session."""
        may = [
            *read_objects(self._artifacts, manifest_key(self._lock.name, self._lock.digest)),
            *pull_image(self._lock.serving_image),
            *be_reached_by_session_manager(),
            *write_log(self._logs),
        ]
        blobs = read_blobs(self._artifacts, listed_blobs(self._lock))
        return service_role(self, "Role", EC2, "Instances of the fleet", may, blobs=blobs)

    def _launch_template(self, role: iam.Role) -> ec2.LaunchTemplate:
        boot = Boot(
            lock=self._lock,
            serve=self._settings.serve,
            signing=self._settings.signing,
            bucket=self._artifacts.bucket.bucket_name,
            log_group=self._logs.log_group_name,
            chips=instances()[self._fleet.instance_types[0]].chips,
            service=self.stack_name,
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
            security_group=self._inside,
            require_imdsv2=True,
            http_put_response_hop_limit=1,
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

    def _auto_scaling_group(self, template: ec2.LaunchTemplate) -> autoscaling.AutoScalingGroup:
        grace = cdk.Duration.seconds(grace_seconds(self._lock))
        group = autoscaling.AutoScalingGroup(
            self,
            "Group",
            vpc=self._vpc,
            vpc_subnets=self._subnets,
            mixed_instances_policy=_mixed(template, self._fleet),
            min_capacity=self._fleet.min_size,
            max_capacity=self._fleet.max_size,
            health_checks=autoscaling.HealthChecks.with_additional_checks(
                additional_types=[autoscaling.AdditionalHealthCheckType.ELB], grace_period=grace
            ),
            default_instance_warmup=cdk.Duration.seconds(self._lock.startup_seconds),
            max_instance_lifetime=MAX_LIFETIME,
            group_metrics=[autoscaling.GroupMetrics.all()],
            notifications=[autoscaling.NotificationConfiguration(topic=self._watch.topic)],
            update_policy=_rollout(self._fleet, self._watch),
        )
        group.add_lifecycle_hook(
            "Drain",
            lifecycle_transition=autoscaling.LifecycleTransition.INSTANCE_TERMINATING,
            default_result=autoscaling.DefaultResult.CONTINUE,
            heartbeat_timeout=cdk.Duration.seconds(hook_seconds(self._settings.serve)),
        )
        self.target_group.add_target(group)
        _show_template_to_policies(group, template)
        return group


def _show_template_to_policies(group: autoscaling.AutoScalingGroup, template: ec2.LaunchTemplate) -> None:
    """Let cdk-nag check the launch template behind the mixed-instances policy.

    Its rules on disks and IMDS look for a template in this one property (cdklabs/cdk-nag#1902), the
    one on disks by its name only. CloudFormation takes one or the other, so it does not get this.
    """
    resource, launch = group.node.find_child("ASG"), template.node.default_child
    if not isinstance(resource, autoscaling.CfnAutoScalingGroup) or not isinstance(
        launch, ec2.CfnLaunchTemplate
    ):
        raise TypeError(f"{group.node.path} is not an Auto Scaling group with a launch template")
    resource.launch_template = autoscaling.CfnAutoScalingGroup.LaunchTemplateSpecificationProperty(
        launch_template_name=launch.launch_template_name, version=template.latest_version_number
    )
    resource.add_property_deletion_override("LaunchTemplate")


def _mixed(template: ec2.LaunchTemplate, fleet: Fleet) -> autoscaling.MixedInstancesPolicy:
    """On-demand instances of the given types, in the given order."""
    return autoscaling.MixedInstancesPolicy(
        launch_template=template,
        launch_template_overrides=[
            autoscaling.LaunchTemplateOverrides(instance_type=ec2.InstanceType(name))
            for name in fleet.instance_types
        ],
        instances_distribution=autoscaling.InstancesDistribution(
            on_demand_allocation_strategy=autoscaling.OnDemandAllocationStrategy.PRIORITIZED,
            on_demand_percentage_above_base_capacity=100,
        ),
    )


def _rollout(fleet: Fleet, watch: Watch) -> autoscaling.UpdatePolicy:
    """A new instance before an old one goes, step by step, stopped and undone by any alarm."""
    return autoscaling.UpdatePolicy.instance_refresh(
        strategy=autoscaling.InstanceRefreshStrategy.ROLLING,
        min_healthy_percentage=100,
        max_healthy_percentage=110,
        checkpoint_percentages=list(fleet.checkpoints_percent),
        checkpoint_delay=cdk.Duration.minutes(fleet.checkpoint_delay_minutes),
        bake_time=cdk.Duration.minutes(fleet.bake_minutes),
        alarms=watch.alarms,
    )
