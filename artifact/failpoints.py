"""Named places at which a test lets a process fail: around every step that outlives the process.

Nothing in the command, the stages or the server arms them, whatever the environment or the
settings say: ``arm`` is called by the tests only, which a test sees to. Unarmed, a failpoint is one
comparison. ``traceship debug failpoints`` lists them out of the source.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

ACTIONS = ("error", "exit", "kill", "lost")
"""``error``: an exception in place of the step; ``exit``: the process ends; ``kill``: it is killed;
``lost``: the step is done and an exception hides that (a lost acknowledgement)."""
EXIT_CODE = 86
_NOTHING = nullcontext()


class Injected(OSError):
    """What a failpoint raises: to the code around it a disk or a network that failed."""

    def __init__(self, name: str) -> None:
        super().__init__(errno.EIO, f"injected at the failpoint {name}")


@dataclass
class _Armed:
    """One failpoint that will act once, when it is reached for the ``nth`` time."""

    name: str
    action: str
    nth: int
    reached: int = field(default=0)

    @contextmanager
    def around(self) -> Iterator[None]:
        self.reached += 1
        if self.reached != self.nth:
            yield
            return
        if self.action == "error":
            raise Injected(self.name)
        if self.action == "exit":
            os._exit(EXIT_CODE)
        if self.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        yield
        raise Injected(self.name)


_armed: _Armed | None = None


def failpoint(name: str) -> AbstractContextManager[None]:
    """Stand around the step ``name``, a literal that is used once."""
    if _armed is None or _armed.name != name:
        return _NOTHING
    return _armed.around()


def arm(name: str, action: str, *, nth: int = 1) -> None:
    """Let this process fail at ``name``. For tests."""
    global _armed  # noqa: PLW0603 - one process, one fault
    if action not in ACTIONS:
        raise ValueError(f"{action} is none of {', '.join(ACTIONS)}")
    _armed = _Armed(name=name, action=action, nth=nth)


def acted() -> bool:
    """Whether the armed failpoint has been reached often enough to act. For tests."""
    return _armed is not None and _armed.reached >= _armed.nth
