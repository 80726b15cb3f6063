"""Every day: are the releases in the bucket still what they were when they were published?

    Scheduler ─► state machine ─► one Batch job, `python -m compile reverify s3://BUCKET`

The job reads every manifest and every blob that one of them names, and compares them with the digests
by which they are called (compile/publish/reverify.py). Its role can read releases and nothing else, and
write nothing at all. Two alarms: a run that failed, and a day and a half without one that succeeded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import aws_cdk as cdk
from aws_cdk import aws_logs as logs
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks

from infra import names
from infra.alarms import Watch
from infra.artifacts_stack import ArtifactsStack
from infra.compile_compute import TASKS, Compute
from infra.compile_machine import make_machine, submit_again
from infra.roles import (
    read_releases,
    record_executions,
    run_batch_jobs,
    service_role,
    start_executions,
)
from infra.stack import ProjectStack

if TYPE_CHECKING:
    from aws_cdk import aws_iam as iam

CPU, MEMORY_GIB = 2, 8
"""Bytes are read in pieces and hashed; the network is what takes time."""
LIMIT = cdk.Duration.hours(6)
STATES, SCHEDULER = "states.amazonaws.com", "scheduler.amazonaws.com"
SILENCE = cdk.Duration.hours(12)
SILENT_PERIODS = 3
"""Three half days: a run that takes an hour longer than yesterday's is not missed."""


def add_reverify(
    stack: ProjectStack,
    *,
    hour: int,
    artifacts: ArtifactsStack,
    compute: Compute,
    log: logs.ILogGroup,
    watch: Watch,
) -> None:
    """The schedule, the machine, the job and the two alarms. ``hour`` is UTC."""
    role = service_role(stack, "ReverifyRole", TASKS, "Reads releases again", read_releases(artifacts))
    job = compute.job("Reverify", role=role, cpu=CPU, memory_gib=MEMORY_GIB, limit=LIMIT)
    submit = tasks.BatchSubmitJob(
        stack,
        "Reverify",
        job_definition_arn=job.job_definition_arn,
        job_queue_arn=compute.spot_first.job_queue_arn,
        job_name=f"{stack.project}-reverify",
        container_overrides=tasks.BatchContainerOverrides(
            command=["reverify", f"s3://{artifacts.bucket_name}"]
        ),
        result_path=sfn.JsonPath.DISCARD,
    )
    # Spot may take the machine; a release that differs will differ again.
    submit_again(submit)
    submit.add_retry(errors=["States.TaskFailed"], max_attempts=1, interval=cdk.Duration.minutes(1))
    machine = make_machine(
        stack,
        "ReverifyMachine",
        name=names.reverify_machine(stack.project),
        definition=submit,
        role=_machine_role(stack, compute, job.job_definition_arn),
        log=log,
        limit=cdk.Duration.hours(13),
    )
    _schedule(stack, hour, machine)
    _watch(watch, machine)


def _schedule(stack: ProjectStack, hour: int, machine: sfn.StateMachine) -> None:
    role = service_role(
        stack,
        "ReverifyScheduleRole",
        SCHEDULER,
        "Starts the daily look at releases",
        start_executions(machine.state_machine_arn),
    )
    scheduler.CfnSchedule(
        stack,
        "ReverifySchedule",
        description=f"Reads the releases of {stack.project} again",
        schedule_expression=f"cron(0 {hour} * * ? *)",
        schedule_expression_timezone="UTC",
        flexible_time_window=scheduler.CfnSchedule.FlexibleTimeWindowProperty(mode="OFF"),
        target=scheduler.CfnSchedule.TargetProperty(
            arn=machine.state_machine_arn,
            role_arn=role.role_arn,
            input="{}",
            retry_policy=scheduler.CfnSchedule.RetryPolicyProperty(
                maximum_event_age_in_seconds=3600, maximum_retry_attempts=5
            ),
        ),
    )


def _machine_role(stack: ProjectStack, compute: Compute, job: str) -> iam.IRole:
    may = [*run_batch_jobs(compute.queue_arns, job, stack), *record_executions()]
    role = service_role(stack, "ReverifyMachineRole", STATES, "Daily look at releases", may)
    return role.without_policy_updates()


def _watch(watch: Watch, machine: sfn.StateMachine) -> None:
    failed = machine.metric_failed(statistic="Sum")
    watch.once("ReverifyFailed", failed, "A release in the bucket is not what it was, or could not be read")
    done = machine.metric_succeeded(statistic="Sum", period=SILENCE)
    watch.silent("ReverifyMissing", done, SILENT_PERIODS, "Nobody has looked at the releases since yesterday")
