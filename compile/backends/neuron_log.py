"""What the Neuron compiler's log says: how much runs on the device, or why it failed.

Runs in the parent, which is still there when the compiler's process was killed. The lines are
those of torch_neuron 1.x and neuron-cc as users quote them; the number beside each pattern is of
aws-neuron/aws-neuron-sdk. A log may hold each line twice, under two log handlers.
"""

from __future__ import annotations

import re

from artifact.errors import TraceshipError
from artifact.manifest import Coverage
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
from compile.children import KILLED

_COMPILED = re.compile(r"operators \(post-compilation\) before = (\d+), compiled = (\d+)")
_PARTITIONS = re.compile(r"neuron partitioner created (\d+) sub-graphs")
_FALLBACK_TITLE = "Not compiled operators"
_OPERATOR = re.compile(r"=> ([A-Za-z0-9_]+::\w+): \d+ \[(?:not )?supported\]")
_NOT_SUPPORTED = re.compile(r"=> ([A-Za-z0-9_]+::\w+): \d+ \[not supported\]")

_KILLED = re.compile(r"Compile command returned: (?:-9|137)\b")  # 431, 439
NO_ALLOCATION = re.compile(
    r"std::bad_alloc|^MemoryError\b|Cannot allocate memory|DefaultCPUAllocator: (?:can't|not enough)"
    r"|terminated abruptly while the future was running",  # 328: a worker of the compiler was killed
    flags=re.MULTILINE,
)
_TIMED_OUT = re.compile(r"TimeoutExpired|[Tt]imed out after")
_TOO_LARGE = re.compile(
    r"maximum protobuf size of 2 ?GB"  # 104, 412
    r"|GraphDef cannot be larger than 2 ?GB|larger than the limit \(2147483647 bytes\)"
)
_DISK_FULL = re.compile(r"No space left on device")
_NO_COMPILER = re.compile(r"check that neuron-cc is installed and working")  # 462
_PIPELINE = re.compile(r"requested number of neuroncore-pipeline-cores \((\d+)\) may not be suitable")  # 618
_UNKNOWN_OPERATOR = re.compile(
    r"Operator (\w+::\w+) is not supported"  # 66, 130, 140
    r"|(?:Unsupported|not implemented)[^\n]*?(\w+::\w+)"
)
_INTERNAL = "An Internal Compiler Error has occurred"  # 86, 270, 291, 328, 807
_INTERNAL_WHY = re.compile(r"\[neuron-cc\]:\s*Error message:[ \t]*(\S.*)")
_ASSERTION = re.compile(r"^.*Assertion `.*' failed.*$", flags=re.MULTILINE)  # 86
_SIGNAL = re.compile(r"Compile command returned: -(\d+)")
_NOTHING = "No operations were successfully partitioned"  # 410, 603, 619


def read_coverage(log: str, bucket: str) -> Coverage:
    """How much of the bucket runs on the device, from the log of a compile that succeeded.

    Raises:
        CoverageUnknown: the log does not say.
    """
    counts = _COMPILED.findall(log)
    if not counts or int(counts[-1][0]) == 0:
        raise CoverageUnknown(bucket=bucket)
    total, compiled = int(counts[-1][0]), int(counts[-1][1])
    partitions = _PARTITIONS.findall(log)
    return Coverage(
        percent=round(100 * compiled / total, 2),
        compiled=compiled,
        total=total,
        partitions=int(partitions[-1]) if partitions else 0,
        fallback=_operators(log, _OPERATOR),
    )


def explain(log: str, exit_code: int, bucket: str, timeout_seconds: int) -> TraceshipError:
    """The error that a failed compile's log and exit code amount to.

    The causes are asked in order, the outer before the inner: a compiler that was killed also
    leaves a traceback, and every failed subgraph ends in "no operations".
    """
    if exit_code in KILLED or _KILLED.search(log):
        return CompilerOutOfMemory(bucket=bucket)
    if NO_ALLOCATION.search(log):
        return CompilerOutOfMemory(bucket=bucket, why=_line_of(NO_ALLOCATION, log))
    if _TIMED_OUT.search(log):
        return CompilerTimedOut(bucket=bucket, seconds=timeout_seconds)
    for cause in (_setting, _unsupported, _crash, _nothing):
        found = cause(log, bucket)
        if found is not None:
            return found
    return TraceFailed(bucket=bucket, why=_last_line(log, exit_code))


def _setting(log: str, bucket: str) -> TraceshipError | None:
    """What another option or another machine would mend."""
    if _TOO_LARGE.search(log):
        return GraphTooLarge(bucket=bucket)
    if _DISK_FULL.search(log):
        return DiskFull(bucket=bucket)
    if _NO_COMPILER.search(log):
        return CompilerMissing(bucket=bucket)
    pipeline = _PIPELINE.search(log)
    return PipelineDoesNotFit(bucket=bucket, cores=pipeline[1]) if pipeline else None


def _unsupported(log: str, bucket: str) -> TraceshipError | None:
    missing = {first or second for first, second in _UNKNOWN_OPERATOR.findall(log)}
    return OperatorNotSupported(bucket=bucket, operators=tuple(sorted(missing))) if missing else None


def _crash(log: str, bucket: str) -> TraceshipError | None:
    """The compiler's own words: its message, else the assertion that failed, else the signal."""
    if _INTERNAL in log:
        message, assertion = _INTERNAL_WHY.search(log), _ASSERTION.search(log)
        why = message[1] if message else assertion[0] if assertion else "an internal compiler error"
        return CompilerCrashed(bucket=bucket, why=why.strip()[:300])
    signal = _SIGNAL.search(log)
    return CompilerCrashed(bucket=bucket, why=f"it was ended by signal {signal[1]}") if signal else None


def _nothing(log: str, bucket: str) -> TraceshipError | None:
    if _NOTHING not in log:
        return None
    return NothingCompiled(bucket=bucket, fallback=_operators(log, _NOT_SUPPORTED))


def _operators(log: str, pattern: re.Pattern[str]) -> tuple[str, ...]:
    """Operators of the table that follows the title, each once, sorted."""
    table = log.rpartition(_FALLBACK_TITLE)[2] if _FALLBACK_TITLE in log else ""
    return tuple(sorted(set(pattern.findall(table))))


def _line_of(pattern: re.Pattern[str], log: str) -> str:
    return next(line.strip()[:300] for line in log.splitlines() if pattern.search(line))


def _last_line(log: str, exit_code: int) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return lines[-1][:300] if lines else f"its process ended with exit code {exit_code}"
