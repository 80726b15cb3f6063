"""A compile request as a row of an execution: where its result goes, and its command line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from artifact.errors import UsageError
from compile.batch.deployment import COMPILED, Deployment
from compile.batch.rungs import memory_key, remembered_gib
from compile.batch.upload import upload_model, upload_samples
from compile.cache.key import CacheKey, make_key
from compile.package import check_out
from compile.places import SCHEME
from compile.request import CompileRequest, Shape, Work
from compile.runners import arguments
from compile.source import ModelSource, resolve

Report = Callable[[str], None]

LABEL = re.compile(r"(?!.*--)[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
"""What a row may be called: with its execution's name in front, and a bucket's behind two hyphens, it is a
Batch job's name (at most 128 letters, digits, hyphens and underscores)."""


class NotOnBatch(UsageError):
    """An option that only makes sense on this machine."""

    id = "not-on-batch"

    def __init__(self, *, option: str, why: str) -> None:
        super().__init__(
            what=f"{option} does not go with the batch runner",
            why=why,
            fix=f"leave {option} out, or compile with `--runner local` or `docker`",
        )


@dataclass(frozen=True)
class Row:
    """A request whose model was found. ``prefix`` in the bucket is its artifact's, without a slash.

    ``spread``: each of its buckets is traced by a job of its own, and one more job proves them.
    """

    label: str
    request: CompileRequest
    found: ModelSource
    key: CacheKey
    prefix: str
    spread: bool

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The buckets that are traced apart; none unless it is spread."""
        return self.request.shapes if self.spread else ()

    @property
    def parts(self) -> str:
        """Where they go, below it ``BxL``; in the bucket, without a slash at the end."""
        return f"{self.prefix}.parts"

    def part_label(self, shape: Shape) -> str:
        """What the job of one bucket is called."""
        return f"{self.label}--{shape}"


@dataclass(frozen=True)
class Item:
    """What an execution is told of a row: the command line of its job, and before that of its parts' jobs.

    ``memory_gib`` by the names of jobs: with how much each begins, where that is known.
    """

    label: str
    words: list[str]
    parts: Mapping[str, list[str]]
    memory_gib: Mapping[str, int] = field(default_factory=dict)


def make_row(
    to: Deployment,
    label: str,
    request: CompileRequest,
    report: Report,
    *,
    afresh: str | None = None,
    spread: bool | None = None,
) -> Row:
    """Find the model and hash what shapes the artifact; nothing is sent yet.

    Args:
        spread: a job for each bucket. Unless given: for inf1, whose compiler takes minutes to hours for
            a bucket and most of a machine's memory; a trace for the CPU is done before a second job starts.
        afresh: a word that nobody used before, for a place that holds no earlier result.

    Raises:
        NotOnBatch: the request wants something that a job cannot give.
        OutputExists: ``request.out`` cannot be the artifact's place.
        SourceUnreadable: the file of samples.
        ModelNotFound and what else ``source.resolve`` raises.
    """
    if request.work.repro is not None:
        raise NotOnBatch(option="--repro", why="a job's disk ends with it, and the reproduction was there")
    check_out(request.out)
    if request.samples is not None:
        to.remembered.file(request.samples.parent, request.samples.name)
    found = resolve(
        request.model,
        revision=request.revision,
        identity=request.identity,
        allowed=request.allowed,
        report=report,
        hashed=to.remembered.file,
    )
    key = make_key(request, found, to.environment, to.remembered)
    name = key.digest if afresh is None else f"{key.digest}-{afresh}"
    wanted = request.target == "inf1" if spread is None else spread
    return Row(
        label=label,
        request=request,
        found=found,
        key=key,
        prefix=f"{COMPILED}/{name}",
        spread=wanted and len(request.shapes) > 1,
    )


def row_item(to: Deployment, row: Row, left: Sequence[Shape], report: Report) -> Item:
    """Upload what the jobs read and return their command lines, the words after ``python -m compile``.

    Args:
        left: the row's buckets that are still to be traced.

    Raises:
        AwsDenied, AwsUnreachable, AwsRefused: what S3 said.
    """
    request = row.request
    there = replace(
        request,
        model=upload_model(to, row.found, report),
        revision=row.found.identity.revision,
        identity=row.found.identity.id,
        samples=None,
        out=Path("/"),
        work=Work(jobs=request.work.jobs),
    )
    words = arguments(there)
    if request.samples is not None:
        words += ["--samples", upload_samples(to, request.samples, report)]
    parts = f"{SCHEME}{to.bucket}/{row.parts}"
    whole = [*words, "--json", *(["--parts", parts] if row.spread else [])]
    needs = {row.label: memory_key(row.found, request, request.shapes, "prove" if row.spread else "all")}
    needs |= {row.part_label(shape): memory_key(row.found, request, [shape], "trace") for shape in left}

    def job(label: str, words: list[str], out: str) -> list[str]:
        return [*_to(words, out), "--remember", f"{SCHEME}{to.bucket}/{needs[label]}"]

    known = {label: remembered_gib(to, key) for label, key in needs.items()}
    return Item(
        label=row.label,
        words=job(row.label, whole, f"{SCHEME}{to.bucket}/{row.prefix}"),
        parts={
            row.part_label(shape): job(
                row.part_label(shape), [*words, "--json", "--only", str(shape)], f"{parts}/{shape}"
            )
            for shape in left
        },
        memory_gib={label: gib for label, gib in known.items() if gib is not None},
    )


def _to(words: list[str], out: str) -> list[str]:
    """The words with another ``--out``."""
    at = words.index("--out") + 1
    return [*words[:at], out, *words[at + 1 :]]
