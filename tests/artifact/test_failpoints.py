"""Failpoints do nothing outside the tests."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from artifact import failpoints
from tests.kit.command import CHECKOUT

SHIPPED = (
    "artifact",
    "cli",
    "compile",
    "fleet",
    "inference_code",
    "infra",
    "local_aws",
    "settings",
    "app.py",
)


def _sources() -> list[Path]:
    folders = [CHECKOUT / name for name in SHIPPED]
    return [path for one in folders for path in ([one] if one.is_file() else sorted(one.rglob("*.py")))]


def test_nothing_outside_the_tests_arms_a_failpoint() -> None:
    """No code that is shipped takes more of the module than the place to stand: none can fail on purpose."""
    for path in _sources():
        assert _taken(ast.parse(path.read_text(encoding="utf-8"))) <= {"failpoint"}, path


def _taken(tree: ast.AST) -> set[str]:
    """What a module imports of ``artifact.failpoints``; the module as a whole is "everything"."""
    found: set[str] = set()
    for node in ast.walk(tree):
        names = {alias.name for alias in getattr(node, "names", ()) if isinstance(alias, ast.alias)}
        if isinstance(node, ast.ImportFrom) and node.module == "artifact.failpoints":
            found |= names
        if isinstance(node, ast.Import) and "artifact.failpoints" in names:
            found.add("everything")
        if isinstance(node, ast.ImportFrom) and node.module == "artifact" and "failpoints" in names:
            found.add("everything")
    return found


def test_the_module_has_no_switch_of_its_own() -> None:
    """Neither the environment nor a file can arm it by accident."""
    tree = ast.parse((CHECKOUT / "artifact/failpoints.py").read_text(encoding="utf-8"))
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}

    assert not used & {"environ", "getenv", "open", "read_text", "read_bytes"}


def test_an_unarmed_failpoint_is_one_shared_object() -> None:
    """It costs a comparison, and nothing happens inside."""
    assert failpoints.failpoint("lock.write") is failpoints.failpoint("publish.manifest")
    with failpoints.failpoint("lock.write"):
        done = True
    assert done


@pytest.mark.parametrize(
    ("action", "code", "done"),
    [("error", 1, False), ("exit", failpoints.EXIT_CODE, False), ("kill", -9, False), ("lost", 1, True)],
)
def test_an_armed_failpoint_does_what_it_was_told(action: str, code: int, done: bool) -> None:
    """Only a lost acknowledgement comes after the step."""
    program = (
        "from artifact.failpoints import arm, failpoint\n"
        f"arm('here', '{action}', nth=2)\n"
        "for turn in (1, 2):\n"
        "    with failpoint('elsewhere'): pass\n"
        "    with failpoint('here'): print('done', turn, flush=True)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )

    assert ended.returncode == code
    assert ("done 1" in ended.stdout, "done 2" in ended.stdout) == (True, done)


def test_an_unknown_action_is_refused() -> None:
    """A typing mistake in a test is not a test that passes."""
    with pytest.raises(ValueError, match="explode"):
        failpoints.arm("lock.write", "explode")
