"""The HTML report of a compile: where it may be written, and the result that it is drawn from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifact.errors import UsageError
from compile.durable import write_whole

if TYPE_CHECKING:
    from compile.request import CompiledArtifact


class NotAResult(UsageError):
    """A file that is not what a compile printed."""

    id = "not-a-compile-result"

    def __init__(self, *, path: str, why: str) -> None:
        super().__init__(
            what=f"{path} is not the result of a compile",
            why=why,
            fix="give the file that `traceship compile --json` was sent to",
        )


class NoResultKept(UsageError):
    """An artifact that `ship` did not compile itself, so nobody here knows how its proof went."""

    id = "no-result-kept"

    def __init__(self, *, artifact: str) -> None:
        super().__init__(
            what=f"there is nothing to report about {artifact}",
            why="the figures of its compile are not beside it; an artifact holds verdicts only",
            fix="leave `--report` out, or compile it anew with `traceship ship --no-cache --report FILE`",
        )


def keep_result(compiled: CompiledArtifact) -> None:
    """Write the result beside the artifact's folder, where ``kept_result`` finds it."""
    from compile.result import result_data

    text = json.dumps(result_data(compiled), indent=2, ensure_ascii=False)
    write_whole(_beside(compiled.path), text.encode())


def kept_result(artifact: Path) -> CompiledArtifact:
    """What ``keep_result`` wrote for this artifact.

    Raises:
        NoResultKept: nothing lies beside it.
        NotAResult: something else does.
    """
    path = _beside(artifact)
    if not path.is_file():
        raise NoResultKept(artifact=str(artifact))
    return load_result(path)


def load_result(path: Path) -> CompiledArtifact:
    """Read a file that ``traceship compile --json`` printed.

    Raises:
        NotAResult: it is missing, no JSON, or of another form.
    """
    from msgspec import ValidationError

    from compile.result import read_result

    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return read_result(data, Path(data["path"]))
    except FileNotFoundError as error:
        raise NotAResult(path=str(path), why="there is no such file") from error
    except KeyError as error:
        raise NotAResult(path=str(path), why=f"it has no {error.args[0]!r}") from error
    except (ValueError, TypeError, ValidationError) as error:
        raise NotAResult(path=str(path), why=str(error).splitlines()[0]) from error


def _beside(artifact: Path) -> Path:
    return artifact.with_name(f"{artifact.name}.result.json")
