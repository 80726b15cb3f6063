"""One fresh process for one job, several at once: started, watched, ended with everything below them.

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
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Generic, TypeVar

from artifact.canonical import decode, encode
from artifact.errors import TraceshipError
from artifact.manifest import Record
from artifact.signals import held_back

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
RUNNER = "TRACESHIP_RUNNER"
"""Environment variable for the compile that a runner starts: the runner's process id, or ``HOLDS_STDIN``."""
HOLDS_STDIN = "holds-stdin"
"""The runner is no parent of the compile, in a container, but has the other end of its standard input."""
KILLED = frozenset({-signal.SIGKILL, 128 + signal.SIGKILL})
"""Exit codes of a killed process, as its parent and as a shell between the two tell it. Most often it was
the kernel, for memory."""
_POLL_SECONDS = 0.02
"""Between two looks at the running children; ``Popen.wait`` with a time-out looks as often."""


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
    exit_code_of_child: int | None = None
    log: str = ""
    """Both are unknown of one that another process raised (``as_raised``)."""

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


@dataclass(frozen=True)
class Task(Generic[R]):
    """``python -m module JOB RESULT``, with job, result and log as files named ``name`` in ``folder``.

    ``timeout`` in seconds, after which the child and all below it are killed. ``environment`` is
    added to this process's own.
    """

    module: str
    job: Record
    answer: type[R]
    folder: Path
    name: str
    timeout: float | None
    environment: Mapping[str, str] = field(default_factory=dict)

    def path(self, ending: str) -> Path:
        """One of the files: ``job``, ``result``, ``failure``, ``log``."""
        return self.folder / f"{self.name}.{ending}"

    def log(self) -> str:
        """What the child and its own children have printed."""
        return self.path("log").read_text(encoding="utf-8", errors="replace")


@dataclass(frozen=True)
class Finished(Generic[R]):
    """An ended child. ``exit_code`` ``None``: it was out of time. ``seconds`` from start to end."""

    task: Task[R]
    exit_code: int | None
    seconds: float

    def read(self) -> Answer[R]:
        """What it wrote.

        Raises:
            TraceshipError: the very error that the child raised.
            ChildFailed: it crashed, was killed or ran out of time (``exit_code_of_child`` ``None``).
        """
        log = self.task.log()
        failure, result = self.task.path("failure"), self.task.path("result")
        if failure.exists():
            raise as_raised(decode(failure.read_bytes(), Failure))
        if self.exit_code != 0 or not result.exists():
            raise ChildFailed(job=self.task.name, exit_code=self.exit_code, log=log)
        return Answer(result=decode(result.read_bytes(), self.task.answer), log=log)


@dataclass(frozen=True)
class _Running(Generic[R]):
    task: Task[R]
    process: subprocess.Popen[bytes]
    started: float

    def ended(self) -> Finished[R] | None:
        """None while it runs and may go on running."""
        code, seconds = self.process.poll(), time.monotonic() - self.started
        out_of_time = self.task.timeout is not None and seconds > self.task.timeout
        if code is None and not out_of_time:
            return None
        return Finished(task=self.task, exit_code=code, seconds=seconds)


class Children(Generic[R]):
    """The running children. Leaving the ``with`` block ends them all, however it is left."""

    def __init__(self) -> None:
        self._running: list[_Running[R]] = []

    def __enter__(self) -> Children[R]:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        with held_back():
            _end([running.process for running in self._running])
            self._running.clear()

    def run(self, tasks: Sequence[Task[R]], *, width: int) -> Iterator[Finished[R]]:
        """Run every task, at most ``width`` at once, started in order; yield each as it ends."""
        waiting = list(tasks)
        while waiting or self._running:
            while waiting and len(self._running) < width:
                self._start(waiting.pop(0))
            yield self._next()

    def _start(self, task: Task[R]) -> None:
        task.path("job").write_bytes(encode(task.job))
        with task.path("log").open("wb") as log, held_back():
            process = _popen(task, log)
            self._running.append(_Running(task=task, process=process, started=time.monotonic()))

    def _next(self) -> Finished[R]:
        """Wait for a child to end, and end what is left of its session."""
        while True:
            for running in self._running:
                finished = running.ended()
                if finished is not None:
                    with held_back():
                        _end([running.process])
                        self._running.remove(running)
                    return finished
            time.sleep(_POLL_SECONDS)


def run(
    module: str, job: Record, answer: type[R], *, folder: Path, name: str, timeout: float | None
) -> Answer[R]:
    """Run one child and return what it wrote; see ``Task``. ``folder`` must exist.

    Raises:
        TraceshipError: the very error that the child raised.
        ChildFailed: it crashed, was killed or ran out of time.
    """
    task = Task(module=module, job=job, answer=answer, folder=folder, name=name, timeout=timeout)
    children: Children[R] = Children()
    with children:
        (finished,) = children.run([task], width=1)
    return finished.read()


def _popen(task: Task[R], log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own."""
    paths = (str(task.path(ending)) for ending in ("job", "result", "failure"))
    return subprocess.Popen(
        [sys.executable, "-m", task.module, *paths],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**_environment(task), **task.environment},
        cwd=task.folder,  # `-m` imports from the current folder, where a user's own files may lie
        start_new_session=True,
    )


def _environment(task: Task[R]) -> dict[str, str]:
    """Ours, offline, and with a place of the child's own where transformers copies a checkpoint's code."""
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))
    modules = str(task.path("modules"))
    return {**os.environ, **_OFFLINE, "HF_MODULES_CACHE": modules, "PYTHONPATH": path}


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Kill what is left of each child's session: the compiler runs in processes of its own."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):  # the whole session has ended by itself
            os.killpg(process.pid, signal.SIGKILL)
    for process in processes:
        process.wait()


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
    die_with_parent(signal.SIGKILL)
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


def die_with_parent(number: signal.Signals) -> None:
    """Ask Linux to send this process ``number`` when its parent dies; elsewhere the parent's
    ``finally`` must do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


def tied_to_runner() -> bool:
    """Have this process end with the runner that started it, if one did. False: it has died already."""
    runner = os.environ.pop(RUNNER, None)
    if runner is None:
        return True
    if runner == HOLDS_STDIN:
        threading.Thread(target=_end_with_stdin, name="runner", daemon=True).start()
        return True
    die_with_parent(signal.SIGTERM)
    return os.getppid() == int(runner)


def _end_with_stdin() -> None:
    """The engine closes a container's standard input when whoever attached it is gone."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
