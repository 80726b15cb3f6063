"""What can go wrong with the AWS on this machine, in the words of ``artifact.errors``."""

from __future__ import annotations

from pathlib import Path

from artifact.errors import Conflict, ProofFailed, TraceshipError


class LocalAwsNotRunning(TraceshipError):
    """A command needs the local AWS and nothing answers for this state folder."""

    id = "local-aws-not-running"

    def __init__(self, *, state: Path) -> None:
        super().__init__(
            what="the local AWS is not running",
            why=f"no server holds the lock in {state}",
            fix="start it with `traceship local up`",
        )


class LocalAwsNotInstalled(TraceshipError):
    """The server has an environment of its own and that is not there."""

    id = "local-aws-not-installed"

    def __init__(self, *, interpreter: Path) -> None:
        super().__init__(
            what="the local AWS is not installed",
            why=f"{interpreter} does not exist",
            fix="run `make setup`",
        )


class PortInUse(Conflict):
    """Somebody else listens on the port that was asked for."""

    id = "local-aws-port-in-use"

    def __init__(self, *, port: int) -> None:
        super().__init__(
            what=f"port {port} cannot be used",
            why="another program listens on it",
            fix="choose another with `traceship local up --port N`, or leave the option out for a free one",
        )
        self.port = port


class AlreadyRunning(Conflict):
    """The server of this state folder runs, but on another port than the one asked for."""

    id = "local-aws-already-running"

    def __init__(self, *, port: int, asked: int) -> None:
        super().__init__(
            what=f"the local AWS runs on port {port} already",
            why=f"port {asked} was asked for and one state folder has one server",
            fix="stop it with `traceship local down` first",
        )


class BusyState(Conflict):
    """Another ``up`` or ``down`` works on the same state folder."""

    id = "local-aws-busy"

    def __init__(self, *, state: Path) -> None:
        super().__init__(
            what="the local AWS is being started or stopped by another command",
            why=f"that command holds the lock in {state}",
            fix="wait for it to finish, then run this again",
        )


class StateNotWritable(TraceshipError):
    """The state folder cannot be made or written."""

    id = "local-aws-state"

    def __init__(self, *, state: Path, reason: str) -> None:
        super().__init__(
            what=f"the local AWS cannot keep its state in {state}",
            why=reason,
            fix="make that folder writable, or remove whatever lies in its place",
        )


class LocalAwsUnhealthy(TraceshipError):
    """The server ended, or did not answer in time, after it was started."""

    id = "local-aws-unhealthy"

    def __init__(self, *, reason: str, log: Path, last_lines: str) -> None:
        super().__init__(
            what="the local AWS did not become healthy",
            why=f"{reason}; the log ends with:\n{last_lines}",
            fix=f"read {log}; to begin anew run `traceship local down` and remove that folder",
        )


class SelfCheckFailed(ProofFailed):
    """The server accepted something that AWS refuses, so nothing it accepts means anything."""

    id = "local-aws-self-check"

    def __init__(self, *, check: str, found: str) -> None:
        super().__init__(
            what=f"the local AWS failed its self-check: {check}",
            why=found,
            fix="run `make setup` to get the pinned version of ministack back",
        )
