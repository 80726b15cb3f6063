"""What the Neuron compiler's log says: how much runs on the device, or why it failed.

Runs in the parent, which is still there when the compiler's process was killed. The lines are
those of torch_neuron 1.x as users quote them in aws-neuron/aws-neuron-sdk#439, #462, #618, #645,
#677 and #1064; a log may hold each line twice, under two log handlers.
"""

from __future__ import annotations

import re

from artifact.errors import ProofFailed, TraceshipError
from artifact.manifest import Coverage

_COMPILED = re.compile(r"operators \(post-compilation\) before = (\d+), compiled = (\d+)")
_PARTITIONS = re.compile(r"neuron partitioner created (\d+) sub-graphs")
_FALLBACK_TITLE = "Not compiled operators"
_OPERATOR = re.compile(r"=> ([A-Za-z0-9_]+::\w+): \d+ \[(?:not )?supported\]")
_NOT_SUPPORTED = re.compile(r"=> ([A-Za-z0-9_]+::\w+): \d+ \[not supported\]")


class CompilerOutOfMemory(TraceshipError):
    """The kernel ended the child, or the compiler below it, for want of memory."""

    id = "compiler-out-of-memory"

    def __init__(self, *, bucket: str) -> None:
        super().__init__(
            what=f"the bucket {bucket} could not be traced: its process was killed (signal 9)",
            why="the machine ran out of memory; neuron-cc needs 16 GiB and more",
            fix="run `traceship compile` again on a larger machine (c5.4xlarge or more), "
            "or with a smaller `--bucket`",
        )


class CompilerTimedOut(TraceshipError):
    """The bucket took longer than its limit."""

    id = "compiler-timed-out"

    def __init__(self, *, bucket: str, seconds: int) -> None:
        super().__init__(
            what=f"the bucket {bucket} was not compiled in time",
            why=f"the limit is {seconds} s",
            fix=f"run `traceship compile --compiler-timeout {2 * seconds}`, or choose a smaller bucket",
        )


class NothingCompiled(ProofFailed):
    """No operator at all would run on the device."""

    id = "nothing-compiled"

    def __init__(self, *, bucket: str, fallback: tuple[str, ...]) -> None:
        named = f"; not supported: {', '.join(fallback)}" if fallback else ""
        super().__init__(
            what=f"nothing of the bucket {bucket} was compiled for the device",
            why=f"torch_neuron gave up with zero compiled operators{named}",
            fix="read the compiler's own error above it in the log, then try a smaller `--bucket` "
            "or `traceship compile --target cpu`",
        )


class GraphTooLarge(TraceshipError):
    """The graph with its weights does not fit into a protobuf message."""

    id = "graph-too-large"

    def __init__(self, *, bucket: str) -> None:
        super().__init__(
            what=f"the bucket {bucket} is too large for one compiled graph",
            why="weights and graph together pass the 2 GB limit of protobuf",
            fix="compile with separate weights (automatic above 1.9 GB of weights): "
            "`traceship compile --separate-weights`",
        )


class OperatorNotSupported(TraceshipError):
    """The compiler does not know an operator and nothing could take its place."""

    id = "operator-not-supported"

    def __init__(self, *, bucket: str, operators: tuple[str, ...]) -> None:
        super().__init__(
            what=f"the bucket {bucket} uses operators that the device does not have",
            why=f"not supported: {', '.join(operators)}",
            fix="take a model of another architecture, or `traceship compile --target cpu`",
        )


class CoverageUnknown(ProofFailed):
    """The compiler succeeded, but its log does not say what it compiled."""

    id = "coverage-unknown"

    def __init__(self, *, bucket: str) -> None:
        super().__init__(
            what=f"it is not known how much of the bucket {bucket} runs on the device",
            why="the compiler's log has no line on compiled operators",
            fix="use the torch-neuron version of compile/requirements.txt",
        )


class TraceFailed(TraceshipError):
    """The child failed in a way that has no name yet; ``why`` is its last line."""

    id = "trace-failed"

    def __init__(self, *, bucket: str, why: str) -> None:
        super().__init__(
            what=f"the bucket {bucket} could not be traced",
            why=why,
            fix="run `traceship compile --debug` to see the whole log",
        )


class CoverageTooLow(ProofFailed):
    """Fewer operators than the policy asks for would run on the device."""

    id = "coverage-too-low"

    def __init__(self, *, bucket: str, percent: float, minimum: float, fallback: tuple[str, ...]) -> None:
        super().__init__(
            what=f"only {percent:.1f} % of the operators of bucket {bucket} run on the device",
            why=f"at least {minimum:g} % must; on the CPU instead: {', '.join(fallback) or 'not named'}",
            fix='lower it with `--min-coverage`, or accept it with `--waive coverage="why"`',
        )


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
    """The error that a failed compile's log and exit code amount to."""
    if exit_code in (-9, 137) or "Compile command returned: -9" in log:
        return CompilerOutOfMemory(bucket=bucket)
    if re.search(r"TimeoutExpired|[Tt]imed out after", log):
        return CompilerTimedOut(bucket=bucket, seconds=timeout_seconds)
    if re.search(r"maximum protobuf size of 2 ?GB|exceeds maximum protobuf size", log):
        return GraphTooLarge(bucket=bucket)
    if "No operations were successfully partitioned" in log:
        return NothingCompiled(bucket=bucket, fallback=_operators(log, _NOT_SUPPORTED))
    missing = tuple(sorted(set(re.findall(r"(?:Unsupported|not implemented)[^\n]*?(\w+::\w+)", log))))
    if missing:
        return OperatorNotSupported(bucket=bucket, operators=missing)
    return TraceFailed(bucket=bucket, why=_last_line(log, exit_code))


def _operators(log: str, pattern: re.Pattern[str]) -> tuple[str, ...]:
    """Operators of the table that follows the title, each once, sorted."""
    table = log.rpartition(_FALLBACK_TITLE)[2] if _FALLBACK_TITLE in log else ""
    return tuple(sorted(set(pattern.findall(table))))


def _last_line(log: str, exit_code: int) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return lines[-1][:300] if lines else f"its process ended with exit code {exit_code}"
