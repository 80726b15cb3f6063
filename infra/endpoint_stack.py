"""A SageMaker endpoint that serves one release, or one and a canary beside it.

    endpoint_model.py      a release as a model, with a role that may do just that
    endpoint_config.py     variants and how an update shifts traffic
    endpoint_data.py       what is left in S3: captured requests, or those of an async endpoint
    endpoint_scaling.py    when instances are added
    endpoint_health.py     alarms and dashboard
    endpoint_limits.py     time-outs and disks

Models and configuration are named by what they hold, so an update makes new ones and a rollback
finds the old ones unchanged. On Inf1 SageMaker ignores a deployment configuration and flips all
traffic at once (SageMaker guide, "deployment-guardrails-exclusions"); traffic is shifted by variant
weights there (docs/decisions/0026-endpoint.md).
"""

from __future__ import annotations

from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from artifact.release import ReleaseLock
from infra import endpoint_health as health
from infra import names
from infra.alarms import Watch, alarm_topic
from infra.artifacts_stack import ArtifactsStack
from infra.endpoint_config import Served, make_config, make_endpoint, shifting_config
from infra.endpoint_data import (
    async_config,
    async_inputs,
    capture_config,
    make_topics,
    may_answer_later,
    may_capture,
)
from infra.endpoint_model import Surroundings, containers_group, make_model
from infra.endpoint_scaling import scale
from infra.logs import make_log_group
from infra.roles import look_at_alarms
from infra.stack import ProjectStack
from settings.endpoint import Endpoint
from settings.model import Settings


class EndpointStack(ProjectStack):
    """Models, configuration, endpoint, scaling, alarms and dashboard of one release and its canary."""

    def __init__(
        self,
        scope: Construct,
        *,
        settings: Settings,
        endpoint: Endpoint,
        lock: ReleaseLock,
        canary: ReleaseLock | None = None,
        artifacts: ArtifactsStack,
        vpc: ec2.IVpc,
    ) -> None:
        super().__init__(
            scope, names.ENDPOINT, settings=settings, description="traceship: SageMaker endpoint"
        )
        self._settings, self._wanted, self._artifacts, self._vpc = settings, endpoint, artifacts, vpc
        self._name = names.endpoint_name(settings)
        self._logs = make_log_group(
            self, "endpoint", key=artifacts.key, name=f"/aws/sagemaker/Endpoints/{self._name}"
        )
        self._watch = Watch(self, alarm_topic(self, settings.alarms, key=artifacts.key))
        self._metrics = health.Metrics(self._name)
        variants = self._variants(lock, canary)
        health.watch_answers(self._watch, self._metrics, variants, endpoint, settings.alarms)
        guards = tuple(self._watch.alarms)
        self.endpoint = self._endpoint(variants, guards)
        scale(self, self.endpoint, endpoint, lock)
        self._look_after(variants)
        cdk.CfnOutput(self, "EndpointName", value=self.endpoint.attr_endpoint_name)

    def _variants(self, lock: ReleaseLock, canary: ReleaseLock | None) -> list[health.Variant]:
        service = self.stack_name
        found = [health.Variant(name=names.STABLE_VARIANT, label="", service=service, lock=lock)]
        if canary is not None:
            name = names.canary_variant(canary.digest)
            found.append(health.Variant(name=name, label="Canary", service=f"{service}-canary", lock=canary))
        return found

    def _endpoint(
        self, variants: list[health.Variant], guards: tuple[cloudwatch.Alarm, ...]
    ) -> sagemaker.CfnEndpoint:
        wanted = self._wanted
        around, extras = self._surroundings(guards)
        shifting = None
        if wanted.deployment is not None:
            shifting = shifting_config(wanted.deployment, guards, variants[0].lock)
        config = make_config(
            self,
            [self._served(variant, around) for variant in variants],
            instance_type=wanted.instance_type,
            key_arn=self._artifacts.key.key_arn,
            extras=extras,
        )
        endpoint = make_endpoint(self, config, name=self._name, shifting=shifting)
        endpoint.node.add_dependency(self._logs)
        return endpoint

    def _surroundings(self, guards: tuple[cloudwatch.Alarm, ...]) -> tuple[Surroundings, dict[str, Any]]:
        """What the models share, and what the configuration has beside its variants."""
        wanted, artifacts, name = self._wanted, self._artifacts, self._name
        may, also_read, extras = list[iam.PolicyStatement](), list[str](), dict[str, Any]()
        if wanted.deployment is not None:
            may += look_at_alarms(guards)
        if wanted.capture is not None:
            may += may_capture(wanted.capture, artifacts, name)
            extras["data_capture_config"] = capture_config(wanted.capture, artifacts)
        if wanted.async_ is not None:
            topics = make_topics(self, wanted.async_, artifacts)
            may += may_answer_later(topics, artifacts, name)
            also_read.append(async_inputs(name))
            extras["async_inference_config"] = async_config(wanted.async_, topics, artifacts, name)
        captures_with_our_key = wanted.capture is not None and wanted.capture.kms_key is None
        subnets = self._vpc.select_subnets(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED)
        around = Surroundings(
            settings=self._settings,
            artifacts=artifacts,
            subnets=subnets.subnet_ids,
            group=containers_group(self, self._vpc),
            log=self._logs,
            also_read=also_read,
            may=may,
            writes=wanted.async_ is not None or captures_with_our_key,
        )
        return around, extras

    def _served(self, variant: health.Variant, around: Surroundings) -> Served:
        stable = variant.name == names.STABLE_VARIANT
        canary = self._wanted.canary
        model = make_model(
            self,
            self if stable else Construct(self, "Canary"),
            lock=variant.lock,
            service=variant.service,
            around=around,
        )
        return Served(
            variant=variant.name,
            lock=variant.lock,
            model=model,
            count=self._wanted.initial_count if stable or canary is None else canary.count,
            weight=1 if stable else 0,
        )

    def _look_after(self, variants: list[health.Variant]) -> None:
        """The alarms that need a running endpoint, and the dashboard."""
        watch, metrics, wanted = self._watch, self._metrics, self._wanted
        serve = self._settings.serve
        health.watch_instances(watch, metrics, variants, wanted, serve, endpoint=self.endpoint)
        if wanted.async_ is not None:
            health.watch_queue(watch, metrics, variants[0], max_age_minutes=wanted.async_.max_age_minutes)
        health.dashboard(watch, metrics, variants, wanted, serve, region=self._settings.project.region)
