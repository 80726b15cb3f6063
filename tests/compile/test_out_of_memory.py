"""Whether an error means that memory was too little, however it was told."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from artifact.errors import TraceshipError
from compile.backends.neuron_errors import CompilerOutOfMemory, CompilerTimedOut, TraceFailed
from compile.backends.neuron_log import explain
from compile.children import ChildFailed, Failure, as_raised
from compile.out_of_memory import ran_out_of_memory

_TORCH = "RuntimeError: [enforce fail at alloc_cpu.cpp:75] . DefaultCPUAllocator: can't allocate memory: 137"
_LOGS = Path(__file__).with_name("logs")
_OF_THE_COMPILER = ("compiler_killed", "worker_killed", "allocation_failed")


def _child(code: int | None, log: str = "") -> ChildFailed:
    return ChildFailed(job="comparison", exit_code=code, log=log)


def _because_of(cause: BaseException) -> TraceshipError:
    """The error that a caller makes of a child's."""
    try:
        raise TraceFailed(bucket="b1_s16", why="no reason") from cause
    except TraceFailed as error:
        return error


@pytest.mark.parametrize(
    "error",
    [
        CompilerOutOfMemory(bucket="b1_s16"),
        *(explain((_LOGS / f"{name}.log").read_text(), 1, "b1_s16", 60) for name in _OF_THE_COMPILER),
        _child(-9),
        _child(137),
        _child(1, f"Traceback\n{_TORCH}\nframe #0: c10::ThrowEnforceNotMet"),
        _child(1, "Traceback\nMemoryError\n"),
        _because_of(_child(1, _TORCH)),
        MemoryError(),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
    ],
    ids=[
        *("compiler", *_OF_THE_COMPILER, "child", "by a shell"),
        *("torch", "python", "cause", "parent", "fork"),
    ],
)
def test_every_way_of_saying_so_is_understood(error: BaseException) -> None:
    """A killed child, a killed compiler, a refused allocation; here or in a child."""
    assert ran_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        CompilerTimedOut(bucket="b1_s16", seconds=60),
        _child(None, _TORCH),
        _child(1, "KeyError: 'x'"),
        _child(-11),
        _child(139),
        _because_of(ValueError("x")),
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        KeyboardInterrupt(),
    ],
    ids=["time", "child's time", "child's error", "segfault", "by a shell", "cause", "disk", "interrupted"],
)
def test_nothing_else_is_taken_for_it(error: BaseException) -> None:
    """More memory would not help; a child at its time limit is killed by us."""
    assert not ran_out_of_memory(error)


def test_a_childs_failure_that_came_from_another_process_can_be_asked() -> None:
    """What its own child ended with was not told; that must not hide the error."""
    words = {"id": ChildFailed.id, "what": "w", "why": "y", "fix": "f"}

    assert not ran_out_of_memory(as_raised(Failure(exit_code=1, **words)))
