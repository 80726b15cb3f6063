"""Compiling on AWS: a row per compile request, each a job of the compile image.

    compile_compute.py   Fargate or EC2, Spot before on-demand, and the job definitions
    compile_machine.py   the state machine of the rows, with the ladder of memory
    compile_requests.py  requests in S3, where the settings want them
    compile_reverify.py  the daily look at releases, where the settings want it
    job_image.py         the image: by digest, or built from compile/Dockerfile

StartExecution {"items": [{"name", "arguments", "memory", "parts": [{"name", "arguments", "memory"}, …]}, …]}:
the job's name, and the words of the request as ``compile.runners.arguments`` spells them, so that a row
can say all that a compile can be told; ``memory``, which may be missing, is the size in GiB to begin
with; ``parts`` are its buckets that are traced by jobs of their own. Models lie below
s3://BUCKET/models/ and results below s3://BUCKET/compiled/. ``compile/batch/`` is the client.
  └─ Map over the rows, at most ``compile.aws.max_parallel`` at a time
       └─ Map over its parts, each a job as below; the row fails if one of them does
       └─ Batch job `python -m compile …`, on Spot while there is any
            interrupted on Spot          → the same once more, on-demand only
            killed for memory (exit 137) → the same with the next size of memory
            failed otherwise             → recorded, the other rows go on
  └─ fails at the end if any row failed, after all the others are done
"""

from __future__ import annotations

from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from constructs import Construct

from artifact.release import Image
from infra import names
from infra.alarms import Watch, alarm_topic
from infra.artifacts_stack import ArtifactsStack
from infra.compile_compute import TASKS, VCPUS, Compute
from infra.compile_machine import RowsMachine, make_machine
from infra.compile_requests import add_requests
from infra.compile_reverify import add_reverify
from infra.job_image import JobImage
from infra.logs import make_log_group
from infra.roles import exchange_objects, record_executions, run_batch_jobs, service_role
from infra.stack import ProjectStack
from settings.model import Settings


class CompileStack(ProjectStack):
    """State machine, queues and job definition of the compile image, and what else starts jobs of it."""

    def __init__(
        self, scope: Construct, *, settings: Settings, image: Image, artifacts: ArtifactsStack, vpc: ec2.IVpc
    ) -> None:
        super().__init__(scope, names.COMPILE, settings=settings, description="traceship: compile jobs")
        aws = settings.compile.aws
        self._artifacts = artifacts
        self._logs = make_log_group(self, "compile", key=artifacts.key)
        self._image = JobImage.built(self) if aws.build_image else JobImage.by_digest(image)
        self._compute = Compute(self, aws=aws, image=self._image, vpc=vpc, log=self._logs)
        self._job = self._compute.job(
            "", role=self._job_role(), cpu=VCPUS, memory_gib=self._compute.kind.ladder_gib[0]
        )
        rows = RowsMachine(self, compute=self._compute, job=self._job, max_parallel=aws.max_parallel)
        self.state_machine = make_machine(
            self,
            "Machine",
            name=names.rows_machine(self.project),
            definition=rows.definition(),
            role=self._machine_role(),
            log=self._logs,
            limit=cdk.Duration.days(1),
        )
        self._add_asked(settings)
        self._tell_clients()

    def _add_asked(self, settings: Settings) -> None:
        """What only these settings want, and with it the topic of its alarms."""
        aws = settings.compile.aws
        if not aws.requests and aws.reverify_hour is None:
            return
        shared: dict[str, Any] = {
            "artifacts": self._artifacts,
            "compute": self._compute,
            "log": self._logs,
            "watch": Watch(self, alarm_topic(self, settings.alarms, key=self._artifacts.key)),
        }
        if aws.requests:
            add_requests(self, aws=aws, rows=self.state_machine, **shared)
        if aws.reverify_hour is not None:
            add_reverify(self, hour=aws.reverify_hour, **shared)

    def _tell_clients(self) -> None:
        """What whoever starts an execution and follows its jobs must know (infra/names.py)."""
        values = {
            names.STATE_MACHINE_OUTPUT: self.state_machine.state_machine_arn,
            names.QUEUES_OUTPUT: cdk.Fn.join(",", list(self._compute.queue_arns)),
            names.JOB_LOGS_OUTPUT: self._logs.log_group_name,
            names.COMPILE_IMAGE_OUTPUT: self._image.uri,
        }
        for name, value in values.items():
            cdk.CfnOutput(self, name, value=value)

    def _job_role(self) -> iam.IRole:
        """What our code may do: read models handed in, write results; never touch a release."""
        may = exchange_objects(self._artifacts, read="models", write="compiled")
        return service_role(self, "JobRole", TASKS, "Compile jobs", may)

    def _machine_role(self) -> iam.IRole:
        may = [
            *run_batch_jobs(self._compute.queue_arns, self._job.job_definition_arn, self),
            *record_executions(),
        ]
        role = service_role(self, "MachineRole", "states.amazonaws.com", "Compile state machine", may)
        return role.without_policy_updates()
