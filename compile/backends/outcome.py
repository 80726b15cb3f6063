"""What a tracing child's end means: its error by name, or its coverage past the gate."""

from __future__ import annotations

from artifact.errors import TraceshipError
from artifact.manifest import Coverage
from compile.backends.coverage import shortfall
from compile.backends.neuron_errors import CompilerOutOfMemory, CompilerTimedOut, TraceFailed
from compile.backends.neuron_log import explain, read_coverage
from compile.children import KILLED, ChildFailed
from compile.request import CompileRequest, Shape


def cause(failed: ChildFailed, request: CompileRequest, shape: Shape) -> TraceshipError:
    """The error that a child without an answer amounts to, from its exit code and its log."""
    code, seconds = failed.exit_code_of_child, request.compiler.timeout_seconds
    if code is None:
        return CompilerTimedOut(bucket=shape.name, seconds=seconds)
    if request.target == "inf1":
        return explain(failed.log, code, shape.name, seconds)
    if code in KILLED:
        return CompilerOutOfMemory(bucket=shape.name)
    return TraceFailed(bucket=shape.name, why=failed.why)


def coverage_of(log: str, request: CompileRequest, shape: Shape) -> Coverage:
    """The coverage that the compiler's log tells.

    Raises:
        CoverageUnknown: it tells none.
        CoverageTooLow, TooManyPartitions, FallbackNotAllowed: below the policy, and not waived.
    """
    coverage = read_coverage(log, shape.name)
    broken = shortfall(coverage, request.compiler, shape.name)
    if broken is not None and not any(waiver.gate == "coverage" for waiver in request.waivers):
        raise broken
    return coverage
