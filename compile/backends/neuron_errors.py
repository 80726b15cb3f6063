"""How a bucket can fail to be compiled for the device, each with the command that comes next.

``neuron_log.py`` finds out which of them happened.
"""

from __future__ import annotations

from artifact.errors import ProofFailed, TraceshipError

_ELSEWHERE = "`traceship compile --target cpu`"
_BUNDLE = "`traceship compile --repro DIR`"


class CompilerOutOfMemory(TraceshipError):
    """The kernel ended the child, or the compiler below it, for want of memory, or an allocation failed."""

    id = "compiler-out-of-memory"

    def __init__(self, *, bucket: str, why: str = "its process was killed (signal 9)") -> None:
        super().__init__(
            what=f"the bucket {bucket} could not be traced: the machine ran out of memory",
            why=f"{why}; neuron-cc needs 16 GiB and more",
            fix="trace one bucket at a time with `traceship compile --jobs 1`, then on a larger machine "
            "(c5.4xlarge or more), or with a smaller `--bucket`",
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
            fix=f"keep the compiler's log with {_BUNDLE}, then try a smaller `--bucket` or {_ELSEWHERE}",
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
            fix=f"take a model of another architecture, or {_ELSEWHERE}",
        )


class CompilerCrashed(TraceshipError):
    """neuron-cc met an error of its own."""

    id = "compiler-crashed"

    def __init__(self, *, bucket: str, why: str) -> None:
        super().__init__(
            what=f"neuron-cc crashed on the bucket {bucket}",
            why=why,
            fix=f"try another `--bucket` or `--casting`; to report it, run {_BUNDLE} and send that folder",
        )


class CompilerMissing(TraceshipError):
    """torch_neuron is here, the compiler below it is not."""

    id = "compiler-missing"

    def __init__(self, *, bucket: str) -> None:
        super().__init__(
            what=f"the bucket {bucket} could not be compiled: neuron-cc does not run here",
            why="torch_neuron asks to check that neuron-cc is installed and working",
            fix="compile in the container that has it: `traceship compile --runner docker`",
        )


class PipelineDoesNotFit(TraceshipError):
    """The model cannot be spread over that many NeuronCores."""

    id = "pipeline-does-not-fit"

    def __init__(self, *, bucket: str, cores: str) -> None:
        super().__init__(
            what=f"the bucket {bucket} cannot be spread over {cores} NeuronCores",
            why="neuron-cc says that the number may not be suitable for this network",
            fix="use one core for a copy, `traceship compile --pipeline-cores 1`, or another number",
        )


class DiskFull(TraceshipError):
    """There is no room for the compiler's intermediate files."""

    id = "disk-full"

    def __init__(self, *, bucket: str) -> None:
        super().__init__(
            what=f"the bucket {bucket} could not be compiled: the disk is full",
            why="the compiler writes intermediate files of several times the model's size beside `--out`",
            fix="free space, or give `traceship compile --out` a folder on a larger disk",
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
            fix="run `traceship compile --debug` to see the whole log, "
            f"or {_BUNDLE} to keep it with all that is needed to run it again",
        )
