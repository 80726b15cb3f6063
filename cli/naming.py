"""Everything that names a release, so that nobody deletes it: the lock, its history, deployed stacks.

Digests are taken from texts by their form, not by their place: a lock of another version, one with
a merge conflict in it and a template of somebody's own making keep a release too.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from artifact.aws import AwsClient, translated
from cli.project import Project

_DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_ANY = "release*.lock.json"
"""Of every service and stage (infra/names.py)."""
_ANYWHERE = f":(top,glob)**/{_ANY}"
_COMMIT = re.compile(rb"[0-9a-f]{40,64}")
_POINTER = b"version https://git-lfs"
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
    doubts: list[str] = []
    for lock in _locks(project, doubts):
        for digest in lock.digests:
            found[digest].append(lock.place)
        if not lock.digests:
            doubts.append(f"{lock.place} cannot be read, so it may name this")
    cloudformation = project.client("cloudformation")
    with translated("read the deployed stacks"):
        for stack, text, settled in _stacks(cloudformation, project.shared.project.name):
            for digest in sorted(set(_DIGEST.findall(text))):
                found[digest].append(f"stack {stack}")
            if not settled:
                doubts.append(f"stack {stack} is being changed")
    return Names({digest: tuple(who) for digest, who in found.items()}, tuple(doubts))


@dataclass(frozen=True)
class _Lock:
    """A lock that somebody has or had: its digests, none where it cannot be read."""

    place: str
    digests: tuple[str, ...]


def _locks(project: Project, doubts: list[str]) -> Iterator[_Lock]:
    """The project's own, and those that git knows; ``doubts`` gets why git may know of more."""
    for path in sorted(project.root.glob(_ANY)):
        yield _Lock(path.name, _digests_of(path.read_bytes()))
    try:
        if _git(project.root, "rev-parse", "--is-inside-work-tree").strip() != b"true":
            doubts.append("not in a git work tree, so the history of the lock is unknown")
        elif _git(project.root, "rev-parse", "--is-shallow-repository").strip() != b"false":
            doubts.append("the clone is shallow, so the history of the lock is cut off")
        else:
            yield from _in_git(project.root)
    except (OSError, subprocess.CalledProcessError) as error:
        doubts.append(f"git cannot tell the history of the lock ({_last_line(error)})")


def _last_line(error: OSError | subprocess.CalledProcessError) -> str:
    """What git said last, or why it could not be asked."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    lines = [line for line in error.stderr.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"exit code {error.returncode}"


def _in_git(root: Path) -> list[_Lock]:
    """Every lock that a branch, tag, stash or reflog entry ever held, and what was added since.

    By git's plumbing, which no alias, no `log.*` or `diff.*` of the user's settings and no text
    conversion changes.
    """
    commits = _git(root, "rev-list", "--all", "--reflog")
    options = ("-r", "-m", "--root", "--raw", "--no-renames", "--no-abbrev", "--no-ext-diff", "-z")
    told = _git(root, "diff-tree", "--stdin", *options, "--", _ANYWHERE, given=commits).split(b"\0")
    place_of: dict[str, str] = {}
    commit, blob = "", None
    for entry in told:
        if entry.startswith(b":"):
            *_, held, status = entry.decode().split(" ")
            blob = None if status.startswith("D") else held
        elif blob is not None:  # then its name follows
            name = Path(os.fsdecode(entry)).name
            place_of.setdefault(blob, f"{name} in git, {commit[:10]}")
            blob = None
        else:
            commit = next((word.decode() for word in entry.split() if _COMMIT.fullmatch(word)), commit)
    staged = _git(root, "ls-files", "--stage", "-z", "--", _ANYWHERE).split(b"\0")
    for row in filter(None, staged):
        facts, _, path = row.partition(b"\t")
        place_of.setdefault(facts.split(b" ")[1].decode(), f"{Path(os.fsdecode(path)).name} in git's index")
    return [
        _Lock(place, _digests_of(_git(root, "cat-file", "blob", blob))) for blob, place in place_of.items()
    ]


def _digests_of(lock: bytes) -> tuple[str, ...]:
    if lock.startswith(_POINTER):  # the digest in there is the file's own
        return ()
    return tuple(sorted(set(_DIGEST.findall(lock.decode(errors="replace")))))


def _git(root: Path, *words: str, given: bytes = b"") -> bytes:
    """What git prints about the repository around ``root``, whatever the environment would make of that."""
    command = ["git", "--no-replace-objects", "-C", str(root), *words]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    # grafts and replaced objects hide commits; a prompt for a password would wait for ever
    clean |= {"GIT_GRAFT_FILE": os.devnull, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    return subprocess.run(command, input=given, capture_output=True, check=True, env=clean).stdout


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
