"""A ship that dies anywhere and is run again ends in the very same release, and repeats nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import msgspec
import pytest

from artifact import failpoints
from artifact.canonical import encode
from artifact.garbage import Garbage
from cli.alone import alone
from cli.failpoints import failpoints as in_the_source
from infra.names import artifacts_bucket
from local_aws import launcher, names
from tests.cli.shipyard import ACTED, NAME, Yard, empty, make_yard
from tests.compile.cache.world import write_model
from tests.kit.command import traceship
from tests.kit.folders import CONTENT

POINTS = [point.name for point in in_the_source()]
LATER = {
    "upload.put": (len(CONTENT), len(CONTENT) + 4),
    "sign.keep": (2,),
    "journal.append": (3, 5),
}
"""Where a point is reached several times: which later times are tried too."""
IN_PARTS = ("upload.begin", "upload.part", "upload.complete")
"""Reached only where a file is sent in parts."""
CROSSING = [
    (name, action, nth)
    for name in POINTS
    if name not in IN_PARTS
    for nth in (1, *LATER.get(name, ()))
    for action in failpoints.ACTIONS
]
CODES = {"exit": {failpoints.EXIT_CODE}, "kill": {-signal.SIGKILL}, "error": {0, 1}, "lost": {0, 1}}


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Any, str]]:
    """An S3 on loopback that checks checksums, a session for it, and a bucket that keeps versions."""
    state = tmp_path_factory.mktemp("aws")
    running = launcher.up(state)
    kept = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    try:
        for name in kept:
            del os.environ[name]
        os.environ.update({k: v for k, v in running.environment().items() if k.startswith("AWS_")})
        session = boto3.Session(region_name=names.REGION)
        s3, bucket = session.client("s3"), artifacts_bucket(NAME, names.ACCOUNT, names.REGION)
        session.client("sts")
        kms = session.client("kms")
        kms.create_alias(AliasName=f"alias/{NAME}", TargetKeyId=kms.create_key()["KeyMetadata"]["KeyId"])
        s3.create_bucket(Bucket=bucket)
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        yield session, s3, bucket
    finally:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            del os.environ[name]
        os.environ.update(kept)
        launcher.down(state)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture
def yard(aws: tuple[Any, Any, str], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Yard:
    session, s3, bucket = aws
    monkeypatch.setenv("TRACESHIP_CACHE", str(tmp_path / "cache"))
    return make_yard(tmp_path / "project", model, s3, bucket, session)


@pytest.fixture(scope="module")
def undisturbed(
    aws: tuple[Any, Any, str], model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[bytes, dict[str, tuple[int, str]]]:
    """The lock and the bucket after a ship that nothing happened to."""
    return _reference(aws, model, tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture(scope="module")
def undisturbed_in_parts(
    aws: tuple[Any, Any, str], model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[bytes, dict[str, tuple[int, str]]]:
    """The same of an artifact with a file that is sent in parts."""
    return _reference(aws, model, tmp_path_factory.mktemp("in-parts"), large=True)


def _reference(
    aws: tuple[Any, Any, str], model: Path, base: Path, *, large: bool = False
) -> tuple[bytes, dict[str, tuple[int, str]]]:
    session, s3, bucket = aws
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACESHIP_CACHE", str(base / "cache"))
        yard = make_yard(base / "project", model, s3, bucket, session, large=large)
        yard.ship()  # in this process, so that those it forks have everything imported
    assert yard.done() == ["compiled", "signed", "measured"]
    assert set(yard.uploads().values()) == {1}
    assert yard.leftovers() == []
    assert len(yard.objects()) == len(CONTENT) + 1 + 2 + 1
    return yard.lock(), yard.objects()


def _assert_the_same(yard: Yard, undisturbed: tuple[bytes, dict[str, tuple[int, str]]]) -> None:
    lock, objects = undisturbed
    assert yard.objects() == objects
    assert yard.lock() == lock
    assert set(yard.uploads().values()) == {1}, "an object was sent twice"
    assert yard.leftovers() == []


@pytest.mark.parametrize(("name", "action", "nth"), CROSSING, ids=str)
def test_a_ship_that_fails_at_any_point_converges_when_it_is_run_again(
    yard: Yard, undisturbed: tuple[bytes, dict[str, tuple[int, str]]], name: str, action: str, nth: int
) -> None:
    """The same lock, the same objects, each sent once; nothing expensive that was finished is repeated."""
    if name == "cache.take":  # reached where another project's compile is in the cache
        yard.compile()
        _forget(yard)

    code = yard.in_a_process(fault=(name, action, nth))
    again = yard.in_a_process()

    assert code in CODES[action], yard.talk()
    assert action in {"exit", "kill"} or ACTED in yard.done(), "the failpoint was not reached"
    assert again == 0, yard.talk()
    _assert_the_same(yard, undisturbed)
    done = yard.done()
    assert done.count("compiled") <= 1
    assert done.count("signed") <= 1 + (name.startswith("sign.") or name == "journal.append")
    assert done.count("measured") <= 1 + (name in {"measure", "journal.append"})


@pytest.mark.parametrize("action", failpoints.ACTIONS)
@pytest.mark.parametrize(("name", "nth"), [*((name, 1) for name in IN_PARTS), ("upload.part", 2)])
def test_a_ship_that_fails_within_a_file_of_many_parts_converges(
    yard: Yard,
    undisturbed_in_parts: tuple[bytes, dict[str, tuple[int, str]]],
    name: str,
    nth: int,
    action: str,
) -> None:
    """No upload is left unfinished either."""
    yard.large = True

    code = yard.in_a_process(fault=(name, action, nth))
    again = yard.in_a_process()

    assert code in CODES[action], yard.talk()
    assert again == 0, yard.talk()
    _assert_the_same(yard, undisturbed_in_parts)
    assert yard.s3.list_multipart_uploads(Bucket=yard.bucket).get("Uploads", []) == []


def _forget(yard: Yard) -> None:
    """The project as a fresh clone has it."""
    shutil.rmtree(yard.root / ".traceship")
    yard.work.write_text("")


def test_a_ship_that_is_killed_at_any_moment_converges(
    yard: Yard, undisturbed: tuple[bytes, dict[str, tuple[int, str]]]
) -> None:
    """Killed again and again, each time a little later, until one comes through; then nothing is left."""
    started = time.monotonic()
    assert yard.in_a_process() == 0, yard.talk()
    whole = time.monotonic() - started
    for sixth in range(1, 6):
        _forget_all(yard)
        for part in (sixth / 6, sixth / 12):
            child = yard.start()
            time.sleep(whole * part)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

        assert yard.in_a_process() == 0, yard.talk()

        _assert_the_same(yard, undisturbed)
        assert yard.done().count("compiled") <= 1


def _forget_all(yard: Yard) -> None:
    _forget(yard)
    (yard.root / "release.lock.json").unlink()
    empty(yard.s3, yard.bucket)


def test_a_finished_archive_is_not_written_again_unless_it_was_damaged(
    yard: Yard, undisturbed: tuple[bytes, dict[str, tuple[int, str]]]
) -> None:
    """It is kept until the release is published; the record in the journal says what it must be."""
    yard.in_a_process(fault=("publish.archive", "kill", 1))
    (archive,) = (yard.root / ".traceship/archives").iterdir()
    first = archive.stat()
    yard.in_a_process(fault=("publish.archive", "kill", 1))
    second = archive.stat()
    archive.write_bytes(b"damaged")

    code = yard.in_a_process()

    assert "an earlier ship of this finished package, sign:" in yard.talk()
    assert (first.st_ino, first.st_mtime_ns) == (second.st_ino, second.st_mtime_ns)
    assert code == 0, yard.talk()
    _assert_the_same(yard, undisturbed)


def test_a_damaged_signature_is_made_anew(
    yard: Yard, undisturbed: tuple[bytes, dict[str, tuple[int, str]]]
) -> None:
    """What is kept is compared with what was signed."""
    yard.in_a_process(fault=("publish.beside", "kill", 1))
    (kept,) = (yard.root / ".traceship/signed").rglob("sbom.cdx.json")
    kept.write_bytes(b"planted")

    assert yard.in_a_process() == 0, yard.talk()

    _assert_the_same(yard, undisturbed)
    assert yard.done().count("signed") == 2


def test_a_fresh_compile_that_was_interrupted_later_is_not_repeated(yard: Yard) -> None:
    """The same command goes on from it; once it is shipped, the next fresh compile is one."""
    yard.fresh = True
    yard.in_a_process(fault=("upload.put", "kill", 3))

    assert yard.in_a_process() == 0, yard.talk()
    after_rerun = yard.done().count("compiled")
    assert yard.in_a_process() == 0, yard.talk()

    assert after_rerun == 1
    assert yard.done().count("compiled") == 2


def test_a_ship_without_changes_touches_nothing(yard: Yard) -> None:
    """Neither the journal nor the lock nor the bucket."""
    assert yard.in_a_process() == 0, yard.talk()
    paths = [yard.root / "release.lock.json", yard.root / ".traceship/ship.journal"]
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in paths], yard.uploads(), yard.done()

    assert yard.in_a_process() == 0, yard.talk()

    assert before == (
        [(path.read_bytes(), path.stat().st_mtime_ns) for path in paths],
        yard.uploads(),
        yard.done(),
    )
    assert "nothing to do" in yard.talk()


def test_the_lock_lists_the_blobs_that_were_published(yard: Yard) -> None:
    """Each once and by its digest, so that a role can be given these and no others."""
    yard.ship()

    artifact = json.loads(yard.lock())["artifact"]

    keys = [f"blobs/sha256/{digest}" for digest in artifact["blobs"]]
    assert keys == sorted(key for key in yard.objects() if key.startswith("blobs/"))
    assert "device" not in artifact


def test_a_lock_from_before_it_listed_the_blobs_is_completed(yard: Yard) -> None:
    """What the gate at synth asks for when it refuses such a lock; nothing is measured or sent again."""
    yard.ship()
    lock, uploads, done = yard.lock(), yard.uploads(), yard.done()
    old = json.loads(lock)
    del old["artifact"]["blobs"]
    (yard.root / "release.lock.json").write_bytes(encode(old))

    yard.ship()

    assert yard.lock() == lock
    assert (yard.uploads(), yard.done()) == (uploads, done)


def test_a_lock_that_was_lost_is_written_again_as_it_was(
    yard: Yard, undisturbed: tuple[bytes, dict[str, tuple[int, str]]]
) -> None:
    """What was measured is remembered, and nothing is sent."""
    assert yard.in_a_process() == 0, yard.talk()
    (yard.root / "release.lock.json").unlink()

    assert yard.in_a_process() == 0, yard.talk()

    _assert_the_same(yard, undisturbed)
    assert yard.done() == ["compiled", "signed", "measured"]


def test_without_its_state_folder_a_ship_still_ends_in_the_same_release(
    yard: Yard, undisturbed: tuple[bytes, dict[str, tuple[int, str]]]
) -> None:
    """Working files may be deleted at any time: that costs work, never a wrong release."""
    yard.in_a_process(fault=("publish.manifest", "kill", 1))
    _forget(yard)

    assert yard.in_a_process() == 0, yard.talk()

    _assert_the_same(yard, undisturbed)


def test_two_ships_at_once_are_one(yard: Yard) -> None:
    """The second says who runs and does nothing."""
    with alone(yard.root / ".traceship", "traceship ship --json"):
        code = yard.in_a_process()

    assert code == 1
    assert "ShipRunning" in yard.talk()
    assert yard.objects() == {}


def test_gc_lists_a_release_as_the_schema_says_and_keeps_it(yard: Yard) -> None:
    """The real command against an S3 of this machine; without a git repository nothing is called unnamed."""
    assert yard.in_a_process() == 0, yard.talk()
    given = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}

    plain = traceship("gc", cwd=yard.root, env=given)
    answer = traceship("gc", "--delete", "--json", cwd=yard.root, env=given)

    found = msgspec.json.decode(answer.stdout, type=Garbage)
    assert answer.code == plain.code == 0, answer.stderr
    assert found.releases[0].kept_by[0] == "release.lock.json"
    assert "nothing was deleted" in plain.stdout
    assert len(yard.objects()) == len(CONTENT) + 4
