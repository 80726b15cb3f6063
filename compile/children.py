"""One fresh process for one job: started, watched, ended with everything below it.

Fresh, because a second trace in one process gives other bytes (class names count on), and apart,
because a compiler that eats the machine's memory is killed without a word. The child's output
goes to a log file, its answer to a result file, and one of our errors to a failure file.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

from artifact.canonical import decode, encode
from artifact.errors import TraceshipError
from artifact.manifest import Record

R = TypeVar("R", bound=Record)
J = TypeVar("J", bound=Record)

_ROOT = Path(__file__).resolve().parent.parent
_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
_PR_SET_PDEATHSIG = 1


class Failure(Record, frozen=True, kw_only=True):
    """One of our errors, on its way from a child to its parent, which raises the very same class."""

    id: str
    exit_code: int
    what: str
    why: str
    fix: str


class ChildFailed(TraceshipError):
    """A child ended without an answer. The caller, who knows the job, finds the cause in ``log``."""

    id = "child-failed"

    def __init__(self, *, job: str, exit_code: int | None, log: str) -> None:
        ended = "was stopped at its time limit" if exit_code is None else f"ended with exit code {exit_code}"
        lines = [line for line in log.splitlines() if line.strip()]
        super().__init__(
            what=f"the process for {job} {ended}",
            why=lines[-1][:300] if lines else "it said nothing",
            fix="run the command again with `--debug` to see its whole log",
        )
        self.exit_code_of_child = exit_code
        self.log = log


@dataclass(frozen=True)
class Answer(Generic[R]):
    """What a child wrote: its result, and everything it and its own children printed."""

    result: R
    log: str


def run(
    module: str, job: Record, answer: type[R], *, folder: Path, name: str, timeout: float | None
) -> Answer[R]:
    """Run ``python -m module JOB RESULT`` and return what it wrote.

    Args:
        folder: where job, result and log are written; it must exist.
        timeout: seconds after which the child and all its children are killed.

    Raises:
        TraceshipError: the very error that the child raised.
        ChildFailed: it crashed, was killed or ran out of time (``exit_code_of_child`` ``None``).
    """
    paths = {ending: folder / f"{name}.{ending}" for ending in ("job", "result", "failure", "log")}
    paths["job"].write_bytes(encode(job))
    exit_code = _run_to_end(module, paths, timeout)
    log = paths["log"].read_text(encoding="utf-8", errors="replace")
    if paths["failure"].exists():
        raise as_raised(decode(paths["failure"].read_bytes(), Failure))
    if exit_code != 0 or not paths["result"].exists():
        raise ChildFailed(job=name, exit_code=exit_code, log=log)
    return Answer(result=decode(paths["result"].read_bytes(), answer), log=log)


def _run_to_end(module: str, paths: dict[str, Path], timeout: float | None) -> int | None:
    command = [sys.executable, "-m", module, *(str(paths[key]) for key in ("job", "result", "failure"))]
    with paths["log"].open("wb") as log:
        # Held back while the child starts: an interrupt inside Popen would lose the child's id.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            child = _start(command, log, paths["log"].parent, before)
        except BaseException:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            raise
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            return child.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end_group(child)


def _start(
    command: list[str], log: IO[bytes], folder: Path, mask: set[signal.Signals | int]
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own, with the signal mask that the parent had."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=_environment(folder),
        cwd=folder,  # `-m` imports from the current folder, where a user's own files may lie
        start_new_session=True,
        preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, mask),  # noqa: PLW1509 - one thread
    )


def _environment(folder: Path) -> dict[str, str]:
    """Ours, offline, and with a place of the run's own where transformers copies a checkpoint's code."""
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))
    modules = str(folder / "modules")
    return {**os.environ, **_OFFLINE, "HF_MODULES_CACHE": modules, "PYTHONPATH": path}


def _end_group(child: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the child's session: the compiler runs in processes of its own."""
    with contextlib.suppress(ProcessLookupError):  # the whole session has ended by itself
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def as_raised(failure: Failure) -> TraceshipError:
    """An instance of the class with the failure's id, saying the same words.

    A class that only the child has imported is stood in for by one of the same id and exit code.
    """
    known = (c for c in _all_errors(TraceshipError) if c.id == failure.id)
    relayed: dict[str, Any] = {"id": failure.id, "exit_code": failure.exit_code}
    error_class: type[TraceshipError] = next(known, None) or type("Relayed", (TraceshipError,), relayed)
    error = error_class.__new__(error_class)
    TraceshipError.__init__(error, what=failure.what, why=failure.why, fix=failure.fix)
    return error


def _all_errors(base: type[TraceshipError]) -> list[type[TraceshipError]]:
    return [base, *(found for child in base.__subclasses__() for found in _all_errors(child))]


def child_main(job_type: type[J], work: Callable[[J], Record], arguments: list[str]) -> int:
    """The other end of ``run``: read the job, do the work, write the answer or the failure."""
    _die_with_parent()
    job_path, result_path, failure_path = (Path(argument) for argument in arguments)
    try:
        result = work(decode(job_path.read_bytes(), job_type))
    except TraceshipError as error:
        failure = Failure(
            id=error.id, exit_code=error.exit_code, what=error.what, why=error.why, fix=error.fix
        )
        failure_path.write_bytes(encode(failure))
        return error.exit_code
    result_path.write_bytes(encode(result))
    return 0


def _die_with_parent() -> None:
    """Ask Linux to end this process with its parent; elsewhere the parent's ``finally`` must do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
