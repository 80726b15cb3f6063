"""User data is read as cloud-init would: what starts our server is found, anything else is an error."""

from __future__ import annotations

import base64
import json
import os
import subprocess

import pytest

from tests.local_aws.emulator import CHECKOUT, INTERPRETER

FILE = "#cloud-config\nwrite_files:\n  - path: /etc/traceship/serve.env\n"
PROGRAM = """
import json, sys
from local_aws.extension.fleet_userdata import UserDataUnreadable, serve_environment
answers = []
for one in json.load(sys.stdin):
    try:
        answers.append(serve_environment(one))
    except UserDataUnreadable as error:
        answers.append(str(error))
print(json.dumps(answers))
"""
READ = {
    "plain": (f"{FILE}    content: |\n      A=1\n\n      # no\n      B=x=y\n", {"A": "1", "B": "x=y"}),
    "quoted": (f"{FILE}    content: |\n      A=\"a b\"\n      B='c'\n", {"A": "a b", "B": "c"}),
    "base64": (f"{FILE}    encoding: b64\n    content: QT0x\n", {"A": "1"}),
}
REFUSED = {
    "a script": ("#!/bin/sh\n", "does not begin with #cloud-config"),
    "not YAML": ("#cloud-config\n{", "is not YAML"),
    "a list": ("#cloud-config\n- 1\n", "is not a YAML mapping"),
    "another file": (
        "#cloud-config\nwrite_files:\n  - path: /etc/motd\n",
        "writes no /etc/traceship/serve.env",
    ),
    "no assignment": (f"{FILE}    content: |\n      hello\n", "not KEY=value: hello"),
    "packed": (f"{FILE}    encoding: gz+b64\n    content: QT0x\n", "the encoding gz+b64"),
}


@pytest.fixture(scope="module")
def answers() -> dict[str, object]:
    """What the reader says to each case, from one run of the interpreter it lives in."""
    texts = {name: text for name, (text, _) in {**READ, **REFUSED}.items()}
    encoded = [base64.b64encode(text.encode()).decode() for text in texts.values()]
    finished = subprocess.run(
        [INTERPRETER, "-c", PROGRAM], input=json.dumps([*encoded, "not base64!"]), text=True, check=True,
        capture_output=True, cwd=CHECKOUT, env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )  # fmt: skip
    return dict(zip([*texts, "not base64"], json.loads(finished.stdout)))


@pytest.mark.parametrize("case", READ)
def test_the_environment_is_read(answers: dict[str, object], case: str) -> None:
    """KEY=value lines, comments and quotes as systemd reads them."""
    assert answers[case] == READ[case][1]


@pytest.mark.parametrize("case", REFUSED)
def test_anything_else_is_refused_and_named(answers: dict[str, object], case: str) -> None:
    """An instance that would start no server gets none."""
    assert REFUSED[case][1] in str(answers[case])


def test_text_that_is_not_encoded_is_refused(answers: dict[str, object]) -> None:
    """A launch template carries base64."""
    assert "not base64" in str(answers["not base64"])
