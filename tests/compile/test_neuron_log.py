"""The compiler's log is read for coverage, and a failure gets its name and the next command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifact.errors import TraceshipError
from compile.backends.neuron_errors import (
    CompilerCrashed,
    CompilerMissing,
    CompilerOutOfMemory,
    CompilerTimedOut,
    CoverageUnknown,
    DiskFull,
    GraphTooLarge,
    NothingCompiled,
    OperatorNotSupported,
    PipelineDoesNotFit,
    TraceFailed,
)
from compile.backends.neuron_log import explain, read_coverage

_LOGS = Path(__file__).with_name("logs")
GOOD = (_LOGS / "mostly_compiled.log").read_text()
_LINES = [line for path in sorted(_LOGS.glob("*.log")) for line in path.read_text().splitlines()]
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


@pytest.mark.parametrize(
    ("name", "error", "reason", "command"),
    [
        ("compiler_killed", CompilerOutOfMemory, "killed", "--jobs 1"),
        ("worker_killed", CompilerOutOfMemory, "terminated abruptly", "--jobs 1"),
        ("allocation_failed", CompilerOutOfMemory, "std::bad_alloc", "--jobs 1"),
        ("timed_out", CompilerTimedOut, "60 s", "--compiler-timeout 120"),
        ("protobuf", GraphTooLarge, "2 GB", "--separate-weights"),
        ("disk_full", DiskFull, "intermediate files", "--out"),
        ("compiler_absent", CompilerMissing, "neuron-cc", "--runner docker"),
        ("pipeline_too_wide", PipelineDoesNotFit, "not be suitable", "--pipeline-cores 1"),
        ("unknown_operator", OperatorNotSupported, "aten::adaptive_max_pool2d", "--target cpu"),
        ("spiller_assertion", CompilerCrashed, "Assertion `0' failed", "--repro"),
        ("frontend_error", CompilerCrashed, "Traceback", "--repro"),
        ("segfault", CompilerCrashed, "signal 11", "--repro"),
        ("nothing_compiled", NothingCompiled, "aten::embedding", "--repro"),
    ],
)
def test_each_log_of_the_corpus_is_told_apart_and_gets_its_next_command(
    name: str, error: type[TraceshipError], reason: str, command: str
) -> None:
    """Most of them also end in "no operations", which names no cause."""
    found = explain((_LOGS / f"{name}.log").read_text(), 1, "b8_s128", 60)

    assert type(found) is error
    assert reason in found.why
    assert re.search(rf"`traceship compile {re.escape(command)}\b", found.fix)


def test_every_log_of_the_corpus_has_its_source() -> None:
    """A log without one could be anything."""
    told = (_LOGS / "README.md").read_text()

    assert [path.stem for path in _LOGS.glob("*.log") if f"`{path.stem}`" not in told] == []


@given(
    st.lists(
        st.sampled_from([line for path in _LOGS.glob("*.log") for line in path.read_text().splitlines()])
    )
)
def test_any_mixture_of_lines_gets_an_error_that_names_the_bucket(lines: list[str]) -> None:
    """The classifier has an answer for every log and never fails itself."""
    found = explain("\n".join(lines), 1, "b8_s128", 60)

    assert "b8_s128" in found.what
    assert found.why
    assert "`traceship compile" in found.fix
