"""Shell in user data, systemd units and Dockerfiles, read by the tools that know them."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra.worlds import CHECKOUT, World, text_of

BIN = Path(sys.prefix) / "bin"
DOCKERFILES = sorted(path for path in CHECKOUT.glob("*/Dockerfile*") if not path.parent.name.startswith("."))
SHELLS = ("sh", "bash", "/bin/sh", "/bin/bash")


@pytest.fixture(params=["cpu", "inf1", "pinned"])
def config(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The cloud-config of each world's machines."""
    world: World = request.getfixturevalue(request.param)
    texts = [
        text_of(template["Properties"]["LaunchTemplateData"]["UserData"])
        for role in world.templates
        for template in world.all(role, "AWS::EC2::LaunchTemplate").values()
    ]
    (text,) = texts
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def _scripts(config: dict[str, Any]) -> Iterator[str]:
    """Everything in a cloud-config that a shell will read, each as a script."""
    for row in config["runcmd"]:
        if isinstance(row, str):
            yield row
        elif row[0] in SHELLS and row[1] == "-c":
            yield row[2]
        else:
            yield shlex.join(row)
    for file in config["write_files"]:
        yield from _of_unit(file["content"]) if file["path"].endswith(".service") else ()
        if file["content"].startswith("#!") or file["path"].endswith(".sh"):
            yield file["content"]


def _of_unit(text: str) -> Iterator[str]:
    """What a unit's lines hand to a shell, with what systemd and the deploy put in."""
    for line in text.replace("\\\n", " ").splitlines():
        key, _, value = line.partition("=")
        words = shlex.split(value) if key.startswith("Exec") else []
        if words and words[0] in SHELLS:
            assert words[1] == "-c"
            yield re.sub(r"\$\{(\w+)\}|<(\w+)>", r"\1\2", words[2])


def _shellcheck(script: str) -> list[str]:
    """Findings of any severity; a script that names no shell is for the system's sh."""
    shell = [] if script.startswith("#!") else ["--shell", "sh"]
    result = subprocess.run(
        [str(BIN / "shellcheck"), "--norc", "--format", "json", "--severity", "style", *shell, "-"],
        input=script if script.endswith("\n") else f"{script}\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode in (0, 1), result.stderr
    return [f"SC{row['code']} {row['message']}" for row in json.loads(result.stdout)]


def test_shellcheck_finds_nothing_in_the_boot_scripts(config: dict[str, Any]) -> None:
    """Not even in style; what will be there only at deploy time stands as text."""
    scripts = list(_scripts(config))

    assert len(scripts) >= 4
    assert {script: found for script in scripts if (found := _shellcheck(script))} == {}


@pytest.mark.parametrize(
    ("script", "finding"),
    [
        ("rm -rf $DIRECTORY/*", "SC2086"),
        ("if [ $x = a ]; then", "SC1"),
        ("#!/bin/sh\n[[ a == a ]]", "SC3010"),
    ],
)
def test_shellcheck_finds_what_is_wrong(script: str, finding: str) -> None:
    """Else its silence would mean nothing."""
    assert any(found.startswith(finding) for found in _shellcheck(script))


def _systemd(unit: str, text: str, folder: Path) -> tuple[int, str]:
    """`systemd-analyze verify`, with programs that are not on this machine replaced by one that is."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("this machine has no systemd-analyze, so nothing can verify the unit")
    programs = r"^(Exec\w+=[-+!@:]*)(?:/usr/bin/docker|/usr/local/sbin/traceship-host) "
    here = re.sub(programs, r"\1/bin/true ", text, flags=re.MULTILINE)
    path = folder / unit
    path.write_text(here.replace("Requires=docker.service\n", ""))
    result = subprocess.run([analyze, "verify", str(path)], capture_output=True, text=True, check=False)
    return result.returncode, result.stderr


def test_systemd_accepts_every_unit(config: dict[str, Any], tmp_path: Path) -> None:
    """Without a warning; docker itself is not installed here."""
    units = {
        Path(file["path"]).name: file["content"]
        for file in config["write_files"]
        if file["path"].startswith("/etc/systemd/system/")
    }

    assert units
    for unit, text in units.items():
        assert _systemd(unit, text, tmp_path) == (0, "")


@pytest.mark.parametrize("line", ["TimeoutStopSec=soon", "Restrat=always", "ExecStart=relative/docker run"])
def test_systemd_refuses_what_is_wrong(config: dict[str, Any], tmp_path: Path, line: str) -> None:
    """A misspelt line is only warned about at boot, where nobody looks."""
    text = next(f["content"] for f in config["write_files"] if f["path"].endswith(".service"))

    broken = text.replace("[Service]\n", f"[Service]\n{line}\n")

    assert _systemd("broken.service", broken, tmp_path)[1] != ""


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_hadolint_finds_nothing_in_the_dockerfiles(path: Path) -> None:
    """Not even a remark, and no rule is ignored."""
    assert _hadolint(path) == []
    assert "hadolint ignore" not in path.read_text()


def test_every_dockerfile_is_read_and_hadolint_finds_what_is_wrong(tmp_path: Path) -> None:
    """An image by a tag that moves, and packages of no version."""
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM ubuntu:latest\nRUN apt-get install curl\n")

    assert [path.parent.name for path in DOCKERFILES] == ["compile", "inference_code"]
    assert {"DL3007", "DL3008"} <= set(_hadolint(bad))


def _hadolint(path: Path) -> list[str]:
    result = subprocess.run(
        [str(BIN / "hadolint"), "--format", "json", "--no-color", str(path)],
        cwd=path.parent,
        env={"PATH": "/usr/bin:/bin", "HOME": str(path.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode in (0, 1), result.stderr
    return [row["code"] for row in json.loads(result.stdout)]
