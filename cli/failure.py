"""An error as three lines (what, why, fix) or as one JSON object, and the exit code that goes with it."""

from __future__ import annotations

import json
import sys
import traceback

from artifact.descriptors import TooFewDescriptors, check_descriptors
from artifact.errors import TraceshipError, UsageError
from compile.durable import no_room


class Misuse(UsageError):
    """The command line itself cannot be understood."""

    id = "arguments"


class SubprocessFailed(TraceshipError):
    """A program that we started ended with an error; its own words stand above ours."""

    id = "subprocess-failed"

    def __init__(self, *, program: str, doing: str, code: int, fix: str) -> None:
        super().__init__(what=f"could not {doing}", why=f"`{program}` ended with exit code {code}", fix=fix)


class Unexpected(TraceshipError):
    """An error that nobody foresaw: a fault of traceship or of the machine."""

    id = "unexpected"

    def __init__(self, *, error: BaseException) -> None:
        super().__init__(
            what="traceship met an error that it does not know",
            why=f"{type(error).__name__}: {error}",
            fix="run it again with --debug and report what it prints",
        )


def report(error: BaseException, *, as_json: bool, debug: bool) -> int:
    """Print ``error`` to stderr and return the exit code."""
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    known = error if isinstance(error, TraceshipError) else _recognised(error)
    if as_json:
        words = {"id": known.id, "what": known.what, "why": known.why, "fix": known.fix}
        print(json.dumps({"error": words}), file=sys.stderr)
    else:
        print(f"error: {known.what}\n  why: {known.why}\n  fix: {known.fix}", file=sys.stderr)
    return known.exit_code


def _recognised(error: BaseException) -> TraceshipError:
    try:
        check_descriptors(error, doing="run the command")
    except TooFewDescriptors as known:
        return known
    if (full := no_room(error, place="a file")) is not None:
        return full
    if isinstance(error, PermissionError):
        return NoPermission(path=str(error.filename), why=str(error.strerror))
    if isinstance(error, OSError) and error.filename is not None:
        return FileTrouble(path=str(error.filename), why=str(error.strerror))
    return Unexpected(error=error)


class NoPermission(TraceshipError):
    """The file system does not let this user read or write a path."""

    id = "no-permission"

    def __init__(self, *, path: str, why: str) -> None:
        super().__init__(
            what=f"{path} cannot be read or written by this user",
            why=why,
            fix="choose another folder, or change that one's owner or mode",
        )


class FileTrouble(TraceshipError):
    """The file system refused an operation (full, read-only, not a folder …)."""

    id = "file-trouble"

    def __init__(self, *, path: str, why: str) -> None:
        super().__init__(
            what=f"{path} could not be used", why=why, fix="free or repair that place, then run again"
        )
