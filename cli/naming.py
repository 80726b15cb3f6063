"""Everything that names a release, so that nobody deletes it: the lock, its history, deployed stacks.

Digests are taken from texts by their form, not by their place: a lock of another version, one with
a merge conflict in it and a template of somebody's own making keep a release too.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from artifact.aws import AwsClient, translated
from artifact.release import LOCK_FILE
from cli.project import Project

_DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_ANYWHERE = f":(top,glob)**/{LOCK_FILE}"
_SETTLED = ("_COMPLETE", "_FAILED")


@dataclass(frozen=True)
class Names:
    """``by_digest``: who names it. ``doubts``: why nothing at all may be called unnamed just now."""

    by_digest: Mapping[str, tuple[str, ...]]
    doubts: tuple[str, ...]

    def of(self, digest: str) -> tuple[str, ...]:
        return self.by_digest.get(digest, ()) + self.doubts


def names(project: Project) -> Names:
    """Ask the project's folder, its git repository and CloudFormation.

    Raises:
        AwsDenied, AwsUnreachable, AwsRefused: the stacks cannot be read.
    """
    found: defaultdict[str, list[str]] = defaultdict(list)
    doubts = []
    for digest in _in_file(project.lock_path):
        found[digest].append(LOCK_FILE)
    doubt = _unreadable_history(project.root)
    if doubt is not None:
        doubts.append(doubt)
    else:
        for commit, digest in _in_history(project.root):
            found[digest].append(f"{LOCK_FILE} in git, {commit[:10]}")
    cloudformation = project.client("cloudformation")
    with translated("read the deployed stacks"):
        for stack, text, settled in _stacks(cloudformation, project.settings.project.name):
            for digest in sorted(set(_DIGEST.findall(text))):
                found[digest].append(f"stack {stack}")
            if not settled:
                doubts.append(f"stack {stack} is being changed")
    return Names({digest: tuple(who) for digest, who in found.items()}, tuple(doubts))


def _in_file(path: Path) -> list[str]:
    return sorted(set(_DIGEST.findall(path.read_text(encoding="utf-8")))) if path.exists() else []


def _unreadable_history(root: Path) -> str | None:
    try:
        if _git(root, "rev-parse", "--is-inside-work-tree").strip() != "true":
            return "not in a git work tree, so its history is unknown"
        if _git(root, "rev-parse", "--is-shallow-repository").strip() != "false":
            return "the clone is shallow, so the history of the lock is cut off"
    except (OSError, subprocess.CalledProcessError):
        return "not in a git repository, so the history of the lock is unknown"
    return None


def _in_history(root: Path) -> Iterator[tuple[str, str]]:
    """Commit and digest of every lock that any branch, tag, stash or reflog entry ever held."""
    options = ("--all", "--reflog", "--full-history", "--format=%H", "--raw", "--no-abbrev", "-m", "--root")
    commit = ""
    for line in _git(root, "log", *options, "--", _ANYWHERE).splitlines():
        if not line.startswith(":"):
            commit = line or commit
            continue
        _, _, _, blob, status = line.split("\t")[0].split(" ")
        if status.startswith("D"):
            continue
        for digest in sorted(set(_DIGEST.findall(_git(root, "cat-file", "blob", blob)))):
            yield commit, digest


def _git(root: Path, *words: str) -> str:
    command = ["git", "-C", str(root), *words]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=True).stdout


def _stacks(cloudformation: AwsClient, project: str) -> Iterator[tuple[str, str, bool]]:
    """Name, everything readable and whether it is settled, of each stack that may be the project's."""
    for page in cloudformation.get_paginator("describe_stacks").paginate():
        for stack in page["Stacks"]:
            tags = {tag["Key"]: tag["Value"] for tag in stack.get("Tags", ())}
            name = stack["StackName"]
            if tags.get("traceship:project") != project and not name.startswith(f"{project}-"):
                continue
            body = cloudformation.get_template(StackName=name)["TemplateBody"]
            told = [stack.get("Parameters", []), stack.get("Outputs", []), tags]
            text = json.dumps([body, *told], default=str)
            yield name, text, stack["StackStatus"].endswith(_SETTLED)
