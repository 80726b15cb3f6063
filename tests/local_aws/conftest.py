"""One local AWS for all tests that only need one: the real server, real clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local_aws import launcher, processes
from local_aws.conformance import tracebacks
from local_aws.launcher import LocalAws


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """A running server, stopped at the end; no test may have made it fail inside."""
    state = tmp_path_factory.mktemp("local-aws")
    server = launcher.up(state)
    yield server
    launcher.down(state)
    assert processes.belonging_to(state) == []
    assert tracebacks(server.log) == []
