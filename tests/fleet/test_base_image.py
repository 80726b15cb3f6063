"""The base image in a region's own registry."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from fleet.base_image import NAME, NoRegistry, base_image
from tests.kit.command import CHECKOUT


@pytest.mark.parametrize(
    ("region", "account"), [("us-east-1", "763104351884"), ("eu-south-1", "692866216735")]
)
def test_the_registry_is_the_regions(region: str, account: str) -> None:
    """Most regions share one account; newer ones have their own."""
    assert base_image(region) == f"{account}.dkr.ecr.{region}.amazonaws.com/{NAME}"


def test_a_region_without_one_is_refused_by_name() -> None:
    """No guess at an account that may belong to somebody else."""
    with pytest.raises(NoRegistry, match="mars-north-1") as refused:
        base_image("mars-north-1")

    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("words", "told"), [(["mars-north-1"], "fix:   build from the public image"), ([], "usage: ")]
)
def test_the_command_says_what_is_wrong_without_a_traceback(words: list[str], told: str) -> None:
    """Nothing on stdout, which goes into a build's argument."""
    ended = subprocess.run(
        [sys.executable, "-m", "fleet.base_image", *words],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stdout) == (2, "")
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("dockerfile", ["compile/Dockerfile", "inference_code/Dockerfile"])
def test_both_dockerfiles_begin_at_that_image(dockerfile: str) -> None:
    """One name, one tag, in three places that must agree."""
    text = (CHECKOUT / dockerfile).read_text(encoding="utf-8")

    assert re.search(rf"^ARG BASE=public\.ecr\.aws/neuron/{re.escape(NAME)}$", text, flags=re.MULTILINE)
    assert "\nFROM ${BASE}\n" in text
