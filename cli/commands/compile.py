"""``traceship compile``"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command()
@click.option("--list", "listed", is_flag=True, help="Print what can be compiled, and compile nothing.")
@click.option("--model", help="A folder, hub:ORG/NAME, s3://BUCKET/PREFIX or pypi:DISTRIBUTION.")
@click.option("--task", help="transformers' pipeline name, such as text-classification.")
@click.option("--target", type=click.Choice(["cpu", "inf1"]))
@click.option("--bucket", "buckets", multiple=True, metavar="BxL", help="Such as 8x128; repeat.")
@click.option("--out", type=click.Path(path_type=Path), help="The artifact's folder.")
@click.option("--revision", help="Commit, branch or tag on the Hub; recorded in the manifest.")
@click.option(
    "--allow-pickle", is_flag=True, help="Read tensors, and nothing else, out of a pickle checkpoint."
)
@click.option("--trust-remote-code", is_flag=True, help="Run the checkpoint's own Python code; recorded.")
@click.option("--pooling", type=click.Choice(["none", "cls", "mean"]), default="none", show_default=True)
@click.option("--normalize", is_flag=True, help="With --pooling: L2-normalise the vector.")
@click.option(
    "--tier", type=click.Choice(["cpu", "neuron-no-cast", "neuron-default"]), help="1e-5, 1e-3, 1e-2."
)
@click.option("--truncate", is_flag=True, help="Let the server cut texts longer than the largest bucket.")
@click.option("--choices", type=int, default=4, show_default=True, help="multiple-choice: in a row.")
@click.option(
    "--samples",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Your own examples, one a line, labelled or not: they join the proof and the golden set.",
)
@click.option(
    "--waive", "waivers", multiple=True, metavar="GATE=REASON", help="Accept a failed gate; recorded."
)
@click.option(
    "--compiler-arg", "compiler_args", multiple=True, metavar="ARG", help="inf1: passed to neuron-cc."
)
@click.option(
    "--compiler-timeout", type=int, default=3600, show_default=True, help="Seconds for each bucket."
)
@click.option("--min-coverage", type=float, default=90.0, show_default=True, help="inf1: % on the device.")
@click.option("--separate-weights", is_flag=True, help="inf1: keep weights out of the compiled graph.")
@click.option("--runner", type=click.Choice(["local", "docker"]), default="local", show_default=True)
@click.option("--image", help="docker: NAME@sha256:...; unset: built from compile/Dockerfile.")
@click.option("--no-cache", is_flag=True, help="Compile afresh, as every run of this version does.")
@click.option("--json", "as_json", is_flag=True, help="Print digest, sizes and parity figures as JSON.")
@click.pass_context
def command(
    ctx: click.Context, /, *, listed: bool, runner: str, image: str | None, as_json: bool, **options: Any
) -> None:
    """Trace a model, prove that the trace gives its answers, and package it.

    Exit code 3 when a proof fails; the folder is whole or not there.
    """
    from cli.compiling import result_text, run
    from cli.console import data
    from compile.result import result_data

    if listed:
        _print_table(as_json=as_json)
        return
    _check_given(ctx, options)
    compiled = run(_request(debug=ctx.find_root().obj["debug"], **options), runner=runner, image=image)
    data(result_data(compiled), as_json=as_json, text=result_text(compiled))


def _request(*, debug: bool, buckets: tuple[str, ...], waivers: tuple[str, ...], **options: Any) -> Any:
    from artifact.manifest import Waiver
    from compile.request import CompileRequest, CompilerOptions, parse_shape

    return CompileRequest(
        model=options["model"],
        task=options["task"],
        target=options["target"],
        shapes=tuple(parse_shape(text) for text in buckets),
        out=options["out"].absolute(),
        revision=options["revision"],
        allow_pickle=options["allow_pickle"],
        trust_remote_code=options["trust_remote_code"],
        pooling=options["pooling"],
        normalize=options["normalize"],
        tier=options["tier"],
        truncate=options["truncate"],
        choices=options["choices"],
        samples=options["samples"],
        waivers=tuple(Waiver(gate=gate, reason=reason) for gate, reason in map(_waiver, waivers)),
        compiler=CompilerOptions(
            arguments=options["compiler_args"],
            timeout_seconds=options["compiler_timeout"],
            min_coverage=options["min_coverage"],
            separate_weights=options["separate_weights"],
        ),
        debug=debug,
    )


def _check_given(ctx: click.Context, options: dict[str, Any]) -> None:
    """What `--list` does not need and everything else does."""
    for name in ("model", "task", "target", "buckets", "out"):
        if not options[name]:
            parameter = next(p for p in ctx.command.params if p.name == name)
            raise click.MissingParameter(ctx=ctx, param=parameter)


def _print_table(*, as_json: bool) -> None:
    from dataclasses import asdict

    from cli.console import data
    from compile.support import support_table

    cells = support_table()
    lines = [f"{'architecture':<12} {'task':<22} {'target':<6} {'status':<12} reason"]
    lines += [f"{c.architecture:<12} {c.task:<22} {c.target:<6} {c.status:<12} {c.reason}" for c in cells]
    data(
        [asdict(cell) for cell in cells],
        as_json=as_json,
        text="\n".join(line.rstrip() for line in lines),
    )


def _waiver(text: str) -> tuple[str, str]:
    from cli.failure import Misuse

    gate, separator, reason = text.partition("=")
    if not separator or not reason:
        raise Misuse(
            what=f"--waive {text} cannot be read", why="it is not GATE=REASON", fix="give a gate and a reason"
        )
    return gate, reason
