"""Jobs note their attempts; rows that fail for good are given up, and memory that sufficed is remembered."""

from __future__ import annotations

import dataclasses
import datetime
import email.utils
import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from artifact.aws import AwsDenied, AwsUnreachable
from artifact.errors import TraceshipError, UsageError
from compile.__main__ import main
from compile.backends.neuron_errors import CompilerOutOfMemory
from compile.batch import given_up as module
from compile.batch.attempts import Attempt, attempts_prefix, is_passing, noted, too_little
from compile.batch.given_up import NothingGivenUp, RowGivenUp, all_given_up, clear
from compile.batch.rungs import memory_key
from compile.batch.runner import Taken, compile_rows
from compile.batch.upload import _goes_soon
from compile.children import ChildFailed
from compile.durable import NoRoom
from compile.preflight import BucketTooLong
from compile.request import Shape
from compile.source import resolve
from tests.compile.batch.conftest import World
from tests.compile.batch.world import BUCKET
from tests.compile.world import make_request

OUT = f"s3://{BUCKET}/compiled/abc"
REMEMBER = f"s3://{BUCKET}/compiled/memory/d.json"
JOB = {"AWS_BATCH_JOB_ID": "job-1", "TRACESHIP_MEMORY_GIB": "64", "TRACESHIP_LAST_MEMORY": "false"}
TOO_LONG = BucketTooLong.__new__(BucketTooLong)
UsageError.__init__(TOO_LONG, what="a bucket is too long", why="64 positions", fix="shorter")


def _read(world: World, key: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(world.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    return found


def _attempt(world: World, place: str, job: str, **changes: Any) -> None:
    """An attempt that lies there."""
    attempt = Attempt(**{"job": job, "status": "failed", "memory_gib": 32, "last_memory": False, **changes})
    body = json.dumps(dataclasses_of(attempt)).encode()
    world.s3.put_object(Bucket=BUCKET, Key=f"compiled/attempts/{place}/{job}.json", Body=body)


def dataclasses_of(attempt: Attempt) -> dict[str, Any]:
    return {name: getattr(attempt, name) for name in attempt.__struct_fields__}


def test_a_job_that_ends_well_leaves_that_and_its_memory(world: World) -> None:
    """``started`` while it works, ``done`` after it."""
    with noted(OUT, REMEMBER, JOB):
        assert _read(world, "compiled/attempts/abc/job-1.json")["status"] == "started"

    note = _read(world, "compiled/attempts/abc/job-1.json")
    assert (note["status"], note["memory_gib"], note["lasting"]) == ("done", 64, False)
    assert _read(world, "compiled/memory/d.json")["gib"] == 64


def test_the_memory_is_not_written_again_when_it_is_the_same(world: World) -> None:
    """It gets old with the results, and is forgotten with them."""
    with noted(OUT, REMEMBER, JOB):
        pass
    before = world.s3.head_object(Bucket=BUCKET, Key="compiled/memory/d.json")["LastModified"]
    world.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})

    with noted(OUT, REMEMBER, JOB):
        pass

    versions = world.s3.list_object_versions(Bucket=BUCKET, Prefix="compiled/memory/")["Versions"]
    assert [version["LastModified"] for version in versions] == [before]


@pytest.mark.parametrize(
    ("error", "status", "lasting"),
    [
        (TOO_LONG, "failed", True),
        (ValueError("nobody foresaw it"), "failed", True),
        (NoRoom(path="/tmp/x", why="full"), "failed", False),
        (OSError(28, "No space left on device"), "failed", False),
        (AwsUnreachable(doing="read", why="silence", local=False), "failed", False),
        (AwsDenied(doing="read", why="no"), "failed", False),
        (KeyboardInterrupt(), "interrupted", False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_a_failure_is_noted_with_whether_repeating_could_mend_it(
    world: World, error: BaseException, status: str, lasting: bool
) -> None:
    """The error itself goes on; no memory is remembered."""
    with pytest.raises(type(error)), noted(OUT, REMEMBER, JOB):
        raise error

    note = _read(world, "compiled/attempts/abc/job-1.json")
    assert (note["status"], note["lasting"]) == (status, lasting)
    assert is_passing(error) is not lasting
    assert world.keys("compiled/memory/") == []


@pytest.mark.parametrize(
    ("rung", "lasting", "exit_code"),
    [
        ({"TRACESHIP_MEMORY_GIB": "64", "TRACESHIP_LAST_MEMORY": "false"}, False, 137),
        ({"TRACESHIP_MEMORY_GIB": "120", "TRACESHIP_LAST_MEMORY": "true"}, True, 137),
        ({}, False, 1),
    ],
    ids=["middle", "last", "no ladder"],
)
@pytest.mark.parametrize(
    "error",
    [CompilerOutOfMemory(bucket="b1_s16"), ChildFailed(job="comparison", exit_code=-9, log="")],
    ids=["compiler", "child"],
)
def test_too_little_memory_lasts_only_where_there_is_no_more(
    world: World, error: TraceshipError, rung: dict[str, str], lasting: bool, exit_code: int
) -> None:
    """Elsewhere the next size is tried; the note has the code that the job ends with."""
    environ = {"AWS_BATCH_JOB_ID": "job-1", **rung}

    with pytest.raises(type(error)), noted(OUT, REMEMBER, environ):
        raise error

    note = _read(world, "compiled/attempts/abc/job-1.json")
    assert (note["status"], note["id"]) == ("failed", error.id)
    assert (note["lasting"], note["exit_code"]) == (lasting, exit_code)
    assert (too_little(error, environ) is None) is (exit_code == 1)
    assert world.keys("compiled/memory/") == []


def test_a_compile_that_itself_finds_no_memory_asks_for_more(
    world: World, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Foreseen or not: the parent's own allocation counts as a child's does, in a job and nowhere else."""

    def no_memory(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("compile.__main__.compile_model", no_memory)
    words = ["--model", str(tiny_bert), "--task", "feature-extraction", "--target", "cpu"]
    words += ["--bucket", "1x16", "--out", OUT, "--json"]
    here = main(words)
    for name, value in JOB.items():
        monkeypatch.setenv(name, value)

    assert (here, main(words)) == (1, 137)

    assert _read(world, "compiled/attempts/abc/job-1.json")["lasting"] is False
    told = capsys.readouterr().err.splitlines()
    assert [json.loads(line)["id"] for line in (told[0], told[2])] == ["compile-unexpected"] * 2


@pytest.mark.parametrize(("last", "given_up"), [(False, []), (True, ["abc"])])
def test_only_failures_for_memory_with_the_most_there_is_give_a_row_up(
    world: World, last: bool, given_up: list[str]
) -> None:
    """Three executions, each of which ended on a middle size, have not shown that the row fits nowhere."""
    for job in "abc":
        rung = {"TRACESHIP_MEMORY_GIB": "64", "TRACESHIP_LAST_MEMORY": str(last).lower()}
        with (
            pytest.raises(CompilerOutOfMemory),
            noted(OUT, REMEMBER, {"AWS_BATCH_JOB_ID": job, **rung}),
        ):
            raise CompilerOutOfMemory(bucket="b1_s16")

    assert [found.key for found in all_given_up(world.to)] == given_up


@pytest.mark.parametrize(
    ("out", "environ"),
    [(OUT, {}), ("/here", JOB), (f"s3://{BUCKET}/elsewhere/abc", JOB), (f"s3://{BUCKET}/compiled", JOB)],
)
def test_nothing_is_noted_outside_of_batch_or_elsewhere(
    world: World, out: str, environ: dict[str, str]
) -> None:
    """A compile on somebody's machine leaves what it was asked for."""
    with noted(out, None, environ):
        pass

    assert world.keys() == []


def test_a_job_that_may_not_write_ends_before_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its result would have nowhere to go."""

    class Refusing:
        def put_object(self, **_: Any) -> None:
            answer = {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
            raise ClientError(answer, "PutObject")  # type: ignore[arg-type]

    monkeypatch.setattr("compile.batch.attempts.s3_client", Refusing)
    worked = []

    with pytest.raises(AwsDenied), noted(OUT, None, JOB):
        worked.append(True)

    assert worked == []


def test_the_entry_point_notes_what_becomes_of_it(
    world: World, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real compile that fails by its own error, as a job would run it."""
    for name, value in JOB.items():
        monkeypatch.setenv(name, value)
    words = ["--model", str(tiny_bert), "--task", "feature-extraction", "--target", "cpu"]

    code = main([*words, "--bucket", "1x999", "--out", OUT, "--remember", REMEMBER, "--json"])

    note = _read(world, "compiled/attempts/abc/job-1.json")
    assert (code, note["status"], note["id"], note["lasting"]) == (2, "failed", "bucket-too-long", True)


def test_places_of_attempts() -> None:
    """A row's and its buckets'; nothing outside of compiled/."""
    assert attempts_prefix("compiled/abc") == "compiled/attempts/abc"
    assert attempts_prefix("compiled/abc.parts/1x8") == "compiled/attempts/abc.parts/1x8"
    assert attempts_prefix("models/abc") is attempts_prefix("compiled") is None


def _key(world: World, request: Any) -> str:
    from compile.batch.rows import make_row

    return make_row(world.to, "row", request, world.lines.append).prefix.removeprefix("compiled/")


def test_a_row_that_failed_for_good_is_not_tried_again_and_the_others_are(
    world: World, tiny_bert: Path, tmp_path: Path
) -> None:
    """Three lasting failures; the reason is the last one's. Other inputs are another row."""
    bad, good = make_request(tiny_bert, tmp_path / "bad"), make_request(tiny_bert, tmp_path / "good", "1x8")
    key = _key(world, bad)
    for job in "abc":
        _attempt(world, key, job, lasting=True, what="a bucket is too long", why="64 positions")

    outcomes = compile_rows(world.to, {"bad": bad, "good": good}, world.lines.append)

    refused = outcomes["bad"]
    assert isinstance(refused, RowGivenUp)
    assert "failed 3 times" in refused.why
    assert "64 positions" in refused.why
    assert f"traceship poison --clear {key}" in refused.fix
    assert isinstance(outcomes["good"], Taken)
    assert [words[words.index("--bucket") + 1] for words in world.cloud.commands()] == ["1x8"]


def test_cleared_it_is_tried_again(world: World, tiny_bert: Path, tmp_path: Path) -> None:
    """And is not in the list any more; clearing twice says that there is nothing."""
    request = make_request(tiny_bert, tmp_path / "out")
    key = _key(world, request)
    for job in "abc":
        _attempt(world, key, job, lasting=True, what="w", why="y")
    assert [(found.key, found.failures) for found in all_given_up(world.to)] == [(key, 3)]

    assert clear(world.to, key) == 3

    assert all_given_up(world.to) == []
    with pytest.raises(NothingGivenUp):
        clear(world.to, key)
    assert isinstance(compile_rows(world.to, {"row": request}, world.lines.append)["row"], Taken)


def test_afresh_is_not_held_back(world: World, tiny_bert: Path, tmp_path: Path) -> None:
    """Somebody who says --no-cache wants to see it fail once more."""
    request = make_request(tiny_bert, tmp_path / "out")
    for job in "abc":
        _attempt(world, _key(world, request), job, lasting=True)

    found = compile_rows(world.to, {"row": request}, world.lines.append, afresh="x")

    assert isinstance(found["row"], Taken)


@pytest.mark.parametrize(
    "attempts",
    [
        [{"lasting": True}] * 2,
        [{"lasting": False}] * 5,
        [{"status": "done"}] * 5,
        [{"status": "started", "last_memory": False}] * 5,
        [{"status": "started", "last_memory": True}] * 3,
        [{"status": "interrupted", "last_memory": True}] * 5,
    ],
    ids=["too few", "passing", "done", "killed with little memory", "the last one may still run", "spot"],
)
def test_other_attempts_give_no_row_up(world: World, attempts: list[dict[str, Any]]) -> None:
    """Only what repeating cannot mend counts."""
    for number, changes in enumerate(attempts):
        _attempt(world, "abc", f"j{number}", **changes)

    assert all_given_up(world.to) == []


def test_killed_with_the_most_memory_counts_once_nobody_can_be_running(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three that started and said nothing more: the newest counts when it is older than any job may be."""
    for job in "abc":
        _attempt(world, "abc.parts/1x8", job, status="started", last_memory=True)
    assert all_given_up(world.to) == []

    monkeypatch.setattr(module, "LONGEST_JOB", datetime.timedelta(seconds=-1))

    (found,) = all_given_up(world.to)
    assert (found.key, found.failures, found.last.status) == ("abc", 3, "started")


def test_more_attempts_than_a_page_are_all_seen(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 lists a thousand at a time; here one."""
    for job in "abc":
        _attempt(world, "abc", job, lasting=True)
    own = world.s3.list_objects_v2
    monkeypatch.setattr(world.s3, "list_objects_v2", lambda **asked: own(**asked, MaxKeys=1))

    assert [found.failures for found in all_given_up(world.to)] == [3]


@pytest.mark.parametrize(("days", "again"), [(0, True), (1, True), (3, False), (90, False)], ids=str)
def test_a_model_that_goes_soon_is_sent_again(days: int, again: bool) -> None:
    """S3 says when the lifecycle deletes it; the rows may wait for a day."""
    date = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days, minutes=5)
    told = f'expiry-date="{email.utils.format_datetime(date, usegmt=True)}", rule-id="models"'

    assert _goes_soon({"Expiration": told}) is again
    assert not _goes_soon({})
    assert not _goes_soon({"Expiration": "something else"})


def test_what_no_job_wrote_is_passed_over(world: World) -> None:
    """An object of somebody else's does not stop the list."""
    for job in "abc":
        world.s3.put_object(Bucket=BUCKET, Key=f"compiled/attempts/x/{job}.json", Body=b"{")

    assert all_given_up(world.to) == []


def test_a_row_begins_with_the_memory_that_sufficed_for_its_like(
    world: World, tiny_bert: Path, tmp_path: Path
) -> None:
    """The execution is told; the job is told where to note it; another shape knows nothing yet."""
    request = make_request(tiny_bert, tmp_path / "one")
    compile_rows(world.to, {"one": request}, world.lines.append)
    (words,) = world.cloud.commands()
    place = words[words.index("--remember") + 1].removeprefix(f"s3://{BUCKET}/")
    world.s3.put_object(Bucket=BUCKET, Key=place, Body=b'{"schema":"traceship.memory/1","gib":64}')

    again = {"same": make_request(tiny_bert, tmp_path / "two", pooling="mean")}
    again["other"] = make_request(tiny_bert, tmp_path / "three", "1x8")
    compile_rows(world.to, again, world.lines.append)

    items = list(world.cloud.executions.values())[-1]["input"]["items"]
    assert [(item["name"].rpartition("-")[2], item.get("memory")) for item in items] == [
        ("same", 64),
        ("other", None),
    ]


def test_what_decides_the_memory_is_in_its_key(tiny_bert: Path, tmp_path: Path) -> None:
    """Sizes, target, buckets and work; not labels, names or weights."""
    request, found = make_request(tiny_bert, tmp_path / "out"), resolve(str(tiny_bert))
    shapes = [Shape(length=16, batch=1)]

    def key(doing: Any = "all", shapes: Any = shapes, target: Any = "cpu", **config: Any) -> str:
        model = dataclasses.replace(found, config={**found.config, **config})
        return memory_key(model, dataclasses.replace(request, target=target), shapes, doing)

    assert key() == key(id2label={"0": "good"}, _name_or_path="x", transformers_version="5")
    others = [key("trace"), key(shapes=[Shape(length=32, batch=1)]), key(target="inf1"), key(hidden_size=7)]
    assert len({key(), *others}) == 5


def test_a_note_that_cannot_be_read_is_none(world: World, tiny_bert: Path, tmp_path: Path) -> None:
    """The ladder starts at the bottom then."""
    request = make_request(tiny_bert, tmp_path / "out")
    place = memory_key(resolve(str(tiny_bert)), request, request.shapes, "all")
    world.s3.put_object(Bucket=BUCKET, Key=place, Body=b"many")

    compile_rows(world.to, {"row": request}, world.lines.append)

    (execution,) = world.cloud.executions.values()
    assert "memory" not in execution["input"]["items"][0]
