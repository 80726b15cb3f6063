"""The compile stack at work: a state machine hands rows to Batch, whose jobs are real compiles."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from artifact.verify import verify
from tests.e2e.conftest import Demo
from tests.kit.models import tiny_model

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

FINISHED = {"SUCCEEDED", "FAILED", "ABORTED", "TIMED_OUT"}
BUCKET = "demo-artifacts-000000000000-us-east-1"


def _until(look: Callable[[], Any]) -> Any:
    """What ``look`` finds, once it does."""
    pause = threading.Event()
    while not (found := look()):
        pause.wait(0.3)  # neither Batch nor Step Functions tells when something happened
    return found


def _outputs(demo: Demo) -> dict[str, str]:
    stack = demo.aws.client("cloudformation").describe_stacks(StackName="demo-compile")["Stacks"][0]
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny")


def test_a_zoo_is_compiled_by_jobs_and_a_rerun_compiles_what_is_left(
    demo: Demo, model: Path, tmp_path: Path
) -> None:
    """Models go up, artifacts come down; a row that fails says why and does not stop the other."""
    zoo = tmp_path / "zoo.toml"
    zoo.write_text(
        f"[defaults]\nmodel = '{model}'\ntask = 'feature-extraction'\ntarget = 'cpu'\n"
        "[row.good]\nbucket = ['1x16', '2x8']\npooling = 'mean'\nnormalize = true\n"
        "[row.bad]\nbucket = '1x999'\n"
    )
    command = ("compile", "--zoo", zoo, "--runner", "batch", "--out", tmp_path / "out", "--json")

    first, second = demo.command(*command), demo.command(*command)

    assert (first.code, first.error["id"]) == (1, "zoo-incomplete"), first.stderr
    good, bad = first.json
    assert (good["status"], bad["status"], bad["error"]["id"]) == ("compiled", "failed", "bucket-too-long")
    manifest = verify(tmp_path / "out/good", digest=good["result"]["digest"]).manifest
    assert [(b.batch, b.length) for b in manifest.buckets] == [(2, 8), (1, 16)]
    assert manifest.outputs[0].name == "sentence_embedding"
    assert "good: traced 1x16" in first.stderr
    assert [row["status"] for row in second.json] == ["was there", "failed"]


def test_a_job_gives_the_artifact_that_this_machine_gives(demo: Demo, model: Path, tmp_path: Path) -> None:
    """The same entry point, options and versions: the same digest."""
    options = ("--model", model, "--task", "feature-extraction", "--target", "cpu", "--bucket", "1x24")

    there = demo.command("compile", *options, "--runner", "batch", "--out", tmp_path / "there", "--json")
    here = demo.command("compile", *options, "--no-cache", "--out", tmp_path / "here", "--json")

    assert (there.code, here.code) == (0, 0), there.stderr + here.stderr
    assert there.json["digest"] == here.json["digest"]


def test_a_model_whose_buckets_are_jobs_is_the_same_artifact(demo: Demo, model: Path, tmp_path: Path) -> None:
    """Two jobs trace side by side, a third proves and packages what they left."""
    options = ("--model", model, "--task", "feature-extraction", "--target", "cpu")
    options += ("--bucket", "1x24", "--bucket", "2x16")

    there = demo.command(
        *("compile", *options, "--runner", "batch", "--spread", "--out", tmp_path / "there", "--json")
    )
    here = demo.command("compile", *options, "--no-cache", "--out", tmp_path / "here", "--json")

    assert (there.code, here.code) == (0, 0), there.stderr + here.stderr
    assert there.json["digest"] == here.json["digest"]
    for bucket in ("1x24", "2x16"):
        assert f"feature-extraction--{bucket}: traced {bucket}" in there.stderr


def test_a_job_that_spot_let_down_is_done_on_demand(demo: Demo, model: Path) -> None:
    """Another job of the same name in the other queue; the row is done."""
    batch, states, outputs = demo.aws.client("batch"), demo.aws.client("stepfunctions"), _outputs(demo)
    for path in model.iterdir():
        demo.aws.client("s3").upload_file(str(path), BUCKET, f"models/tiny/{path.name}")
    words = ["--model", f"s3://{BUCKET}/models/tiny", "--task", "feature-extraction", "--target", "cpu"]
    words += ["--bucket", "1x8", "--out", f"s3://{BUCKET}/compiled/interrupted"]
    rows = json.dumps({"items": [{"name": "interrupted", "arguments": words, "parts": []}]})

    def jobs(queue: str) -> Any:
        asked = [{"name": "JOB_NAME", "values": ["interrupted"]}]
        return batch.list_jobs(jobQueue=queue, filters=asked)["jobSummaryList"]

    def execution() -> Any:
        found = states.describe_execution(executionArn=run)
        return found if found["status"] in FINISHED else None

    spot_first, on_demand = outputs["JobQueues"].split(",")
    run = states.start_execution(stateMachineArn=outputs["StateMachineArn"], input=rows)["executionArn"]
    (job,) = _until(lambda: jobs(spot_first))
    batch.terminate_job(jobId=job["jobId"], reason="Your Spot Task was interrupted.")
    ended = _until(execution)

    assert ended["status"] == "SUCCEEDED", ended
    assert [job["status"] for job in jobs(spot_first)] == ["FAILED"]
    assert [job["status"] for job in jobs(on_demand)] == ["SUCCEEDED"]
    keys = demo.aws.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="compiled/interrupted/")["Contents"]
    assert "compiled/interrupted/manifest.json" in {row["Key"] for row in keys}
