"""One compile request through the cache and the chosen runner, with its figures told to a person."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from cli.console import talk

if TYPE_CHECKING:
    from cli.project import Project
    from compile.cache.environment import Environment
    from compile.cache.through import Build, Caches, Explain
    from compile.request import CompiledArtifact, CompileRequest


@dataclass(frozen=True)
class Runner:
    """Something that compiles, and what of its surroundings shapes the result.

    ``name`` is local, docker or batch; ``image`` the container that it compiles in.
    """

    build: Build
    environment: Environment
    name: str
    image: str | None = None


def caches(*, shared: str | None, gigabytes: float) -> Caches:
    """The cache on this machine and, where ``shared`` names one, the one in S3.

    Raises:
        NotAPlace: ``shared`` is not ``s3://BUCKET/PREFIX``.
    """
    from compile.cache.local import LocalCache, default_folder
    from compile.cache.shared import SharedCache
    from compile.cache.through import Caches
    from compile.places import s3_client

    local = LocalCache(default_folder(), limit=int(gigabytes * 1e9))
    return Caches(local=local, shared=None if shared is None else SharedCache(shared, s3_client()))


def runner_of(
    runner: str,
    image: str | None,
    project: Project,
    *,
    fresh: bool = False,
    spread: bool | None = None,
) -> Runner:
    """The runner ``local``, ``docker`` or ``batch``.

    Args:
        image: docker only; unset: built from compile/Dockerfile, here.
        project: batch only: whose compile stack.
        fresh: batch only: take no result that an earlier execution left in the bucket.
        spread: batch only: a job for each bucket; ``None``: for inf1.

    Raises:
        EngineMissing, EngineFailed: the image could not be built.
        CompileStackAbsent, CompileImageUnknown: nothing that batch could run on is deployed.
    """
    from compile.cache.environment import in_image, this_python
    from compile.runners import build_image, run_docker, run_local

    if runner == "local":
        return Runner(
            build=lambda request: run_local(request, report), environment=this_python(), name=runner
        )
    if runner == "batch":
        return _batch(project, fresh=fresh, spread=spread)
    chosen = image or build_image(report)
    return Runner(
        build=lambda request: run_docker(request, chosen, report),
        environment=in_image(chosen),
        name=runner,
        image=chosen,
    )


def _batch(project: Project, *, fresh: bool, spread: bool | None) -> Runner:
    from cli.cloud import afresh, find_deployment
    from compile.batch.runner import run_batch

    to, word = find_deployment(project), afresh() if fresh else None
    return Runner(
        build=lambda request: run_batch(to, request, report, afresh=word, spread=spread),
        environment=to.environment,
        name="batch",
        image=to.image,
    )


def compile_on(
    chosen: Runner,
    request: CompileRequest,
    *,
    through: Caches | None,
    explain: Explain = lambda _explanation: None,
) -> CompiledArtifact:
    """Compile with ``chosen``, or take what an earlier compile of the same made; record how.

    Args:
        through: ``None``: compile in any case, and keep nothing.
        explain: told once why the cache did, or did not, have it.

    Raises:
        Whatever the compile stage raises; ``request.out`` is whole or untouched.
    """
    from cli.recording import record

    started = datetime.now(timezone.utc)
    compiled = _compiled(chosen, request, through, explain)
    record(chosen, request, compiled, started)
    return compiled


def _compiled(
    chosen: Runner, request: CompileRequest, through: Caches | None, explain: Explain
) -> CompiledArtifact:
    if through is None:
        return chosen.build(request)
    from compile.cache.through import compile_through

    return compile_through(through, request, chosen.environment, chosen.build, report=report, explain=explain)


def result_text(compiled: CompiledArtifact) -> str:
    """Digest, place and parity figures as lines."""
    lines = [f"{compiled.path}", f"digest {compiled.digest}"]
    if compiled.cached:
        lines.append("from the cache; the figures are those of the compile that made it")
    for figure in compiled.parity:
        cosine = "" if figure.min_cosine is None else f", least cosine {figure.min_cosine:.6f}"
        lines.append(
            f"  {figure.bucket} {figure.output}: largest difference {figure.max_abs:.1e}, "
            f"mean {figure.mean_abs:.1e}{cosine}, {figure.compared} numbers"
        )
    if compiled.metric is not None:
        metric = compiled.metric
        lines.append(
            f"  {metric.name} on {metric.examples} labelled examples: {metric.graph:.4f}, "
            f"untraced {metric.reference:.4f}"
        )
    if compiled.support == "generic":
        lines.append("  this architecture is in no table: only the gates speak for it")
    lines += [f"  waived {waiver.gate}: {waiver.reason}" for waiver in compiled.waivers]
    return "\n".join(lines)


def report(line: str) -> None:
    """Tell a line of a compile's progress."""
    talk(f"  {line}")
