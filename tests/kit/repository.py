"""A project in a git repository, whatever the git settings of whoever runs the tests."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from cli.project import Project

SETTINGS = '[project]\nname = "search"\n[model]\nsource = "x"\n[compile]\nbuckets = ["1x32"]\n'


def made_project(folder: Path) -> Path:
    """The settings file of a project in a subfolder of a repository with one commit."""
    root = folder / "repository" / "search"
    root.mkdir(parents=True)
    (root / "traceship.toml").write_text(SETTINGS)
    git(root.parent, "init", "-q", "-b", "main")
    commit(root, "begin")
    return root / "traceship.toml"


def git(root: Path, *words: str) -> None:
    """Run git in the repository around ``root``."""
    who = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    named = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "-C", str(root), *named, *words], check=True, env={**os.environ, **who})


def commit(root: Path, message: str) -> None:
    """Commit all that is there, if anything."""
    git(root, "add", "-A")
    git(root, "commit", "-q", "--allow-empty", "-m", message)


def lock(project: Project, digest: str) -> None:
    """Let the project's lock name a release."""
    project.lock_path.write_text(json.dumps({"digest": digest}))
