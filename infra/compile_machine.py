"""The state machine of the compile stack: each row's parts, then the row, up a ladder of memory.

A row says with ``memory`` (GiB) which size sufficed for its like before; without it the ladder starts
at the bottom. Each job is told its size, so that it can note the one that sufficed, and whether a
larger one is left, so that a death without a word can be told from a row that fits nowhere
(compile/batch/attempts.py).
"""

from __future__ import annotations

from itertools import pairwise

import aws_cdk as cdk
from aws_cdk import aws_batch as batch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks

from infra.compile_compute import Compute
from infra.stack import ProjectStack, without_said_dependency

KILLED_FOR_MEMORY = 137
"""Exit code of a job that was killed, or that says so of a child of its own (compile/batch/attempts.py)."""
MEMORY_VARIABLE = "TRACESHIP_MEMORY_GIB"
LAST_VARIABLE = "TRACESHIP_LAST_MEMORY"
"""What a job reads of its rung (compile/batch/attempts.py)."""


def make_machine(
    stack: ProjectStack,
    construct_id: str,
    *,
    name: str,
    definition: sfn.IChainable,
    role: iam.IRole,
    log: logs.ILogGroup,
    limit: cdk.Duration,
) -> sfn.StateMachine:
    """A state machine that logs every state with its data and can be traced."""
    machine = sfn.StateMachine(
        stack,
        construct_id,
        state_machine_name=name,
        role=role,
        definition_body=sfn.DefinitionBody.from_chainable(definition),
        timeout=limit,
        tracing_enabled=True,
        logs=sfn.LogOptions(destination=log, level=sfn.LogLevel.ALL, include_execution_data=True),
        removal_policy=cdk.RemovalPolicy.DESTROY,
    )
    without_said_dependency(machine)
    return machine


class RowsMachine:
    """Builds the definition of the machine that compiles rows."""

    def __init__(
        self, stack: ProjectStack, *, compute: Compute, job: batch.EcsJobDefinition, max_parallel: int
    ) -> None:
        self._stack, self._compute, self._job, self._max_parallel = stack, compute, job, max_parallel
        self._ladder_gib = compute.kind.ladder_gib

    def definition(self) -> sfn.IChainable:
        """All rows, then whether any of them failed."""
        rows = sfn.Map(
            self._stack,
            "EachRow",
            items_path="$.items",
            max_concurrency=self._max_parallel,
            result_path="$.rows",
        )
        rows.item_processor(self._row())
        find = {"failed.$": "$.rows[?(@.status=='failed')]"}
        failed = sfn.Pass(self._stack, "FindFailures", parameters=find)
        some_failed = sfn.Fail(
            self._stack,
            "SomeRowsFailed",
            error="RowsFailed",
            cause="the jobs of the rows with status failed say why; the others are done",
        )
        end = sfn.Choice(self._stack, "AnyFailed").when(sfn.Condition.is_present("$.failed[0]"), some_failed)
        return rows.next(failed).next(end.otherwise(sfn.Succeed(self._stack, "AllDone")))

    def _row(self) -> sfn.IChainable:
        """The row's parts side by side, then the row itself unless one of them failed."""
        parts = sfn.Map(
            self._stack,
            "EachPart",
            items_path="$.parts",
            max_concurrency=self._max_parallel,
            result_path="$.traced",
        )
        parts.item_processor(self._ladder("Trace"))
        failed = sfn.Pass(
            self._stack,
            "FindFailedParts",
            parameters={"parts.$": "$.traced[?(@.status=='failed')]"},
            result_path="$.failed",
        )
        not_traced = sfn.Pass(
            self._stack,
            "SomePartsFailed",
            parameters={"name.$": "$.name", "status": "failed", "error.$": "$.failed.parts[0].error"},
        )
        some_failed = sfn.Condition.is_present("$.failed.parts[0]")
        end = sfn.Choice(self._stack, "AnyPartFailed").when(some_failed, not_traced)
        return parts.next(failed).next(end.otherwise(self._ladder("Compile")))

    def _ladder(self, doing: str) -> sfn.IChainable:
        """The first rung, with each next one reached only by a job that ran out of memory."""
        done = sfn.Pass(self._stack, f"{doing}Done", parameters={"name.$": "$.name", "status": "done"})
        failed = sfn.Pass(
            self._stack,
            f"{doing}Failed",
            parameters={
                "name.$": "$.name",
                "status": "failed",
                # The cause is the whole job, some kilobytes: a few dozen would be more than a state may
                # give on. It is in the execution's history, and the job with its log in Batch.
                "error.$": "$.failure.Error",
            },
        )
        rungs: dict[int, sfn.IChainable] = {}
        higher: sfn.IChainable = failed
        for memory in reversed(self._ladder_gib):
            higher = rungs[memory] = self._rung(doing, memory, higher=higher, done=done, failed=failed)
        return self._start(doing, rungs)

    def _start(self, doing: str, rungs: dict[int, sfn.IChainable]) -> sfn.IChainable:
        """The smallest size that is not below the row's ``memory``; the first where it says none."""
        start = sfn.Choice(self._stack, f"{doing}Memory")
        for lower, memory in reversed(list(pairwise(self._ladder_gib))):
            known = sfn.Condition.is_present("$.memory")
            start.when(sfn.Condition.and_(known, _more_than(lower)), rungs[memory])
        return start.otherwise(rungs[self._ladder_gib[0]])

    def _rung(
        self, doing: str, memory: int, *, higher: sfn.IChainable, done: sfn.IChainable, failed: sfn.IChainable
    ) -> sfn.IChainable:
        """A size of memory: Spot first, then on-demand after an interruption, then the next size.

        The interruption is looked for first, because it can end a job with the code of a memory kill.
        """
        name = f"{doing}{memory}GiB"
        on_demand = self._submit(f"{name}OnDemand", memory, self._compute.on_demand)
        after: sfn.IChainable = failed
        if higher is not failed:
            too_little = sfn.Choice(self._stack, f"Was{name}TooLittle")
            after = too_little.when(_killed_for_memory(), higher).otherwise(failed)
        on_demand.add_catch(after, result_path="$.failure")
        first = self._submit(name, memory, self._compute.spot_first)
        interrupted = sfn.Choice(self._stack, f"Was{name}Interrupted")
        interrupted.when(_interrupted(self._compute.kind.interrupted), on_demand.next(done)).otherwise(after)
        first.add_catch(interrupted, result_path="$.failure")
        return first.next(done)

    def _submit(self, construct_id: str, memory: int, queue: batch.JobQueue) -> tasks.BatchSubmitJob:
        submit = tasks.BatchSubmitJob(
            self._stack,
            construct_id,
            job_definition_arn=self._job.job_definition_arn,
            job_queue_arn=queue.job_queue_arn,
            job_name=sfn.JsonPath.string_at("$.name"),
            # The image's entry point is `python -m compile`; Batch can only add arguments to it.
            container_overrides=tasks.BatchContainerOverrides(
                command=sfn.JsonPath.list_at("$.arguments"),
                memory=cdk.Size.gibibytes(memory),
                environment={
                    MEMORY_VARIABLE: str(memory),
                    LAST_VARIABLE: str(memory == self._ladder_gib[-1]).lower(),
                },
            ),
            result_path=sfn.JsonPath.DISCARD,
        )
        submit_again(submit)
        return submit


def submit_again(submit: tasks.BatchSubmitJob) -> None:
    """Have a submission that Batch itself turned down made again; a job that failed is another error.

    Batch takes 50 submissions a second of an account, which a few large executions that start together
    exceed. Step Functions has had several names for what Batch answers: ASFHyP3/hyp3 (issues 911 and 1676),
    chanzuckerberg/single-cell-data-portal (pull request 7087).
    """
    submit.add_retry(
        errors=["Batch.TooManyRequestsException", "Batch.ServerException", "Batch.AWSBatchException"],
        interval=cdk.Duration.seconds(2),
        max_attempts=8,
        backoff_rate=2,
        max_delay=cdk.Duration.minutes(1),
        jitter_strategy=sfn.JitterType.FULL,
    )


def _killed_for_memory() -> sfn.Condition:
    return _cause_says(f'"ExitCode":{KILLED_FOR_MEMORY}*', f'"ExitCode": {KILLED_FOR_MEMORY}*')


def _interrupted(words: str) -> sfn.Condition:
    return _cause_says(f'"StatusReason":"{words}*', f'"StatusReason": "{words}*')


def _more_than(gib: int) -> sfn.Condition:
    return sfn.Condition.number_greater_than("$.memory", gib)


def _cause_says(*patterns: str) -> sfn.Condition:
    """The cause of a failed job is the job as JSON; matched as text, because some causes are not JSON."""
    return sfn.Condition.or_(
        *(sfn.Condition.string_matches("$.failure.Cause", f"*{pattern}") for pattern in patterns)
    )
