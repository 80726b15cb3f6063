"""``traceship compile``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.numbers import Finite

if TYPE_CHECKING:
    from compile.cache.through import Explanation


@click.command()
@click.option("--list", "listed", is_flag=True, help="Print what can be compiled, and compile nothing.")
@click.option(
    "--zoo",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Compile every row of this file (docs/compile-jobs.md), each to a folder below --out.",
)
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
@click.option("--max-target-length", type=int, help="translation: tokens, the start included (128).")
@click.option("--num-beams", type=int, help="translation: 1 is greedy; unset: the checkpoint's.")
@click.option(
    "--samples",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Your own examples, one a line, labelled or not: they join the proof and the golden set.",
)
@click.option(
    "--waive", "waivers", multiple=True, metavar="GATE=REASON", help="Accept a failed gate; recorded."
)
@click.option(
    "--casting",
    type=click.Choice(["all", "all-fp16", "matmult", "matmult-bf16", "matmult-fp16"]),
    default="matmult-fp16",
    show_default=True,
    help="inf1: which float32 operators are rounded, and to what; also chooses the tier.",
)
@click.option("--fast-relayout", is_flag=True, help="inf1: transpose on the matrix engine; faster, rounds.")
@click.option("--optimization", type=click.IntRange(2, 2), help="inf1: neuron-cc's -O; unset: its own.")
@click.option("--pipeline-cores", type=int, default=1, show_default=True, help="inf1: cores for one copy.")
@click.option("--dynamic-batch", is_flag=True, help="inf1: graphs take any number of rows.")
@click.option(
    "--compiler-arg", "compiler_args", multiple=True, metavar="ARG", help="inf1: passed to neuron-cc."
)
@click.option(
    "--compiler-timeout", type=int, default=3600, show_default=True, help="Seconds for each bucket."
)
@click.option(
    "--min-coverage", type=Finite(0, 100), default=90.0, show_default=True, help="inf1: % on the device."
)
@click.option("--max-partitions", type=int, metavar="N", help="inf1: most subgraphs.")
@click.option(
    "--allow-fallback", multiple=True, metavar="OP", help="inf1: only these run on the CPU; repeat."
)
@click.option("--separate-weights", is_flag=True, help="inf1: keep weights out of the compiled graph.")
@click.option(
    "--runner",
    type=click.Choice(["local", "docker", "batch"]),
    default="local",
    show_default=True,
    help="This Python, a container, or the deployed compile stack in AWS.",
)
@click.option("--image", help="docker: NAME@sha256:...; unset: built from compile/Dockerfile.")
@click.option(
    "--spread/--no-spread", default=None, help="batch: a job for each bucket; unset: for inf1, not for cpu."
)
@click.option("--jobs", type=click.IntRange(1), help="Buckets at once; unset: as cores and memory allow.")
@click.option(
    "--repro", type=click.Path(path_type=Path), help="Where a bucket that fails leaves its reproduction."
)
@click.option("--repro-weights", is_flag=True, help="With --repro: put the model's weights in.")
@click.option("--no-cache", is_flag=True, help="Compile afresh; neither read the cache nor keep the result.")
@click.option("--cache", "shared_cache", metavar="S3", help="A cache to share, s3://BUCKET/PREFIX.")
@click.option(
    "--cache-gb", type=Finite(0, 100_000), default=20.0, show_default=True, help="Its most on this disk."
)
@click.option("--explain", is_flag=True, help="Say what the cache key holds and, on a miss, what differs.")
@click.option("--report", type=click.Path(path_type=Path), help="Write what was proven as an HTML page.")
@click.option("--json", "as_json", is_flag=True, help="Print digest, sizes and parity figures as JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    listed: bool,
    zoo: Path | None,
    runner: str,
    image: str | None,
    spread: bool | None,
    no_cache: bool,
    shared_cache: str | None,
    cache_gb: float,
    explain: bool,
    report: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Trace a model, prove that the trace gives its answers, and package it.

    Exit code 3 when a proof fails; the folder is whole or not there. With --zoo: 1 if any row failed.
    """
    from cli.compiling import caches, compile_on, result_text, runner_of
    from cli.console import data, talk
    from cli.explaining import explanation_data, explanation_text
    from cli.project import Project
    from compile.report import check_place, write
    from compile.result import result_data

    if listed:
        _print_table(as_json=as_json)
        return
    if spread is not None and runner != "batch":
        raise _nothing_to_spread()
    if zoo is not None:
        _compile_zoo(ctx, zoo)
        return
    _check_given(ctx, options)
    if report is not None:
        check_place(report)
    if explain and no_cache:
        raise _nothing_to_explain()
    request = _request(debug=ctx.find_root().obj["debug"], **options)
    through = None if no_cache else caches(shared=shared_cache, gigabytes=cache_gb)
    told: dict[str, Any] = {}

    def tell(explanation: Explanation) -> None:
        if explain:
            talk(explanation_text(explanation))
            told["cache"] = explanation_data(explanation)

    chosen = runner_of(runner, image, Project.of(ctx), fresh=no_cache, spread=spread)
    compiled = compile_on(chosen, request, through=through, explain=tell)
    if report is not None:
        write(compiled, report)
    data({**result_data(compiled), **told}, as_json=as_json, text=result_text(compiled))


def _request(*, debug: bool, buckets: tuple[str, ...], waivers: tuple[str, ...], **options: Any) -> Any:
    from artifact.manifest import Waiver
    from compile.request import CompileRequest, CompilerOptions, Work, parse_shape

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
        max_target_length=options["max_target_length"],
        num_beams=options["num_beams"],
        waivers=tuple(Waiver(gate=gate, reason=reason) for gate, reason in map(parse_waiver, waivers)),
        compiler=CompilerOptions(
            arguments=options["compiler_args"],
            casting=options["casting"],
            fast_relayout=options["fast_relayout"],
            optimization=options["optimization"],
            pipeline_cores=options["pipeline_cores"],
            dynamic_batch=options["dynamic_batch"],
            timeout_seconds=options["compiler_timeout"],
            min_coverage=options["min_coverage"],
            max_partitions=options["max_partitions"],
            allowed_fallback=options["allow_fallback"],
            separate_weights=options["separate_weights"],
        ),
        debug=debug,
        work=Work(
            jobs=options["jobs"],
            repro=None if options["repro"] is None else options["repro"].absolute(),
            repro_weights=options["repro_weights"],
        ),
    )


def _check_given(ctx: click.Context, options: dict[str, Any]) -> None:
    """What `--list` does not need and everything else does."""
    for name in ("model", "task", "target", "buckets", "out"):
        if not options[name]:
            parameter = next(p for p in ctx.command.params if p.name == name)
            raise click.MissingParameter(ctx=ctx, param=parameter)


def _compile_zoo(ctx: click.Context, file: Path) -> None:
    """``--zoo``: the file says what is compiled, the command line only where and how."""
    from click.core import ParameterSource

    from cli.compiling import caches
    from cli.failure import Misuse
    from cli.project import Project
    from cli.zoo import compile_zoo, read_zoo, tell

    usable = {"zoo", "out", "runner", "image", "spread", "no_cache", "shared_cache", "cache_gb", "as_json"}
    for parameter in ctx.command.params:
        name = str(parameter.name)
        if name not in usable and ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            raise Misuse(
                what=f"{parameter.opts[0]} does not go with --zoo",
                why="the file says what each row is",
                fix="give it as a key of a row, or of [defaults] for all rows",
            )
    given = ctx.params
    if given["out"] is None:
        raise click.MissingParameter(ctx=ctx, param=next(p for p in ctx.command.params if p.name == "out"))
    requests = read_zoo(file, given["out"].absolute())
    through = None if given["no_cache"] else caches(shared=given["shared_cache"], gigabytes=given["cache_gb"])
    rows = compile_zoo(
        Project.of(ctx), requests, given["runner"], given["image"], through, spread=given["spread"]
    )
    tell(rows, as_json=given["as_json"])


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


def _nothing_to_explain() -> Exception:
    from cli.failure import Misuse

    return Misuse(
        what="--explain has nothing to explain",
        why="--no-cache leaves the cache out",
        fix="leave one of the two out",
    )


def _nothing_to_spread() -> Exception:
    from cli.failure import Misuse

    return Misuse(
        what="there are no jobs to spread buckets over",
        why="only the batch runner starts jobs",
        fix="add --runner batch, or leave it out: other runners trace buckets side by side",
    )


def parse_waiver(text: str) -> tuple[str, str]:
    """Gate and reason of a `--waive`."""
    from cli.failure import Misuse

    gate, separator, reason = text.partition("=")
    if not separator or not reason:
        raise Misuse(
            what=f"--waive {text} cannot be read", why="it is not GATE=REASON", fix="give a gate and a reason"
        )
    return gate, reason
