"""What holds for every test."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

# An example that takes longer than the 0.2 s of the default is no fault: the machine had other work.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

# A suite that a script starts in the background inherits an ignored SIGINT and would hand that on to
# the processes whose Ctrl-C it tests.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def own_compile_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test finds what a person compiled, and none leaves anything for them."""
    before = os.environ.get("TRACESHIP_CACHE")
    os.environ["TRACESHIP_CACHE"] = str(tmp_path_factory.mktemp("compile-cache"))
    yield
    del os.environ["TRACESHIP_CACHE"]
    if before is not None:
        os.environ["TRACESHIP_CACHE"] = before
