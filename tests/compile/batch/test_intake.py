"""A request in S3 becomes an execution, or an answer that says why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from artifact.aws import AwsRefused
from compile.__main__ import main as entry
from compile.batch import intake
from compile.batch.asked import SCHEMA, read_asked
from compile.batch.attempts import Attempt
from compile.batch.intake import BadIntake
from compile.batch.rows import make_row
from tests.compile.batch.conftest import World
from tests.compile.batch.world import BUCKET, IMAGE, MACHINE, deliver

KEY = "requests/one.json"
WORDS = [f"s3://{BUCKET}/{KEY}", "--machine", MACHINE, "--image", IMAGE, "--give-up-after", "3"]


@pytest.fixture
def ask(world: World, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put rows, or other bytes, as the request; take it; return the answer."""
    for path in tiny_bert.iterdir():
        world.s3.upload_file(str(path), BUCKET, f"models/tiny/{path.name}")
    import boto3

    own = boto3.client
    monkeypatch.setattr(
        boto3, "client", lambda name, **more: world.cloud if name == "stepfunctions" else own(name, **more)
    )

    def take(rows: dict[str, Any] | bytes) -> dict[str, Any]:
        body = rows if isinstance(rows, bytes) else json.dumps({"schema": SCHEMA, "rows": rows}).encode()
        world.s3.put_object(Bucket=BUCKET, Key=KEY, Body=body)
        intake.main(WORDS, world.lines.append)
        answer = world.s3.get_object(Bucket=BUCKET, Key=f"{KEY}.answer")["Body"].read()
        found: dict[str, Any] = json.loads(answer)
        return found

    return take


def _row(**changes: Any) -> dict[str, Any]:
    row = {"model": f"s3://{BUCKET}/models/tiny", "task": "feature-extraction", "target": "cpu"}
    return {**row, "bucket": ["1x16"], **changes}


def test_a_request_starts_an_execution_of_its_rows(world: World, ask: Any) -> None:
    """The answer names it and each row's place, which is the one that the client would look at."""
    answer = ask({"tiny": _row()})

    ((arn, execution),) = world.cloud.executions.items()
    assert (answer["status"], answer["execution"]) == ("taken", arn)
    (item,) = execution["input"]["items"]
    assert item["arguments"][item["arguments"].index("--out") + 1] == answer["rows"]["tiny"]["place"]
    assert answer["rows"]["tiny"]["status"] == "started"


def test_the_same_request_again_attaches_or_finds_what_is_there(world: World, ask: Any) -> None:
    """Nothing is compiled twice, whoever asks how often."""
    first = ask({"tiny": _row()})
    again = ask({"tiny": _row()})
    assert (again["execution"], again["attached"]) == (first["execution"], True)
    deliver(next(iter(world.cloud.executions.values()))["input"]["items"][0]["arguments"])

    done = ask({"tiny": _row()})

    assert done["rows"]["tiny"]["status"] == "was there"
    assert "execution" not in done
    assert len(world.cloud.executions) == 1


def test_the_same_request_attaches_while_only_some_of_its_rows_are_done(world: World, ask: Any) -> None:
    """Spot may take the job that started the rows before it has answered; the rows run once all the same."""
    rows = {"one": _row(), "two": _row(bucket=["1x32"])}
    first = ask(rows)
    deliver(next(iter(world.cloud.executions.values()))["input"]["items"][0]["arguments"])

    again = ask(rows)

    assert again["rows"]["one"]["status"] == "was there"
    assert (again["execution"], again["attached"]) == (first["execution"], True)
    assert len(world.cloud.executions) == 1


@pytest.mark.parametrize("body", [b"{", b"{}", b"\x00" * 70_000], ids=["no json", "no request", "too long"])
def test_a_malformed_request_is_refused_beside_it_and_nothing_runs(
    world: World, ask: Any, body: bytes
) -> None:
    """With id, reason and remedy."""
    answer = ask(body)

    assert (answer["status"], answer["id"]) == ("refused", "asked-invalid")
    assert answer["why"]
    assert answer["fix"]
    assert world.cloud.executions == {}


def test_one_forbidden_option_refuses_the_whole_request(world: World, ask: Any) -> None:
    """The good row waits until somebody has looked at the other."""
    answer = ask({"good": _row(), "bad": _row(**{"trust-remote-code": True})})

    assert answer["status"] == "refused"
    assert "trust-remote-code" in answer["why"]
    assert world.cloud.executions == {}


def test_a_row_whose_model_is_not_there_does_not_stop_the_others(world: World, ask: Any) -> None:
    """Its error is in the answer."""
    answer = ask({"good": _row(), "gone": _row(model=f"s3://{BUCKET}/models/nothing")})

    assert answer["status"] == "taken"
    assert answer["rows"]["gone"]["status"] == "failed"
    assert answer["rows"]["gone"]["id"]
    (execution,) = world.cloud.executions.values()
    assert [item["name"].rpartition("-")[2] for item in execution["input"]["items"]] == ["good"]


def test_a_row_that_is_given_up_is_not_started(world: World, ask: Any, tmp_path: Path) -> None:
    """Whoever wants it again clears it, or changes it."""
    asked = json.dumps({"schema": SCHEMA, "rows": {"tiny": _row()}}).encode()
    request = read_asked(asked, BUCKET, tmp_path)["tiny"]
    key = make_row(world.to, "tiny", request, world.lines.append).prefix.removeprefix("compiled/")
    for job in "abc":
        attempt = Attempt(job=job, status="failed", memory_gib=1, last_memory=False, lasting=True, what="w")
        body = json.dumps({name: getattr(attempt, name) for name in attempt.__struct_fields__}).encode()
        world.s3.put_object(Bucket=BUCKET, Key=f"compiled/attempts/{key}/{job}.json", Body=body)

    answer = ask({"tiny": _row()})

    assert answer["rows"]["tiny"]["id"] == "row-given-up"
    assert world.cloud.executions == {}


def test_what_aws_could_not_do_leaves_no_answer(
    world: World, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job fails, and is tried again by the state machine."""

    def refuse(*_: Any) -> None:
        raise AwsRefused(doing="start", code="StateMachineDoesNotExist", message="gone")

    monkeypatch.setattr(intake, "start", refuse)

    with pytest.raises(AwsRefused):
        ask({"tiny": _row()})

    assert f"{KEY}.answer" not in world.keys("requests/")


@pytest.mark.parametrize(
    "words",
    [[], WORDS[:1], [*WORDS, "--more"], [WORDS[0], "--machine", "m", *WORDS[3:]], ["--debug", *WORDS[1:]]],
)
def test_other_words_start_nothing(words: list[str]) -> None:
    """They come from the stack, never from a request."""
    with pytest.raises(BadIntake):
        intake.main(words, print)
    assert entry(["intake", *words]) == 2
