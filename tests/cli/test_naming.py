"""Whatever git knows of a lock names its release, however the user's git is set; in doubt all are named."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli.naming import names
from cli.project import Project
from tests.kit.repository import commit, git, lock, made_project

SHIPPED = "c" * 64


class NoStacks:
    """CloudFormation with nothing deployed."""

    def get_paginator(self, _operation: str) -> NoStacks:
        return self

    def paginate(self) -> list[dict[str, Any]]:
        return [{"Stacks": []}]


@dataclass(frozen=True)
class Local(Project):
    """A project that asks no AWS."""

    def client(self, service: str) -> Any:
        assert service == "cloudformation"
        return NoStacks()


@pytest.fixture
def project(tmp_path: Path) -> Local:
    """A project in a git repository with one commit."""
    return Local(settings_path=made_project(tmp_path), stage=None)


def _ships(project: Local, digest: str) -> None:
    """A commit with a lock and one without, as of long ago."""
    lock(project, digest)
    commit(project.root, "ship")
    project.lock_path.unlink()
    commit(project.root, "remove")


def test_a_canarys_lock_names_its_release_in_the_folder_and_in_the_history(project: Local) -> None:
    """Else its release would be swept away while it runs."""
    canary = project.root / "release.canary.lock.json"
    lock(project, SHIPPED)
    project.lock_path.rename(canary)

    in_the_folder = names(project).of(SHIPPED)
    commit(project.root, "ship a canary")
    canary.unlink()
    commit(project.root, "promote")

    assert in_the_folder == ("release.canary.lock.json",)
    assert names(project).of(SHIPPED)


SETTINGS = {
    "log.diffMerges": "off",
    "log.showRoot": "false",
    "log.showSignature": "true",
    "log.follow": "true",
    "log.date": "format:%H",
    "format.pretty": "oneline",
    "color.ui": "always",
    "core.abbrev": "4",
    "core.quotePath": "true",
    "core.pager": "false",
    "diff.external": "false",
    "diff.relative": "true",
    "diff.renames": "copies",
    "diff.orderFile": "/nowhere",
    "diff.noprefix": "true",
    "diff.lock.textconv": "true",
    "core.attributesFile": "ATTRIBUTES",
    "alias.log": "!true",
    "alias.rev-list": "!true",
    "alias.cat-file": "!true",
}


@pytest.mark.parametrize("name", SETTINGS)
def test_no_setting_of_the_users_git_hides_the_history(
    project: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """One of another order, colour or diff; the answer is the same or everything is kept."""
    _ships(project, SHIPPED)
    (tmp_path / "attributes").write_text("* diff=lock -text filter=lock\n")
    value = SETTINGS[name].replace("ATTRIBUTES", str(tmp_path / "attributes"))
    section, _, key = name.rpartition(".")
    title, _, below = section.partition(".")
    heading = f'[{title} "{below}"]' if below else f"[{title}]"
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".gitconfig").write_text(f"{heading}\n    {key} = {json.dumps(value)}\n")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    assert names(project).of(SHIPPED)


ENVIRONMENT = {
    "GIT_DIR": "OTHER/.git",
    "GIT_WORK_TREE": "OTHER",
    "GIT_COMMON_DIR": "OTHER/.git",
    "GIT_OBJECT_DIRECTORY": "OTHER/.git/objects",
    "GIT_INDEX_FILE": "OTHER/.git/index",
    "GIT_NAMESPACE": "theirs",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_NOGLOB_PATHSPECS": "1",
    "GIT_CEILING_DIRECTORIES": "PROJECT",
    "GIT_CONFIG_PARAMETERS": "'log.diffMerges=off'",
    "GIT_EXTERNAL_DIFF": "true",
    "GIT_TRACE": "1",
    "GIT_PAGER": "true",
}


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_no_variable_of_gits_hides_the_history(
    project: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A hook, an editor or another tool may have left it; the project's own repository is asked."""
    _ships(project, SHIPPED)
    (tmp_path / "other").mkdir()
    git(tmp_path / "other", "init", "-q", "-b", "main")
    value = ENVIRONMENT[name].replace("OTHER", str(tmp_path / "other"))
    monkeypatch.setenv(name, value.replace("PROJECT", str(project.root)))

    found = names(project)

    assert found.of(SHIPPED)
    assert not found.of("b" * 64)


@pytest.mark.parametrize("how", ["replaced", "grafted"])
def test_commits_that_git_was_told_to_hide_still_count(project: Local, tmp_path: Path, how: str) -> None:
    """`git replace` and grafts cut the history for its readers, not what was shipped."""
    _ships(project, SHIPPED)
    top = project.root.parent
    if how == "replaced":
        git(top, "replace", "--graft", "HEAD")
    else:
        head = (top / ".git/refs/heads/main").read_text().strip()
        (top / ".git/info").mkdir(exist_ok=True)
        (top / ".git/info/grafts").write_text(f"{head}\n")
    (top / ".git/logs").rename(tmp_path / "logs")

    assert names(project).of(SHIPPED)


def test_a_lock_that_is_only_added_keeps_its_release(project: Local, tmp_path: Path) -> None:
    """What will be committed next is in nobody's history yet."""
    lock(project, SHIPPED)
    git(project.root, "add", "-A")
    project.lock_path.unlink()

    assert names(project).of(SHIPPED)


@pytest.mark.parametrize(
    "content",
    [
        b"\0GITCRYPT\0" + bytes(range(256)),
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 99\n".encode(),
        json.dumps({"digest": "a" * 64}).encode("utf-16"),
    ],
    ids=["encrypted", "a pointer", "utf-16"],
)
@pytest.mark.parametrize("committed", [True, False])
def test_a_lock_that_cannot_be_read_keeps_every_release(
    project: Local, tmp_path: Path, content: bytes, committed: bool
) -> None:
    """It may name any of them."""
    project.lock_path.write_bytes(content)
    if committed:
        commit(project.root, "ship")
        project.lock_path.unlink()

    (doubt,) = names(project).of("b" * 64)

    assert "cannot be read" in doubt


@pytest.mark.parametrize("broken", ["objects", "HEAD", "refs", "no git at all"])
def test_a_repository_that_git_cannot_read_keeps_every_release(
    project: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """Half of a history is none."""
    _ships(project, SHIPPED)
    inside = project.root.parent / ".git"
    if broken == "objects":
        for path in inside.glob("objects/??/*"):
            path.chmod(0o644)
            path.write_bytes(b"")
    if broken == "HEAD":
        (inside / "HEAD").write_text("nonsense\n")
    if broken == "refs":
        (inside / "refs/heads/main").write_text("f" * 40 + "\n")
    if broken == "no git at all":
        monkeypatch.setenv("PATH", str(tmp_path))

    (doubt,) = names(project).of("b" * 64)

    assert "git cannot tell" in doubt
