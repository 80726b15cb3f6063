"""Compiling on AWS: the ladder of the state machine, and what its roles may do."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from compile.__main__ import BadArguments, parse
from compile.batch import attempts
from compile.batch.intake import ANSWER
from infra.compile_compute import KINDS
from infra.compile_machine import KILLED_FOR_MEMORY, LAST_VARIABLE, MEMORY_VARIABLE
from infra.job_image import CONTEXT
from tests.infra.worlds import CHECKOUT, DIGEST, World, text_of

MEMORY_LADDER_GIB = KINDS["fargate"].ladder_gib


def _one(world: World, kind: str, beginning: str) -> dict[str, Any]:
    """The one resource of a type whose logical id is ``beginning`` and the CDK's eight digits."""
    named = {name[:-8]: body["Properties"] for name, body in world.all("compile", kind).items()}
    found: dict[str, Any] = named[beginning]
    return found


def _machine(world: World, name: str = "Machine") -> dict[str, Any]:
    properties = _one(world, "AWS::StepFunctions::StateMachine", name)
    definition: dict[str, Any] = json.loads(text_of(properties["DefinitionString"]))
    return definition


def _submits(state: Any) -> Iterator[dict[str, Any]]:
    """Every state that submits a job, however deep."""
    if isinstance(state, dict):
        if str(state.get("Resource", "")).endswith("batch:submitJob.sync"):
            yield state
        for inner in state.values():
            yield from _submits(inner)


def _job(world: World, name: str = "Job") -> dict[str, Any]:
    container: dict[str, Any] = _one(world, "AWS::Batch::JobDefinition", name)["ContainerProperties"]
    return container


def test_the_job_is_the_compile_entry_point(cpu: World) -> None:
    """The image starts `python -m compile`; a job without a row's arguments compiles nothing."""
    dockerfile = (CHECKOUT / "compile/Dockerfile").read_text()

    assert 'ENTRYPOINT ["python", "-m", "compile"]' in dockerfile
    assert "Command" not in _job(cpu)
    with pytest.raises(BadArguments):
        parse([])


def test_the_image_is_the_locks_by_digest(cpu: World, foundation: World) -> None:
    """Before there is a lock, the project's own repository with the placeholder's digest."""
    wanted = f"111122223333.dkr.ecr.eu-west-1.amazonaws.com/traceship/compile@sha256:{'0' * 64}"

    assert text_of(_job(cpu)["Image"]) == text_of(_job(foundation)["Image"]) == wanted


def test_each_row_goes_to_batch_with_its_own_name_and_arguments(cpu: World) -> None:
    """All the words of a compile request; a row that lacks them fails before a job is submitted."""
    rows = _machine(cpu)["States"]["EachRow"]
    submit = rows["ItemProcessor"]["States"]["Compile32GiB"]

    assert (rows["Type"], rows["ItemsPath"], rows["MaxConcurrency"]) == ("Map", "$.items", 10)
    assert submit["Resource"] == "arn:aws:states:::batch:submitJob.sync"
    assert submit["Parameters"]["JobName.$"] == "$.name"
    assert submit["Parameters"]["ContainerOverrides"]["Command.$"] == "$.arguments"


def test_a_rows_parts_go_to_batch_before_it_and_one_that_fails_fails_the_row(cpu: World) -> None:
    """Each part climbs the same ladder; the row itself is not tried with a bucket missing."""
    row = _machine(cpu)["States"]["EachRow"]["ItemProcessor"]
    parts = row["States"]["EachPart"]

    assert row["StartAt"] == "EachPart"
    assert (parts["ItemsPath"], parts["ResultPath"], parts["Next"]) == (
        "$.parts",
        "$.traced",
        "FindFailedParts",
    )
    ladder = parts["ItemProcessor"]["States"]
    assert {f"Trace{memory}GiB" for memory in MEMORY_LADDER_GIB} < set(ladder)
    assert ladder["Trace32GiB"]["Parameters"]["JobName.$"] == "$.name"
    assert ladder["WasTrace32GiBTooLittle"]["Choices"][0]["Next"] == "Trace64GiB"
    find, choice = row["States"]["FindFailedParts"], row["States"]["AnyPartFailed"]
    assert find["Parameters"] == {"parts.$": "$.traced[?(@.status=='failed')]"}
    assert choice["Choices"] == [
        {"Variable": "$.failed.parts[0]", "IsPresent": True, "Next": "SomePartsFailed"}
    ]
    assert choice["Default"] == "CompileMemory"
    told = row["States"]["SomePartsFailed"]
    assert told["End"] is True
    assert told["Parameters"]["status"] == "failed"


def test_the_outputs_say_what_a_client_needs(cpu: World) -> None:
    """State machine, queues, log group and the image by digest."""
    outputs = cpu.templates["compile"]["Outputs"]

    assert {"StateMachineArn", "JobQueues", "JobLogs", "CompileImage"} <= set(outputs)
    assert text_of(outputs["CompileImage"]["Value"]) == text_of(_job(cpu)["Image"])


def test_a_job_killed_for_memory_gets_the_next_size(cpu: World) -> None:
    """32, then 64, then 120 GiB; exit 137 is read from the job that Batch describes."""
    states = _machine(cpu)["States"]["EachRow"]["ItemProcessor"]["States"]

    for here, higher in pairwise(MEMORY_LADDER_GIB):
        for name in (f"Compile{here}GiB", f"Compile{here}GiBOnDemand"):
            memory = states[name]["Parameters"]["ContainerOverrides"]["ResourceRequirements"][0]
            assert memory == {"Type": "MEMORY", "Value": str(here * 1024)}
        choice = states[f"WasCompile{here}GiBTooLittle"]
        patterns = [rule["StringMatches"] for rule in choice["Choices"][0]["Or"]]
        assert patterns == ['*"ExitCode":137*', '*"ExitCode": 137*']
        assert choice["Choices"][0]["Next"] == f"Compile{higher}GiB"
        assert choice["Default"] == "CompileFailed"
        assert states[f"Compile{here}GiBOnDemand"]["Catch"][0]["Next"] == f"WasCompile{here}GiBTooLittle"


def _cause(
    exit_code: int, status_reason: str = "Essential container in task exited", **container: str
) -> str:
    """How Step Functions tells of a failed job: Batch's own description as compact JSON, some of its keys."""
    ended = {
        "ExitCode": exit_code,
        "LogStreamName": "job/default/5d3fe6",
        "NetworkInterfaces": [],
        **container,
    }
    attempt = {"Container": ended, "StatusReason": status_reason, "StoppedAt": 1591403929450}
    told = [{"Name": MEMORY_VARIABLE, "Value": "32"}, {"Name": LAST_VARIABLE, "Value": "false"}]
    job = {
        "Attempts": [attempt],
        "Container": {"Command": ["--bucket", "1x137"], "Environment": told, **ended, "Vcpus": 16},
        "JobName": "traceship-1-row",
        "RetryStrategy": {"Attempts": 1, "EvaluateOnExit": []},
        "Status": "FAILED",
        "StatusReason": status_reason,
        "Timeout": {"AttemptDurationSeconds": 21600},
    }
    return json.dumps(job, separators=(",", ":"))


def _next(choice: dict[str, Any], cause: str) -> str:
    """Where a Choice by StringMatches goes: ``*`` is any text, all else itself (Amazon States Language)."""
    for rule in choice["Choices"]:
        for pattern in (alternative["StringMatches"] for alternative in rule["Or"]):
            if re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), cause, flags=re.DOTALL):
                return str(rule["Next"])
    return str(choice["Default"])


@pytest.mark.parametrize(
    ("cause", "goes_to"),
    [
        (_cause(attempts.KILLED_FOR_MEMORY), "Compile64GiB"),
        (_cause(137, Reason="OutOfMemoryError: Container killed due to memory usage"), "Compile64GiB"),
        *((_cause(code), "CompileFailed") for code in (1, 2, 3, 130, 139)),
        (_cause(137, "Your Spot Task was interrupted."), "Compile32GiBOnDemand"),
        ("The job could not be submitted", "CompileFailed"),
    ],
    ids=["child", "itself", "1", "2", "3", "130", "139", "spot", "no JSON"],
)
def test_the_exit_code_of_a_job_that_ran_out_of_memory_climbs_and_no_other(
    cpu: World, cause: str, goes_to: str
) -> None:
    """By the machine's own patterns, on the cause as Step Functions writes it."""
    states = _machine(cpu)["States"]["EachRow"]["ItemProcessor"]["States"]

    reached = _next(states["WasCompile32GiBInterrupted"], cause)
    if reached == "WasCompile32GiBTooLittle":
        reached = _next(states[reached], cause)

    assert reached == goes_to


def test_an_interrupted_job_runs_once_more_where_nobody_interrupts(cpu: World) -> None:
    """Same memory, in the queue without Spot; looked for before the exit code is, which may be 137."""
    states = _machine(cpu)["States"]["EachRow"]["ItemProcessor"]["States"]

    for memory in MEMORY_LADDER_GIB:
        assert states[f"Compile{memory}GiB"]["Catch"] == [
            {
                "ErrorEquals": ["States.ALL"],
                "ResultPath": "$.failure",
                "Next": f"WasCompile{memory}GiBInterrupted",
            }
        ]
        choice = states[f"WasCompile{memory}GiBInterrupted"]
        (rule,) = choice["Choices"]
        patterns = [alternative["StringMatches"] for alternative in rule["Or"]]
        assert patterns == [
            '*"StatusReason":"Your Spot Task was interrupted*',
            '*"StatusReason": "Your Spot Task was interrupted*',
        ]
        assert rule["Next"] == f"Compile{memory}GiBOnDemand"
        assert choice["Default"] == (f"WasCompile{memory}GiBTooLittle" if memory < 120 else "CompileFailed")


def test_spot_is_tried_before_on_demand_and_one_queue_has_no_spot(cpu: World) -> None:
    """Batch tries a queue's environments in order; every environment is used."""
    environments = cpu.all("compile", "AWS::Batch::ComputeEnvironment")
    kinds = {
        name: resource["Properties"]["ComputeResources"]["Type"] for name, resource in environments.items()
    }
    states = _machine(cpu)["States"]["EachRow"]["ItemProcessor"]["States"]
    queues = {
        name: [
            kinds[order["ComputeEnvironment"]["Fn::GetAtt"][0]]
            for order in sorted(queue["Properties"]["ComputeEnvironmentOrder"], key=lambda o: o["Order"])
        ]
        for name, queue in cpu.all("compile", "AWS::Batch::JobQueue").items()
    }
    first = [states[f"Compile{memory}GiB"]["Parameters"]["JobQueue"] for memory in MEMORY_LADDER_GIB]
    second = [states[f"Compile{memory}GiBOnDemand"]["Parameters"]["JobQueue"] for memory in MEMORY_LADDER_GIB]

    assert sorted(queues.values()) == [["FARGATE"], ["FARGATE_SPOT", "FARGATE"]]
    for used, wanted in ((first, ["FARGATE_SPOT", "FARGATE"]), (second, ["FARGATE"])):
        (name,) = (name for name, kind in queues.items() if kind == wanted)
        assert all(name in queue for queue in used), used


@pytest.mark.parametrize("machine", ["Machine", "RequestsMachine", "ReverifyMachine"])
def test_a_submission_that_batch_turned_down_is_made_again(cpu: World, machine: str) -> None:
    """It takes 50 a second; a row must not fail for that. A job that failed is not run again."""
    submits = list(_submits(_machine(cpu, machine)))
    turned_down = ["Batch.TooManyRequestsException", "Batch.ServerException", "Batch.AWSBatchException"]

    assert submits
    for submit in submits:
        first, *others = submit["Retry"]
        assert sorted(first["ErrorEquals"]) == sorted(turned_down)
        assert (first["JitterStrategy"], first["BackoffRate"]) == ("FULL", 2)
        longest = sum(min(2 * 2**n, first["MaxDelaySeconds"]) for n in range(first["MaxAttempts"]))
        assert 120 <= longest <= 600
        assert machine != "Machine" or not others


def test_the_last_size_has_no_next(cpu: World) -> None:
    """120 GiB is what Fargate offers with 16 vCPUs; a failure there is recorded."""
    states = _machine(cpu)["States"]["EachRow"]["ItemProcessor"]["States"]

    assert states["Compile120GiBOnDemand"]["Catch"] == [
        {"ErrorEquals": ["States.ALL"], "ResultPath": "$.failure", "Next": "CompileFailed"}
    ]


def test_a_failed_row_does_not_stop_the_others_but_fails_the_run(cpu: World) -> None:
    """It becomes a small result, as many fit into a state; the run looks for such when all rows are done."""
    states = _machine(cpu)["States"]
    failed = states["EachRow"]["ItemProcessor"]["States"]["CompileFailed"]

    assert failed["Type"] == "Pass"
    assert failed["Parameters"] == {"name.$": "$.name", "status": "failed", "error.$": "$.failure.Error"}
    assert states["FindFailures"]["Parameters"] == {"failed.$": "$.rows[?(@.status=='failed')]"}
    assert states["AnyFailed"]["Choices"][0] == {
        "Variable": "$.failed[0]",
        "IsPresent": True,
        "Next": "SomeRowsFailed",
    }
    assert states["SomeRowsFailed"]["Type"] == "Fail"


def test_a_job_reads_models_and_leaves_results_but_touches_no_release(cpu: World) -> None:
    """Two prefixes of the bucket and the key for that bucket; nothing else."""
    statements = cpu.policy("compile", "JobRolePolicy")
    by_action = {json.dumps(s["Action"]): text_of(s["Resource"]) for s in statements}

    assert set(by_action) == {
        '"s3:ListBucket"',
        '"s3:GetObject"',
        '"s3:PutObject"',
        '["kms:Decrypt", "kms:GenerateDataKey"]',
    }
    listing = next(s for s in statements if s["Action"] == "s3:ListBucket")
    assert listing["Condition"] == {"StringLike": {"s3:prefix": ["models/*", "compiled/*"]}}
    assert "/models/*" in by_action['"s3:GetObject"']
    assert "/compiled/*" in by_action['"s3:GetObject"']
    assert by_action['"s3:PutObject"'].endswith("/compiled/*")
    assert not any("releases/" in r or "blobs/" in r for r in by_action.values())


def test_the_state_machine_submits_this_job_to_these_queues_only(cpu: World) -> None:
    """No wildcard where Batch knows resources."""
    submit = next(s for s in cpu.policy("compile", "MachineRolePolicy") if s["Action"] == "batch:SubmitJob")

    assert [next(iter(r)) for r in submit["Resource"]] == ["Fn::GetAtt", "Fn::GetAtt", "Ref"]


def test_jobs_run_in_isolated_subnets_without_an_address(cpu: World) -> None:
    """They reach AWS by the private endpoints and nobody reaches them."""
    environments = cpu.all("compile", "AWS::Batch::ComputeEnvironment").values()
    group = cpu.properties("compile", "AWS::EC2::SecurityGroup")

    assert len(environments) == 2
    for environment in environments:
        resources = environment["Properties"]["ComputeResources"]
        assert all("IsolatedSubnet" in subnet["Fn::ImportValue"] for subnet in resources["Subnets"])
        assert len(resources["SecurityGroupIds"]) == 1
    assert _job(cpu)["NetworkConfiguration"] == {"AssignPublicIp": "DISABLED"}
    assert "SecurityGroupIngress" not in group
    assert [(r["FromPort"], r["ToPort"]) for r in group["SecurityGroupEgress"]] == [(443, 443)]


def test_every_state_is_logged_and_traced(cpu: World) -> None:
    """With data, to the encrypted log group that the jobs write to."""
    machines = [m["Properties"] for m in cpu.all("compile", "AWS::StepFunctions::StateMachine").values()]

    assert len(machines) == 3
    for machine in machines:
        assert machine["LoggingConfiguration"]["Level"] == "ALL"
        assert machine["LoggingConfiguration"]["IncludeExecutionData"] is True
        assert machine["TracingConfiguration"] == {"Enabled": True}
    assert _job(cpu)["LogConfiguration"]["LogDriver"] == "awslogs"


def test_the_release_is_not_in_the_compile_stack(cpu: World) -> None:
    """Shipping a release must not change the stack that compiles the next one."""
    assert DIGEST not in json.dumps(cpu.templates["compile"])


def test_a_row_begins_with_the_memory_that_it_names(cpu: World) -> None:
    """The smallest size that is not below it; without one at the bottom, whatever else the row holds."""
    states = _machine(cpu)["States"]["EachRow"]["ItemProcessor"]["States"]
    ladder = states["EachPart"]["ItemProcessor"]["States"]

    for doing, found in (("Compile", states), ("Trace", ladder)):
        choice = found[f"{doing}Memory"]
        assert [(rule["And"][1]["NumericGreaterThan"], rule["Next"]) for rule in choice["Choices"]] == [
            (64, f"{doing}120GiB"),
            (32, f"{doing}64GiB"),
        ]
        assert all(
            rule["And"][0] == {"Variable": "$.memory", "IsPresent": True} for rule in choice["Choices"]
        )
        assert choice["Default"] == f"{doing}32GiB"


def test_a_job_is_told_its_memory_and_whether_more_is_left(cpu: World) -> None:
    """By the names that the job reads."""
    states = _machine(cpu)["States"]["EachRow"]["ItemProcessor"]["States"]

    assert (attempts.MEMORY_VARIABLE, attempts.LAST_VARIABLE) == (MEMORY_VARIABLE, LAST_VARIABLE)
    assert attempts.KILLED_FOR_MEMORY == KILLED_FOR_MEMORY
    for memory in MEMORY_LADDER_GIB:
        for name in (f"Compile{memory}GiB", f"Compile{memory}GiBOnDemand"):
            told = states[name]["Parameters"]["ContainerOverrides"]["Environment"]
            assert {row["Name"]: row["Value"] for row in told} == {
                MEMORY_VARIABLE: str(memory),
                LAST_VARIABLE: "true" if memory == MEMORY_LADDER_GIB[-1] else "false",
            }


def test_no_more_jobs_run_than_the_settings_say(cpu: World, existing: World) -> None:
    """The map's limit and the environments' processors, 16 a job."""
    for world, jobs in ((cpu, 10), (existing, 4)):
        rows = _machine(world)["States"]["EachRow"]
        assert rows["MaxConcurrency"] == jobs
        assert rows["ItemProcessor"]["States"]["EachPart"]["MaxConcurrency"] == jobs
        for environment in world.all("compile", "AWS::Batch::ComputeEnvironment").values():
            assert environment["Properties"]["ComputeResources"]["MaxvCpus"] == 16 * jobs


def test_on_ec2_jobs_run_on_instances_of_the_pinned_image(existing: World) -> None:
    """Spot, then on-demand; x86 types of the settings; none of them stays when there is no job."""
    environments = existing.all("compile", "AWS::Batch::ComputeEnvironment").values()
    given = [environment["Properties"]["ComputeResources"] for environment in environments]

    assert [resources["Type"] for resources in given] == ["SPOT", "EC2"]
    for resources in given:
        assert [c["ImageIdOverride"] for c in resources["Ec2Configuration"]] == ["ami-0123456789abcdef0"]
        assert resources["InstanceTypes"] == ["c6i.4xlarge", "m6i.4xlarge", "r6i.4xlarge"]
        assert resources["MinvCpus"] == 0
        assert resources["Subnets"] == ["subnet-0000000a", "subnet-0000000c"]
    job = _one(existing, "AWS::Batch::JobDefinition", "Job")
    assert job["PlatformCapabilities"] == ["EC2"]
    assert job["ContainerProperties"].get("Privileged") in (None, False)


def test_on_ec2_the_ladder_is_what_the_types_leave_and_spot_speaks_other_words(existing: World) -> None:
    """Below 32, 64 and 128 GiB, because the system and the agent need some."""
    states = _machine(existing)["States"]["EachRow"]["ItemProcessor"]["States"]

    assert KINDS["ec2"].ladder_gib == (28, 58, 116)
    assert {f"Compile{memory}GiB" for memory in KINDS["ec2"].ladder_gib} < set(states)
    patterns = [rule["StringMatches"] for rule in states["WasCompile28GiBInterrupted"]["Choices"][0]["Or"]]
    assert patterns == ['*"StatusReason":"Host EC2*', '*"StatusReason": "Host EC2*']


def test_an_instance_for_jobs_is_set_up_as_one_of_the_fleet_is(existing: World) -> None:
    """Session tokens, one hop, an encrypted disk, no user data."""
    data = existing.properties("compile", "AWS::EC2::LaunchTemplate")["LaunchTemplateData"]

    assert data["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
    assert data["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True
    assert "UserData" not in data
    assert "KeyName" not in data


def test_a_built_image_is_the_asset_of_the_dockerfile(existing: World) -> None:
    """By a tag that is the hash of what goes into it: two folders of the checkout, and no test or cache."""
    image = text_of(_job(existing)["Image"])
    (assets,) = existing.folder.glob("*-compile.assets.json")
    (asset,) = json.loads(assets.read_text())["dockerImages"].values()

    (tag,) = {where["imageTag"] for where in asset["destinations"].values()}
    assert image.endswith(f":{tag}")
    assert asset["source"]["dockerFile"] == "compile/Dockerfile"
    staged = existing.folder / asset["source"]["directory"]
    assert {path.name for path in staged.iterdir()} - {".dockerignore"} == {"artifact", "compile"}
    assert not list(staged.rglob("__pycache__"))
    copied = [line.split()[1] for line in (CHECKOUT / "compile/Dockerfile").read_text().splitlines()
              if line.startswith("COPY ")]  # fmt: skip
    assert {name.partition("/")[0] for name in copied} == set(CONTEXT)


def test_only_a_request_starts_the_intake(cpu: World, foundation: World, inf1: World) -> None:
    """A new .json below requests/ of this bucket; neither an answer nor a result. Unasked there is none."""
    rule = cpu.properties("compile", "AWS::Events::Rule")
    (keys,) = rule["EventPattern"]["detail"]["object"]["key"]

    assert rule["EventPattern"]["source"] == ["aws.s3"]
    assert text_of(rule["EventPattern"]["detail"]["bucket"]["name"]) == (
        "traceship-artifacts-111122223333-eu-west-1"
    )
    pattern = keys["wildcard"]
    assert fnmatch.fnmatchcase("requests/one.json", pattern)
    for other in (f"requests/one.json{ANSWER}", "compiled/x.json", "releases/a/manifest.json"):
        assert not fnmatch.fnmatchcase(other, pattern)
    assert len(rule["Targets"]) == 1
    assert inf1.all("compile", "AWS::Events::Rule") == {}
    assert foundation.all("artifacts", "AWS::S3::Bucket")


def test_nothing_of_a_request_but_its_place_reaches_the_intake(cpu: World) -> None:
    """The bucket and key of the event, joined behind s3://; all else is the stack's."""
    submit = _machine(cpu, "RequestsMachine")["States"]["TakeRequest"]
    command = submit["Parameters"]["ContainerOverrides"]["Command.$"]

    assert command.startswith(
        "States.Array('intake', States.Format('s3://{}/{}', $.detail.bucket.name, $.detail.object.key), "
        "'--machine', "
    )
    assert command.count("$.") == 2
    assert command.endswith("'--give-up-after', '3')")
    assert text_of(cpu.templates["compile"]["Outputs"]["CompileImage"]["Value"]) in command


def test_releases_are_looked_at_daily_and_somebody_is_told(cpu: World) -> None:
    """At the hour of the settings, UTC; a run that fails and a day without one are alarms with a receiver."""
    schedule = cpu.properties("compile", "AWS::Scheduler::Schedule")
    submit = _machine(cpu, "ReverifyMachine")["States"]["Reverify"]
    alarms = {a["Properties"]["MetricName"] for a in cpu.all("compile", "AWS::CloudWatch::Alarm").values()}

    assert (schedule["ScheduleExpression"], schedule["ScheduleExpressionTimezone"]) == (
        "cron(0 3 * * ? *)",
        "UTC",
    )
    command = submit["Parameters"]["ContainerOverrides"]["Command"]
    assert command == ["reverify", "s3://traceship-artifacts-111122223333-eu-west-1"]
    assert alarms == {
        "ExecutionsFailed",
        "ExecutionsSucceeded",
        "ExecutionsTimedOut",
        "FailedInvocations",
    }
    for alarm in cpu.all("compile", "AWS::CloudWatch::Alarm").values():
        assert alarm["Properties"]["AlarmActions"]


def test_what_is_not_asked_for_is_not_there(inf1: World) -> None:
    """No rule, no schedule, no topic, one state machine, one job definition."""
    kinds = [body["Type"] for body in inf1.templates["compile"]["Resources"].values()]

    assert not {"AWS::Events::Rule", "AWS::Scheduler::Schedule", "AWS::SNS::Topic"} & set(kinds)
    assert kinds.count("AWS::StepFunctions::StateMachine") == kinds.count("AWS::Batch::JobDefinition") == 1
