"""The compiler's log is read for coverage, and a failure gets its name and the next command."""

from __future__ import annotations

from pathlib import Path

import pytest

from artifact.errors import TraceshipError
from compile.backends.neuron_log import (
    CompilerOutOfMemory,
    CompilerTimedOut,
    CoverageUnknown,
    GraphTooLarge,
    NothingCompiled,
    OperatorNotSupported,
    TraceFailed,
    explain,
    read_coverage,
)

_LOGS = Path(__file__).with_name("logs")
GOOD = (_LOGS / "mostly_compiled.log").read_text()

NOTHING = (_LOGS / "nothing_compiled.log").read_text()


def test_coverage_is_read_from_the_log() -> None:
    """Counts, partitions, and the operators that stay on the CPU."""
    coverage = read_coverage(GOOD, "b1_s128")

    assert (coverage.compiled, coverage.total, coverage.percent) == (548, 565, 96.99)
    assert coverage.partitions == 1
    assert coverage.fallback == ("aten::Int", "aten::embedding")


def test_a_log_under_two_handlers_counts_once() -> None:
    """Users' logs hold each line twice."""
    doubled = "\n".join(line for line in GOOD.splitlines() for _ in range(2))

    assert read_coverage(doubled, "b1_s128") == read_coverage(GOOD, "b1_s128")


def test_a_log_without_counts_proves_nothing() -> None:
    """Coverage that is not known is not assumed."""
    with pytest.raises(CoverageUnknown):
        read_coverage("INFO:Neuron:done", "b1_s128")


@pytest.mark.parametrize(
    ("log", "code", "error"),
    [
        ("", -9, CompilerOutOfMemory),
        ("", 137, CompilerOutOfMemory),
        ("INFO:Neuron:Compile command returned: -9\n" + NOTHING, 1, CompilerOutOfMemory),
        ("subprocess.TimeoutExpired: Command 'neuron-cc' timed out after 60 seconds", 1, CompilerTimedOut),
        (
            "ValueError: Message tensorflow.GraphDef exceeds maximum protobuf size of 2GB: 26843",
            1,
            GraphTooLarge,
        ),
        (NOTHING, 1, NothingCompiled),
        ("NotImplementedError: Unsupported operator: aten::frobnicate", 1, OperatorNotSupported),
        ("Traceback\nKeyError: 'x'", 1, TraceFailed),
        ("", 1, TraceFailed),
    ],
)
def test_every_known_failure_has_its_name(log: str, code: int, error: type[TraceshipError]) -> None:
    """And the bucket is in it."""
    found = explain(log, code, "b8_s128", 60)

    assert type(found) is error
    assert "b8_s128" in found.what
    assert found.fix


def test_zero_coverage_names_what_is_not_supported() -> None:
    """Only the operators that the device lacks, not those that could have run there."""
    assert "aten::embedding" in explain(NOTHING, 1, "b1_s16", 60).why
    assert "aten::add" not in explain(NOTHING, 1, "b1_s16", 60).why


def test_an_unknown_failure_shows_its_last_line() -> None:
    """The place to look, not the whole log."""
    assert explain("Traceback\nKeyError: 'x'", 1, "b1_s16", 60).why == "KeyError: 'x'"
