"""The coverage policy: percent, subgraphs, and which operators may stay on the CPU."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifact.errors import ProofFailed
from artifact.manifest import Coverage
from compile.backends.coverage import CoverageTooLow, FallbackNotAllowed, TooManyPartitions, shortfall
from compile.request import CompilerOptions


def _coverage(**changes: Any) -> Coverage:
    settings: dict[str, Any] = {
        "percent": 96.0,
        "compiled": 96,
        "total": 100,
        "partitions": 2,
        "fallback": ("aten::Int", "aten::embedding"),
    }
    return Coverage(**{**settings, **changes})


def test_the_default_policy_looks_at_the_percentage_alone() -> None:
    """Embeddings always stay on the host."""
    assert shortfall(_coverage(partitions=40), CompilerOptions(), "b1_s16") is None


@pytest.mark.parametrize(
    ("policy", "error", "command"),
    [
        (CompilerOptions(min_coverage=97), CoverageTooLow, "--min-coverage 96"),
        (CompilerOptions(max_partitions=1), TooManyPartitions, "--max-partitions 2"),
        (
            CompilerOptions(allowed_fallback=("aten::embedding",)),
            FallbackNotAllowed,
            "--allow-fallback aten::Int",
        ),
    ],
)
def test_each_rule_fails_by_itself_and_its_fix_would_mend_it(
    policy: CompilerOptions, error: type[ProofFailed], command: str
) -> None:
    """Exit code 3; the command has the value that would pass."""
    found = shortfall(_coverage(), policy, "b8_s128")

    assert type(found) is error
    assert found.exit_code == 3
    assert "b8_s128" in found.what
    assert f"`traceship compile {command}`" in found.fix
    assert '`traceship compile --waive coverage="why"`' in found.fix


def test_what_the_rules_name_exactly_passes() -> None:
    """The limits belong to the allowed side."""
    policy = CompilerOptions(
        min_coverage=96, max_partitions=2, allowed_fallback=("aten::embedding", "aten::Int", "aten::cumsum")
    )

    assert shortfall(_coverage(), policy, "b1_s16") is None


@given(
    percent=st.floats(0, 100),
    partitions=st.integers(0, 20),
    minimum=st.floats(0, 100),
    maximum=st.none() | st.integers(1, 20),
)
def test_a_looser_policy_never_fails_what_a_stricter_one_passes(
    percent: float, partitions: int, minimum: float, maximum: int | None
) -> None:
    """Lowering a limit cannot hurt."""
    coverage = _coverage(percent=percent, partitions=partitions)
    strict = CompilerOptions(min_coverage=minimum, max_partitions=maximum)
    loose = CompilerOptions(min_coverage=minimum / 2, max_partitions=None)

    if shortfall(coverage, strict, "b") is None:
        assert shortfall(coverage, loose, "b") is None
