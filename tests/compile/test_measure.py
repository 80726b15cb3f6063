"""What a lock says of a replica's speed is what was done with the artifact itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import compile.measure
from artifact.verify import verify
from compile.measure import measure
from compile.runners import run_local
from tests.compile.world import make_request


def test_a_start_is_the_time_to_load_every_graph(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica serves all of its buckets, and loads them before the first answer."""
    compiled = run_local(make_request(tiny_bert, tmp_path / "out", "1x16", "2x16", "1x8"), [].append)
    loaded: list[Any] = []
    load_graph = compile.measure.load_graph

    def noted(*arguments: Any) -> Any:
        loaded.append(load_graph(*arguments))
        return loaded[-1]

    monkeypatch.setattr(compile.measure, "load_graph", noted)

    speed = measure(verify(compiled.path))

    assert len(loaded) == 3
    assert speed.measured
    assert speed.per_second > 0
    assert "bucket 2x16" in speed.source
