"""One compile request through the chosen runner, with its figures told to a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.console import talk

if TYPE_CHECKING:
    from compile.request import CompiledArtifact, CompileRequest


def run(request: CompileRequest, *, runner: str, image: str | None) -> CompiledArtifact:
    """Compile with ``runner`` (``local`` or ``docker``).

    Args:
        image: docker only; unset: built from compile/Dockerfile.

    Raises:
        Whatever the compile stage raises; ``request.out`` is whole or untouched.
    """
    from compile.runners import build_image, run_docker, run_local

    if runner == "local":
        return run_local(request, _report)
    return run_docker(request, image or build_image(_report), _report)


def result_text(compiled: CompiledArtifact) -> str:
    """Digest, place and parity figures as lines."""
    lines = [f"{compiled.path}", f"digest {compiled.digest}"]
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


def _report(line: str) -> None:
    talk(f"  {line}")
