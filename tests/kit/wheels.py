"""The wheels that the archive for AWS's stock container carries, as `make` fetched them."""

from __future__ import annotations

from pathlib import Path

import pytest

from compile.wheels import CHECKOUT, FETCHED, pinned


def wheels() -> Path:
    """Their folder; a test without them fails, as no test may fetch anything."""
    folder = CHECKOUT / FETCHED
    if not all((folder / wheel.file).exists() for wheel in pinned(CHECKOUT)):
        pytest.fail(f"{folder} lacks a wheel: run `make test` or `make quick`, which fetch them")
    return folder
