"""A child's answer, its errors and its end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from artifact.errors import TraceshipError, UsageError
from artifact.manifest import Record
from compile.children import ChildFailed, Children, Finished, Task, run
from compile.preflight import HeadMissing

_ROOT = Path(__file__).resolve().parents[2]


class Order(Record, frozen=True, kw_only=True):
    """What the child is to do."""

    do: str


class Reply(Record, frozen=True, kw_only=True):
    """What it found."""

    said: str


def work(order: Order) -> Reply:
    """The child's side."""
    if order.do == "fail":
        raise HeadMissing(task="text-classification", why="as ordered")
    if order.do == "stranger":

        class OnlyTheChildKnows(UsageError):
            id = "only-the-child-knows"

        raise OnlyTheChildKnows(what="it failed", why="as ordered", fix="order something else")
    if order.do == "crash":
        raise RuntimeError("the last words")
    if order.do == "kill":
        os.kill(os.getpid(), 9)
    if order.do == "threads":
        return Reply(said=os.environ["OMP_NUM_THREADS"])
    if order.do.startswith("meet"):
        return Reply(said=_meet(Path(order.do.partition(" ")[2])))
    if order.do == "hang":
        print(f"grandchild {_grandchild()}", flush=True)
        time.sleep(600)
    return Reply(said=os.environ["HF_HUB_OFFLINE"])


def _meet(folder: Path) -> str:
    """Stay until another child is here too; say how many were here at once."""
    (folder / str(os.getpid())).touch()
    for _ in range(600):
        here = len(list(folder.iterdir()))
        if here > 1:
            return str(here)
        time.sleep(0.05)
    return "1"


def _grandchild() -> int:
    import subprocess
    import sys

    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid


def _run(do: str, folder: Path, timeout: float | None = 60) -> str:
    return run(
        "tests.compile.test_children", Order(do=do), Reply, folder=folder, name="job", timeout=timeout
    ).result.said


def test_a_child_answers_and_is_offline(tmp_path: Path) -> None:
    """The hub is switched off in every child."""
    assert _run("answer", tmp_path) == "1"


def test_a_childs_error_is_raised_here_as_the_same_class(tmp_path: Path) -> None:
    """With its words and its exit code."""
    with pytest.raises(HeadMissing, match="as ordered") as raised:
        _run("fail", tmp_path)

    assert raised.value.exit_code == 2


@pytest.mark.parametrize(
    ("do", "code", "words"), [("crash", 1, "the last words"), ("kill", -9, "said nothing")]
)
def test_a_crashed_child_leaves_its_exit_code_and_last_words(
    do: str, code: int, words: str, tmp_path: Path
) -> None:
    """For the caller, who can explain them."""
    with pytest.raises(ChildFailed, match=words) as raised:
        _run(do, tmp_path)

    assert raised.value.exit_code_of_child == code


class _Clock:
    """``time`` for ``compile.children``: an hour passes once the child has said that its own child runs."""

    sleep = staticmethod(time.sleep)

    def __init__(self, log: Path) -> None:
        self._log = log

    def monotonic(self) -> float:
        said = self._log.read_text() if self._log.exists() else ""
        return time.monotonic() + (3600 if said.endswith("\n") else 0)


def test_a_child_out_of_time_ends_with_its_own_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiler is a grandchild; it must not run on."""
    monkeypatch.setattr("compile.children.time", _Clock(tmp_path / "job.log"))
    with pytest.raises(ChildFailed) as raised:
        _run("hang", tmp_path, timeout=600)

    assert raised.value.exit_code_of_child is None
    grandchild = int(raised.value.log.split()[1])
    assert _gone(grandchild)


def _gone(pid: int) -> bool:
    """Ended, or ended and not yet collected by init."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_an_error_that_only_the_child_knows_keeps_its_id_and_exit_code(tmp_path: Path) -> None:
    """The parent need not have imported the class: scripts see the same id and the same code."""
    with pytest.raises(TraceshipError) as raised:
        _run("stranger", tmp_path)

    assert (raised.value.id, raised.value.exit_code) == ("only-the-child-knows", 2)
    assert raised.value.fix == "order something else"


def _task(name: str, do: str, folder: Path, **environment: str) -> Task[Reply]:
    return Task(
        module="tests.compile.test_children",
        job=Order(do=do),
        answer=Reply,
        folder=folder,
        name=name,
        timeout=60,
        environment=environment,
    )


def _all(tasks: list[Task[Reply]], width: int) -> list[Finished[Reply]]:
    with Children[Reply]() as children:
        return list(children.run(tasks, width=width))


def test_children_run_at_once_up_to_the_width(tmp_path: Path) -> None:
    """Two that wait for each other both come to an end."""
    (tmp_path / "meeting").mkdir()
    tasks = [_task(name, f"meet {tmp_path / 'meeting'}", tmp_path) for name in ("one", "two")]

    finished = _all(tasks, width=2)

    assert [found.read().result.said for found in finished] == ["2", "2"]
    assert {found.task.name for found in finished} == {"one", "two"}


def test_one_at_a_time_ends_in_the_order_of_the_tasks(tmp_path: Path) -> None:
    """And a task's environment is its child's."""
    tasks = [_task(name, "threads", tmp_path, OMP_NUM_THREADS=name) for name in ("3", "1", "2")]

    finished = _all(tasks, width=1)

    assert [found.read().result.said for found in finished] == ["3", "1", "2"]


def test_a_failed_child_does_not_hide_the_others(tmp_path: Path) -> None:
    """Who reads decides; the pool only hands out what ended."""
    good, bad = _task("good", "answer", tmp_path), _task("bad", "crash", tmp_path)

    finished = {found.task.name: found for found in _all([bad, good], width=2)}

    assert finished["good"].read().result.said == "1"
    with pytest.raises(ChildFailed, match="the last words"):
        finished["bad"].read()


def test_leaving_the_pool_ends_every_child_and_its_own_children(tmp_path: Path) -> None:
    """An error or a Ctrl-C in the parent: none of them runs on."""
    tasks = [_task("quick", "answer", tmp_path), *(_task(f"h{n}", "hang", tmp_path) for n in range(2))]
    logs = [task.path("log") for task in tasks[1:]]

    with pytest.raises(KeyboardInterrupt):
        _interrupt_once(tasks, lambda: all("grandchild" in log.read_text() for log in logs))

    assert all(_gone(int(log.read_text().split()[1])) for log in logs)


def _interrupt_once(tasks: list[Task[Reply]], condition: Callable[[], bool]) -> None:
    with Children[Reply]() as children:
        next(children.run(tasks, width=len(tasks)))
        _wait_for(condition)
        raise KeyboardInterrupt


def _wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within 30 s")


if __name__ == "__main__":
    import sys

    from compile.children import child_main

    sys.exit(child_main(Order, work, sys.argv[1:]))
