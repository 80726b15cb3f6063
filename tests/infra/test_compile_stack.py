"""Compiling on AWS: the ladder of the state machine, and what its roles may do."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from compile.__main__ import BadArguments, parse
from infra.compile_stack import MEMORY_LADDER_GIB
from tests.infra.worlds import CHECKOUT, DIGEST, World, text_of


def _machine(world: World) -> dict[str, Any]:
    definition: dict[str, Any] = json.loads(
        text_of(world.properties("compile", "AWS::StepFunctions::StateMachine")["DefinitionString"])
    )
    return definition


def _job(world: World) -> dict[str, Any]:
    container: dict[str, Any] = world.properties("compile", "AWS::Batch::JobDefinition")[
        "ContainerProperties"
    ]
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
    assert choice["Default"] == "Compile32GiB"
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
    submit = next(s for s in cpu.policy("compile", "MachineRole") if s["Action"] == "batch:SubmitJob")

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
    machine = cpu.properties("compile", "AWS::StepFunctions::StateMachine")

    assert machine["LoggingConfiguration"]["Level"] == "ALL"
    assert machine["LoggingConfiguration"]["IncludeExecutionData"] is True
    assert machine["TracingConfiguration"] == {"Enabled": True}
    assert _job(cpu)["LogConfiguration"]["LogDriver"] == "awslogs"


def test_the_release_is_not_in_the_compile_stack(cpu: World) -> None:
    """Shipping a release must not change the stack that compiles the next one."""
    assert DIGEST not in json.dumps(cpu.templates["compile"])
