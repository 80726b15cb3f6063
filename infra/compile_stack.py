"""Compiling on AWS: a row per compile request, each a Fargate job of the compile image.

StartExecution {"items": [{"name", "arguments", "parts": [{"name", "arguments"}, …]}, …]}: the job's name, and
the words of the request as ``compile.runners.arguments`` spells them, so that a row can say all that a
compile can be told; ``parts`` are its buckets that are traced by jobs of their own. Models lie below
s3://BUCKET/models/ and results below s3://BUCKET/compiled/. ``compile/batch/`` is the client.
  └─ Map over the rows, at most MAX_PARALLEL at a time
       └─ Map over its parts, each a job as below; the row fails if one of them does
       └─ Batch job `python -m compile …` with 32 GiB, on Spot while there is any
            interrupted on Spot          → the same once more, on-demand only
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
from infra.stack import ProjectStack, without_said_dependency
from settings.model import Settings

VCPUS = 16
"""AWS recommends c5.4xlarge (16 vCPUs, 32 GiB) or larger. Source: torch-neuron compilation API page."""
MEMORY_LADDER_GIB = (32, 64, 120)
"""Fargate offers 32 to 120 GiB with 16 vCPUs. 16 GiB is too little (aws-neuron/aws-neuron-sdk#1064)."""
DISK_GIB = 100
KILLED_FOR_MEMORY = 137
INTERRUPTED = "Your Spot Task was interrupted"
"""Beginning of ECS's stopped reason, which Batch passes on as the job's status reason. The exit code says
nothing: our code ends with 130 on the SIGTERM of the warning, or is killed with 137 after it."""
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
        self._spot_first, self._on_demand = self._make_queues(vpc)
        self._job = self._job_definition(image)
        self.state_machine = self._state_machine()
        self._tell_clients(image)

    def _tell_clients(self, image: Image) -> None:
        """What whoever starts an execution and follows its jobs must know (infra/names.py)."""
        values = {
            names.STATE_MACHINE_OUTPUT: self.state_machine.state_machine_arn,
            names.QUEUES_OUTPUT: cdk.Fn.join(",", list(self._queue_arns())),
            names.JOB_LOGS_OUTPUT: self._logs.log_group_name,
            names.COMPILE_IMAGE_OUTPUT: uri(image),
        }
        for name, value in values.items():
            cdk.CfnOutput(self, name, value=value)

    def _make_queues(self, vpc: ec2.IVpc) -> tuple[batch.JobQueue, batch.JobQueue]:
        """One queue that tries Spot before on-demand, and one for jobs that Spot let down.

        Batch tries the environments of a queue in order. It would send an interrupted job back to
        the same queue, so to Spot again; only another queue keeps it away from there.
        """
        group = ec2.SecurityGroup(
            self, "Jobs", vpc=vpc, description="Compile jobs: nobody calls them", allow_all_outbound=False
        )
        group.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(443), "AWS services by private endpoints")
        spot = self._environment("Spot", vpc, group, spot=True)
        on_demand = self._environment("Fargate", vpc, group, spot=False)
        spot_first, only_on_demand = batch.JobQueue(self, "Queue"), batch.JobQueue(self, "OnDemandQueue")
        spot_first.add_compute_environment(spot, 1)
        spot_first.add_compute_environment(on_demand, 2)
        only_on_demand.add_compute_environment(on_demand, 1)
        return spot_first, only_on_demand

    def _environment(
        self, construct_id: str, vpc: ec2.IVpc, group: ec2.SecurityGroup, *, spot: bool
    ) -> batch.FargateComputeEnvironment:
        return batch.FargateComputeEnvironment(
            self,
            construct_id,
            vpc=vpc,
            vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED),
            security_groups=[group],
            maxv_cpus=VCPUS * MAX_PARALLEL,
            spot=spot,
        )

    def _queue_arns(self) -> tuple[str, str]:
        return self._spot_first.job_queue_arn, self._on_demand.job_queue_arn

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
        may = [
            *run_batch_jobs(self._queue_arns(), self._job.job_definition_arn, self),
            *record_executions(),
        ]
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
        rows.item_processor(self._row())
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
                    cause="the jobs of the rows with status failed say why; the others are done",
                ),
            )
            .otherwise(sfn.Succeed(self, "AllDone"))
        )
        machine = sfn.StateMachine(
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
        without_said_dependency(machine)
        return machine

    def _row(self) -> sfn.IChainable:
        """The row's parts side by side, then the row itself unless one of them failed."""
        parts = sfn.Map(
            self, "EachPart", items_path="$.parts", max_concurrency=MAX_PARALLEL, result_path="$.traced"
        )
        parts.item_processor(self._ladder("Trace"))
        failed = sfn.Pass(
            self,
            "FindFailedParts",
            parameters={"parts.$": "$.traced[?(@.status=='failed')]"},
            result_path="$.failed",
        )
        not_traced = sfn.Pass(
            self,
            "SomePartsFailed",
            parameters={"name.$": "$.name", "status": "failed", "error.$": "$.failed.parts[0].error"},
        )
        some_failed = sfn.Condition.is_present("$.failed.parts[0]")
        end = sfn.Choice(self, "AnyPartFailed").when(some_failed, not_traced)
        return parts.next(failed).next(end.otherwise(self._ladder("Compile")))

    def _ladder(self, doing: str) -> sfn.IChainable:
        """The first rung, with each next one reached only by a job that was killed for memory."""
        done = sfn.Pass(self, f"{doing}Done", parameters={"name.$": "$.name", "status": "done"})
        failed = sfn.Pass(
            self,
            f"{doing}Failed",
            parameters={
                "name.$": "$.name",
                "status": "failed",
                # The cause is the whole job, some kilobytes: a few dozen would be more than a state may
                # give on. It is in the execution's history, and the job with its log in Batch.
                "error.$": "$.failure.Error",
            },
        )
        higher: sfn.IChainable = failed
        for memory in reversed(MEMORY_LADDER_GIB):
            higher = self._rung(doing, memory, higher=higher, done=done, failed=failed)
        return higher

    def _rung(
        self, doing: str, memory: int, *, higher: sfn.IChainable, done: sfn.IChainable, failed: sfn.IChainable
    ) -> sfn.IChainable:
        """A size of memory: Spot first, then on-demand after an interruption, then the next size.

        The interruption is looked for first, because it can end a job with the code of a memory kill.
        """
        name = f"{doing}{memory}GiB"
        on_demand = self._submit(f"{name}OnDemand", memory, self._on_demand)
        after: sfn.IChainable = failed
        if higher is not failed:
            too_little = sfn.Choice(self, f"Was{name}TooLittle")
            after = too_little.when(_killed_for_memory(), higher).otherwise(failed)
        on_demand.add_catch(after, result_path="$.failure")
        first = self._submit(name, memory, self._spot_first)
        interrupted = sfn.Choice(self, f"Was{name}Interrupted")
        interrupted.when(_interrupted(), on_demand.next(done)).otherwise(after)
        first.add_catch(interrupted, result_path="$.failure")
        return first.next(done)

    def _submit(self, construct_id: str, memory: int, queue: batch.JobQueue) -> tasks.BatchSubmitJob:
        return tasks.BatchSubmitJob(
            self,
            construct_id,
            job_definition_arn=self._job.job_definition_arn,
            job_queue_arn=queue.job_queue_arn,
            job_name=sfn.JsonPath.string_at("$.name"),
            # The image's entry point is `python -m compile`; Batch can only add arguments to it.
            container_overrides=tasks.BatchContainerOverrides(
                command=sfn.JsonPath.list_at("$.arguments"), memory=cdk.Size.gibibytes(memory)
            ),
            result_path=sfn.JsonPath.DISCARD,
        )


def _killed_for_memory() -> sfn.Condition:
    return _cause_says(f'"ExitCode":{KILLED_FOR_MEMORY}*', f'"ExitCode": {KILLED_FOR_MEMORY}*')


def _interrupted() -> sfn.Condition:
    return _cause_says(f'"StatusReason":"{INTERRUPTED}*', f'"StatusReason": "{INTERRUPTED}*')


def _cause_says(*patterns: str) -> sfn.Condition:
    """The cause of a failed job is the job as JSON; matched as text, because some causes are not JSON."""
    return sfn.Condition.or_(
        *(sfn.Condition.string_matches("$.failure.Cause", f"*{pattern}") for pattern in patterns)
    )
