"""Compiling what somebody puts into S3: s3://BUCKET/requests/NAME.json.

    S3 ─► EventBridge ─► this state machine ─► one Batch job, `python -m compile intake REQUEST`
                                                  ├─ refused: NAME.json.answer says why, nothing runs
                                                  └─ taken:   NAME.json.answer names the execution of the
                                                              rows' machine, which the job has started

The job does what ``traceship compile --zoo --runner batch`` does on somebody's machine
(compile/batch/intake.py): it checks the request against a list of what may be asked, finds the models
below models/, and starts an execution unless the rows are compiled, running, or given up. Nothing of a
request but the object's name reaches a command line, and that behind ``s3://BUCKET/``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_logs as logs
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks

from infra import names
from infra.alarms import Watch
from infra.artifacts_stack import ArtifactsStack
from infra.compile_compute import TASKS, Compute
from infra.compile_machine import make_machine, submit_again
from infra.roles import (
    follow_executions,
    record_executions,
    run_batch_jobs,
    service_role,
    start_executions,
    take_requests,
)
from infra.stack import ProjectStack
from settings.model import CompileAws

if TYPE_CHECKING:
    from aws_cdk import aws_iam as iam

PATTERN = "requests/*.json"
"""The answer beside a request does not end in .json, so that it is not taken for a request."""
CPU, MEMORY_GIB = 4, 16
"""A model is read once, to hash it; its configuration is all that is kept in memory."""
LIMIT = cdk.Duration.hours(1)
STATES, EVENTS = "states.amazonaws.com", "events.amazonaws.com"


def add_requests(
    stack: ProjectStack,
    *,
    aws: CompileAws,
    artifacts: ArtifactsStack,
    compute: Compute,
    rows: sfn.StateMachine,
    log: logs.ILogGroup,
    watch: Watch,
) -> None:
    """The rule, the machine, the job, and the alarms on both."""
    machine = _machine(stack, aws=aws, artifacts=artifacts, compute=compute, rows=rows, log=log)
    may_start = service_role(
        stack, "RequestsRole", EVENTS, "Compile requests", start_executions(machine.state_machine_arn)
    )
    rule = events.Rule(
        stack,
        "Requests",
        description=f"Compile requests in the bucket of {stack.project}",
        event_pattern=events.EventPattern(
            source=["aws.s3"],
            detail_type=["Object Created"],
            detail={
                "bucket": {"name": [artifacts.bucket_name]},
                "object": {"key": [{"wildcard": PATTERN}]},
            },
        ),
    )
    rule.add_target(targets.SfnStateMachine(machine, role=may_start.without_policy_updates()))
    _watch(watch, machine, rule)


def _machine(
    stack: ProjectStack,
    *,
    aws: CompileAws,
    artifacts: ArtifactsStack,
    compute: Compute,
    rows: sfn.StateMachine,
    log: logs.ILogGroup,
) -> sfn.StateMachine:
    may = [
        *take_requests(artifacts),
        *start_executions(rows.state_machine_arn),
        *follow_executions(stack, names.rows_machine(stack.project)),
    ]
    role = service_role(stack, "IntakeRole", TASKS, "Takes compile requests", may)
    job = compute.job("Intake", role=role, cpu=CPU, memory_gib=MEMORY_GIB, limit=LIMIT)
    place = sfn.JsonPath.format(
        "s3://{}/{}",
        sfn.JsonPath.string_at("$.detail.bucket.name"),
        sfn.JsonPath.string_at("$.detail.object.key"),
    )
    words = sfn.JsonPath.array(
        *("intake", place, "--machine", rows.state_machine_arn, "--image", compute.image_uri),
        *("--give-up-after", str(aws.give_up_after)),
    )
    submit = tasks.BatchSubmitJob(
        stack,
        "TakeRequest",
        job_definition_arn=job.job_definition_arn,
        job_queue_arn=compute.spot_first.job_queue_arn,
        job_name=f"{stack.project}-intake",
        container_overrides=tasks.BatchContainerOverrides(command=sfn.JsonPath.list_at(words)),
        result_path=sfn.JsonPath.DISCARD,
    )
    # Spot may take the machine, and S3 may be slow to answer; a request that is refused ends well.
    submit_again(submit)
    submit.add_retry(errors=["States.TaskFailed"], max_attempts=2, interval=cdk.Duration.minutes(1))
    return make_machine(
        stack,
        "RequestsMachine",
        name=names.requests_machine(stack.project),
        definition=submit,
        role=_machine_role(stack, compute, job.job_definition_arn),
        log=log,
        limit=cdk.Duration.hours(4),
    )


def _machine_role(stack: ProjectStack, compute: Compute, job: str) -> iam.IRole:
    may = [*run_batch_jobs(compute.queue_arns, job, stack), *record_executions()]
    role = service_role(stack, "RequestsMachineRole", STATES, "Compile requests' state machine", may)
    return role.without_policy_updates()


def _watch(watch: Watch, machine: sfn.StateMachine, rule: events.Rule) -> None:
    """A request that nobody took leaves no answer beside it, so somebody must be told."""
    lost = cloudwatch.Metric(
        namespace="AWS/Events",
        metric_name="FailedInvocations",
        dimensions_map={"RuleName": rule.rule_name},
        statistic="Sum",
    )
    watch.once("RequestsLost", lost, "EventBridge could not hand a compile request to its state machine")
    failed = machine.metric_failed(statistic="Sum")
    watch.once("RequestsFailed", failed, "A compile request was neither taken nor refused")
    # Not among those that failed: AWS counts it apart.
    stuck = machine.metric_timed_out(statistic="Sum")
    watch.once("RequestsStuck", stuck, "A compile request had neither a machine nor an answer for four hours")
