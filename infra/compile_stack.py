"""Compiling on AWS: a row per compile request, each a Fargate job of the compile image.

StartExecution {"items": [{"name", "arguments"}, …]}: the job's name, and the words of the request as
``compile.runners.arguments`` spells them, so that a row can say all that a compile can be told. Models
lie below s3://BUCKET/models/ and results below s3://BUCKET/compiled/. ``compile/batch/`` is the client.
  └─ Map, at most MAX_PARALLEL at a time
       └─ Batch job `python -m compile …` with 32 GiB
            killed for memory (exit 137) → the same with 64, then 120 GiB
            failed otherwise             → recorded, the other rows go on
  └─ fails at the end if any row failed, after all the others are done
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_batch as batch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct

from artifact.release import Image
from infra import names
from infra.artifacts_stack import ArtifactsStack
from infra.images import uri
from infra.logs import make_log_group
from infra.roles import (
    exchange_objects,
    pull_image,
    record_executions,
    run_batch_jobs,
    service_role,
    write_log,
)
from infra.stack import ProjectStack
from settings.model import Settings

VCPUS = 16
"""AWS recommends c5.4xlarge (16 vCPUs, 32 GiB) or larger. Source: torch-neuron compilation API page."""
MEMORY_LADDER_GIB = (32, 64, 120)
"""Fargate offers 32 to 120 GiB with 16 vCPUs. 16 GiB is too little (aws-neuron/aws-neuron-sdk#1064)."""
DISK_GIB = 100
KILLED_FOR_MEMORY = 137
MAX_PARALLEL = 10
JOB_LIMIT = cdk.Duration.hours(6)
TASKS = "ecs-tasks.amazonaws.com"


class CompileStack(ProjectStack):
    """State machine, queue and job definition of the compile image."""

    def __init__(
        self, scope: Construct, *, settings: Settings, image: Image, artifacts: ArtifactsStack, vpc: ec2.IVpc
    ) -> None:
        super().__init__(scope, names.COMPILE, settings=settings, description="traceship: compile jobs")
        self._artifacts = artifacts
        self._logs = make_log_group(self, "compile", key=artifacts.key)
        self._queue = self._make_queue(vpc)
        self._job = self._job_definition(image)
        self.state_machine = self._state_machine()
        self._tell_clients(image)

    def _tell_clients(self, image: Image) -> None:
        """What whoever starts an execution and follows its jobs must know (infra/names.py)."""
        values = {
            names.STATE_MACHINE_OUTPUT: self.state_machine.state_machine_arn,
            names.QUEUES_OUTPUT: self._queue.job_queue_arn,
            names.JOB_LOGS_OUTPUT: self._logs.log_group_name,
            names.COMPILE_IMAGE_OUTPUT: uri(image),
        }
        for name, value in values.items():
            cdk.CfnOutput(self, name, value=value)

    def _make_queue(self, vpc: ec2.IVpc) -> batch.JobQueue:
        group = ec2.SecurityGroup(
            self, "Jobs", vpc=vpc, description="Compile jobs: nobody calls them", allow_all_outbound=False
        )
        group.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(443), "AWS services by private endpoints")
        fargate = batch.FargateComputeEnvironment(
            self,
            "Fargate",
            vpc=vpc,
            vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED),
            security_groups=[group],
            maxv_cpus=VCPUS * MAX_PARALLEL,
            spot=False,
        )
        queue = batch.JobQueue(self, "Queue")
        queue.add_compute_environment(fargate, 1)
        return queue

    def _job_definition(self, image: Image) -> batch.EcsJobDefinition:
        return batch.EcsJobDefinition(
            self,
            "Job",
            timeout=JOB_LIMIT,
            retry_attempts=1,
            container=batch.EcsFargateContainerDefinition(
                self,
                "Container",
                image=ecs.ContainerImage.from_registry(uri(image)),
                cpu=VCPUS,
                memory=cdk.Size.gibibytes(MEMORY_LADDER_GIB[0]),
                ephemeral_storage_size=cdk.Size.gibibytes(DISK_GIB),
                assign_public_ip=False,
                execution_role=self._execution_role(image),
                job_role=self._job_role(),
                logging=ecs.LogDriver.aws_logs(stream_prefix="job", log_group=self._logs),
                fargate_platform_version=ecs.FargatePlatformVersion.VERSION1_4,
            ),
        )

    def _execution_role(self, image: Image) -> iam.IRole:
        """What Fargate itself does before our code runs: pull that image, open the log."""
        may = [*pull_image(image), *write_log(self._logs)]
        role = service_role(self, "ExecutionRole", TASKS, "Fargate agent of compile jobs", may)
        return role.without_policy_updates()

    def _job_role(self) -> iam.IRole:
        """What our code may do: read models handed in, write results; never touch a release."""
        may = exchange_objects(self._artifacts, read="models", write="compiled")
        return service_role(self, "JobRole", TASKS, "Compile jobs", may)

    def _machine_role(self) -> iam.IRole:
        job, queue = self._job.job_definition_arn, self._queue.job_queue_arn
        may = [*run_batch_jobs(queue, job, self), *record_executions()]
        role = service_role(self, "MachineRole", "states.amazonaws.com", "Compile state machine", may)
        return role.without_policy_updates()

    def _state_machine(self) -> sfn.StateMachine:
        rows = sfn.Map(
            self,
            "EachRow",
            items_path="$.items",
            max_concurrency=MAX_PARALLEL,
            result_path="$.rows",
        )
        rows.item_processor(self._ladder())
        failed = sfn.Pass(self, "FindFailures", parameters={"failed.$": "$.rows[?(@.status=='failed')]"})
        some_failed = sfn.Condition.is_present("$.failed[0]")
        end = (
            sfn.Choice(self, "AnyFailed")
            .when(
                some_failed,
                sfn.Fail(
                    self,
                    "SomeRowsFailed",
                    error="RowsFailed",
                    cause="the rows with status failed say why; the others are done",
                ),
            )
            .otherwise(sfn.Succeed(self, "AllDone"))
        )
        return sfn.StateMachine(
            self,
            "Machine",
            state_machine_name=f"{self.project}-compile",
            role=self._machine_role(),
            definition_body=sfn.DefinitionBody.from_chainable(rows.next(failed).next(end)),
            timeout=cdk.Duration.days(1),
            tracing_enabled=True,
            logs=sfn.LogOptions(destination=self._logs, level=sfn.LogLevel.ALL, include_execution_data=True),
            removal_policy=cdk.RemovalPolicy.DESTROY,
        )

    def _ladder(self) -> sfn.IChainable:
        """The first rung, with each next one reached only by a job that was killed for memory."""
        done = sfn.Pass(self, "Done", parameters={"name.$": "$.name", "status": "done"})
        failed = sfn.Pass(
            self,
            "Failed",
            parameters={
                "name.$": "$.name",
                "status": "failed",
                "error.$": "$.failure.Error",
                "cause.$": "$.failure.Cause",
            },
        )
        higher: sfn.IChainable = failed
        for memory in reversed(MEMORY_LADDER_GIB):
            higher = self._rung(memory, higher=higher, done=done, failed=failed)
        return higher

    def _rung(
        self, memory: int, *, higher: sfn.IChainable, done: sfn.IChainable, failed: sfn.IChainable
    ) -> sfn.IChainable:
        submit = tasks.BatchSubmitJob(
            self,
            f"Compile{memory}GiB",
            job_definition_arn=self._job.job_definition_arn,
            job_queue_arn=self._queue.job_queue_arn,
            job_name=sfn.JsonPath.string_at("$.name"),
            # The image's entry point is `python -m compile`; Batch can only add arguments to it.
            container_overrides=tasks.BatchContainerOverrides(
                command=sfn.JsonPath.list_at("$.arguments"), memory=cdk.Size.gibibytes(memory)
            ),
            result_path=sfn.JsonPath.DISCARD,
        )
        if memory == MEMORY_LADDER_GIB[-1]:
            submit.add_catch(failed, result_path="$.failure")
            return submit.next(done)
        after = (
            sfn.Choice(self, f"Was{memory}GiBTooLittle").when(_killed_for_memory(), higher).otherwise(failed)
        )
        submit.add_catch(after, result_path="$.failure")
        return submit.next(done)


def _killed_for_memory() -> sfn.Condition:
    """The cause of a failed job is the job as JSON; matched as text, because some causes are not JSON."""
    path = "$.failure.Cause"
    return sfn.Condition.or_(
        sfn.Condition.string_matches(path, f'*"ExitCode":{KILLED_FOR_MEMORY}*'),
        sfn.Condition.string_matches(path, f'*"ExitCode": {KILLED_FOR_MEMORY}*'),
    )
