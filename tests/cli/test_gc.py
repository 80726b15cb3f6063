"""Garbage is what nothing names: never a release of the lock, of its history or of a deployed stack."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from artifact.garbage import Garbage
from artifact.release import blob_key
from artifact.verify import verify
from cli.garbage import Collector
from cli.project import Project
from compile.publish import Destination, publish
from infra.names import artifacts_bucket
from tests.kit.folders import CONTENT, write_folder
from tests.kit.repository import commit, git, lock, made_project

ACCOUNT = "123456789012"
BUCKET = artifacts_bucket("search", ACCOUNT, "us-east-1")
TO = Destination(account=ACCOUNT, region="us-east-1", bucket=BUCKET, name="search")


@dataclass
class Stacks:
    """CloudFormation with as many stacks as a test puts there (moto's needs packages that we have not)."""

    found: list[dict[str, Any]] = field(default_factory=list)
    templates: dict[str, Any] = field(default_factory=dict)

    def put(self, name: str, template: Any, *, status: str = "UPDATE_COMPLETE", **told: Any) -> None:
        self.found.append({"StackName": name, "StackStatus": status, **told})
        self.templates[name] = template

    def get_paginator(self, operation: str) -> Stacks:
        assert operation == "describe_stacks"
        return self

    def paginate(self) -> list[dict[str, Any]]:
        return [{"Stacks": [stack]} for stack in self.found]

    def get_template(self, *, StackName: str) -> dict[str, Any]:  # noqa: N803 - boto3's
        return {"TemplateBody": self.templates[StackName]}


@dataclass(frozen=True)
class World(Project):
    """A project whose stacks are the test's."""

    stacks: Stacks = field(default_factory=Stacks)

    def client(self, service: str, region: str | None = None) -> Any:
        return self.stacks if service == "cloudformation" else super().client(service, region)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        yield client


@pytest.fixture
def project(s3: Any, tmp_path: Path) -> World:
    """A project in a git repository with one commit."""
    return World(settings_path=made_project(tmp_path), stage=None)


def _released(s3: Any, folder: Path, answer: str) -> str:
    """Publish an artifact that differs from others in one file; its digest."""
    write_folder(folder / answer, {**CONTENT, "golden.json": answer.encode()})
    return publish(folder / answer, TO, s3, report=lambda _: None).digest


def _collector(project: Project, *, days: float = 30) -> Collector:
    """As the command is ``days`` from now."""
    return Collector(project, older_than=7, clock=lambda: datetime.now(timezone.utc) + timedelta(days=days))


def _keys(s3: Any) -> set[str]:
    return {entry["Key"] for entry in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])}


def _unnamed(found: Garbage) -> set[str]:
    return {release.digest for release in found.releases if not release.kept_by}


def test_a_listing_says_why_each_release_is_kept_and_touches_nothing(
    s3: Any, project: World, tmp_path: Path
) -> None:
    """The lock, a commit, a stack; what nothing names has no reason."""
    names = {name: _released(s3, tmp_path, name) for name in ("locked", "history", "deployed", "nobody")}
    lock(project, names["history"])
    commit(project.root, "ship")
    lock(project, names["locked"])
    project.stacks.put("search-fleet", {"UserData": f"export DIGEST={names['deployed']}"})
    project.stacks.put("other-fleet", names["nobody"])
    before = _keys(s3)

    found = _collector(project).survey()

    why = {release.digest: release.kept_by for release in found.releases}
    assert why[names["locked"]] == ("release.lock.json",)
    assert why[names["history"]][0].startswith("release.lock.json in git, ")
    assert why[names["deployed"]] == ("stack search-fleet",)
    assert why[names["nobody"]] == ()
    assert [blob.sha256 for blob in found.blobs] == [
        file.sha256 for file in verify(tmp_path / "nobody").manifest.files if file.path == "golden.json"
    ]
    assert _keys(s3) == before
    assert not found.deleted


@pytest.mark.parametrize("name", ["release.search.lock.json", "release@prod.lock.json"])
@pytest.mark.parametrize("held", ["here", "in git"])
def test_the_lock_of_another_service_or_stage_keeps_its_release(
    s3: Any, project: World, tmp_path: Path, name: str, held: str
) -> None:
    """They share the bucket, so nobody's gc may take what another serves."""
    digest = _released(s3, tmp_path, "somewhere")
    lock(project, digest)
    project.lock_path.rename(project.root / name)
    if held == "in git":
        commit(project.root, "ship")
        (project.root / name).unlink()

    (found,) = _collector(project).survey().releases

    assert found.digest == digest
    assert found.kept_by[0].startswith(name)


@pytest.mark.parametrize("where", ["a branch", "a tag", "a stash", "a deleted branch", "a merge's side"])
def test_a_lock_anywhere_in_the_history_keeps_its_release(
    s3: Any, project: World, tmp_path: Path, where: str
) -> None:
    """Not only what is checked out."""
    digest = _released(s3, tmp_path, "somewhere")
    root = project.root
    if where == "a stash":
        lock(project, "0" * 64)
        commit(root, "a lock")
        lock(project, digest)
        git(root, "stash", "-q")
    else:
        git(root, "checkout", "-q", "-b", "side")
        lock(project, digest)
        commit(root, "ship")
        project.lock_path.unlink()
        commit(root, "remove")
        git(root, "checkout", "-q", "main")
    if where == "a tag":
        git(root, "tag", "v1", "side")
    if where == "a merge's side":
        git(root, "merge", "-q", "--no-ff", "side", "-m", "merge")
    if where in ("a tag", "a deleted branch", "a merge's side"):
        git(root, "branch", "-q", "-D", "side")

    found = _collector(project).survey()

    assert _unnamed(found) == set()


def test_deletion_takes_the_unnamed_release_and_its_own_blobs_only(
    s3: Any, project: World, tmp_path: Path
) -> None:
    """What the other release shares with it stays, and that one still verifies against its manifest."""
    kept, gone = _released(s3, tmp_path, "kept"), _released(s3, tmp_path, "gone")
    lock(project, kept)

    collector = _collector(project)
    found = collector.delete(collector.survey())

    keys = _keys(s3)
    assert found.deleted
    assert {key for key in keys if gone in key} == set()
    assert {blob_key(file.sha256) for file in verify(tmp_path / "kept").manifest.files} <= keys
    assert len([key for key in keys if key.startswith("blobs/")]) == len(CONTENT)
    assert _unnamed(_collector(project).survey()) == set()


def test_the_manifest_goes_first(s3: Any, project: World, tmp_path: Path) -> None:
    """A reader that polls meets the whole release or none."""
    gone = _released(s3, tmp_path, "gone")
    lock(project, "0" * 64)
    calls: list[list[str]] = []
    collector = _collector(project)
    own = collector._s3.delete_objects
    collector._s3.delete_objects = lambda **r: (
        calls.append([o["Key"] for o in r["Delete"]["Objects"]]),
        own(**r),
    )[1]

    collector.delete(collector.survey())

    assert calls[0] == [f"releases/search/{gone}/manifest.json"]
    assert calls[1] == [f"releases/search/{gone}/model.tar.gz"]
    assert {key.partition("/")[0] for key in calls[2]} == {"blobs"}


def test_what_is_named_between_the_listing_and_the_deletion_stays(
    s3: Any, project: World, tmp_path: Path
) -> None:
    """Everything is looked at once more."""
    digest = _released(s3, tmp_path, "meanwhile")
    lock(project, "0" * 64)
    collector = _collector(project)
    seen = collector.survey()
    lock(project, digest)

    collector.delete(seen)

    assert _unnamed(seen) == {digest}
    assert f"releases/search/{digest}/manifest.json" in _keys(s3)


def test_a_young_release_and_its_blobs_are_kept(s3: Any, project: World, tmp_path: Path) -> None:
    """It may belong to a ship that has not written its lock yet."""
    digest = _released(s3, tmp_path, "young")
    s3.put_object(Bucket=BUCKET, Key=blob_key("a" * 64), Body=b"of a ship in flight")
    before = _keys(s3)
    collector = _collector(project, days=6.9)

    found = collector.delete(collector.survey())

    assert [release.kept_by for release in found.releases] == [("younger than 7 days",)]
    assert digest in {release.digest for release in found.releases}
    assert _keys(s3) == before


@pytest.mark.parametrize("doubt", ["no repository", "a shallow clone", "a stack in change"])
def test_in_doubt_every_release_is_kept(s3: Any, project: World, tmp_path: Path, doubt: str) -> None:
    """Where the history or a stack cannot be judged, nothing may be called unnamed."""
    _released(s3, tmp_path, "doubtful")
    if doubt == "no repository":
        (project.root.parent / ".git").rename(tmp_path / "away")
    if doubt == "a shallow clone":
        commit(project.root, "two")
        git(tmp_path, "clone", "-q", "--depth", "1", f"file://{project.root.parent}", "shallow")
        project = World(settings_path=tmp_path / "shallow/search/traceship.toml", stage=None)
    if doubt == "a stack in change":
        project.stacks.put("search-endpoint", {}, status="UPDATE_ROLLBACK_IN_PROGRESS")
    before = _keys(s3)
    collector = _collector(project)

    collector.delete(collector.survey())

    assert _keys(s3) == before


@pytest.mark.parametrize("where", ["a template", "a parameter", "an output", "another name with our tag"])
def test_a_stack_keeps_what_it_names_anywhere(s3: Any, project: World, tmp_path: Path, where: str) -> None:
    """A stack of somebody's own making too, if it says that it is the project's."""
    digest = _released(s3, tmp_path, "deployed")
    ours = [{"Key": "traceship:project", "Value": "search"}]
    if where == "a template":
        project.stacks.put("search-x", f"Env: {digest}")
    if where == "a parameter":
        project.stacks.put("search-x", {}, Parameters=[{"ParameterKey": "d", "ParameterValue": digest}])
    if where == "an output":
        project.stacks.put("search-x", {}, Outputs=[{"OutputKey": "d", "OutputValue": f"x/{digest}/y"}])
    if where == "another name with our tag":
        project.stacks.put("theirs", {"Env": digest}, Tags=ours)

    assert _unnamed(_collector(project).survey()) == set()


def test_the_remains_of_a_release_that_was_never_finished_go_too(s3: Any, project: World) -> None:
    """An archive without a manifest is a ship that nobody continued."""
    key = f"releases/search/{'b' * 64}/model.tar.gz"
    s3.put_object(Bucket=BUCKET, Key=key, Body=b"half")
    collector = _collector(project)

    found = collector.delete(collector.survey())

    assert [release.complete for release in found.releases] == [False]
    assert _keys(s3) == set()


@pytest.mark.parametrize(("days", "left"), [(0.9, 1), (1.1, 0)])
def test_an_unfinished_upload_is_aborted_once_it_is_a_day_old(
    s3: Any, project: World, days: float, left: int
) -> None:
    """A younger one may be somebody's upload that runs."""
    s3.create_multipart_upload(Bucket=BUCKET, Key=blob_key("c" * 64))
    begun = s3.list_multipart_uploads(Bucket=BUCKET)["Uploads"][0]["Initiated"]  # moto's is always the same
    collector = Collector(project, older_than=7, clock=lambda: begun + timedelta(days=days))

    found = collector.survey()
    collector.delete(found)

    assert [upload.stale for upload in found.uploads] == [left == 0]
    assert len(s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])) == left


def test_a_listing_aborts_no_upload(s3: Any, project: World) -> None:
    """Only on request."""
    s3.create_multipart_upload(Bucket=BUCKET, Key=blob_key("c" * 64))

    _collector(project).survey()

    assert len(s3.list_multipart_uploads(Bucket=BUCKET)["Uploads"]) == 1


def test_old_artifacts_in_the_state_folder_go_and_the_locks_own_stays(
    s3: Any, project: World, tmp_path: Path
) -> None:
    """With the result of its compile that lies beside it."""
    made = project.state / "artifacts"
    digests = {}
    for name in ("locked", "old"):
        (made / name).mkdir(parents=True)
        digests[name] = write_folder(made / name, {**CONTENT, "golden.json": name.encode()})
        (made / f"{name}.result.json").write_text("{}")
    lock(project, digests["locked"])
    collector = _collector(project)

    found = collector.delete(collector.survey())

    assert [Path(folder.path).name for folder in found.folders] == ["old"]
    assert sorted(path.name for path in made.iterdir()) == ["locked", "locked.result.json"]
