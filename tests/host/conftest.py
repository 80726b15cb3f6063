"""An AWS on loopback for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.host.loopback_aws import Aws, loopback_aws


@pytest.fixture
def aws() -> Iterator[Aws]:
    """What the instance asks for."""
    with loopback_aws() as found:
        yield found
