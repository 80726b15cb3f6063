"""``traceship plan``"""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option(
    "--lengths",
    required=True,
    type=click.Path(path_type=Path),
    help="CSV `length,count`, JSON {length: count}, a length a line, or texts (with --model).",
)
@click.option("--buckets", type=click.IntRange(1, 64), required=True, help="At most so many buckets.")
@click.option("--model", help="A model as for `compile`: its tokenizer, FLOPs and longest bucket.")
@click.option("--revision", help="With --model, as for `compile`.")
@click.option("--allow-pickle", is_flag=True, help="With --model, as for `compile`.")
@click.option("--trust-remote-code", is_flag=True, help="With --model, as for `compile`.")
@click.option(
    "--kind",
    type=click.Choice(["histogram", "lengths", "texts", "json-lines"]),
    help="What the file holds; told from its content unless given.",
)
@click.option("--batch", type=click.IntRange(1, 9999), default=1, show_default=True, help="Rows a bucket.")
@click.option(
    "--multiple",
    type=click.IntRange(1, 4096),
    default=1,
    show_default=True,
    help="Round buckets' lengths up to multiples of it; 1 is exact.",
)
@click.option("--max-length", type=click.IntRange(1, 99_999), help="Longest bucket, in tokens.")
@click.option(
    "--memory-mb",
    type=click.IntRange(1),
    help="Device memory for all buckets, with --model; an Inf1 NeuronCore has 2048.",
)
@click.option("--compile-seconds", type=click.IntRange(1), help="For compiling all buckets in turn.")
@click.option(
    "--bucket-seconds",
    type=click.IntRange(1),
    default=600,
    show_default=True,
    help="Of compiling one bucket: an allowance until you have measured it.",
)
@click.option("--plot", type=click.Path(path_type=Path), help="Write a picture, an SVG file.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON (docs/schemas).")
def command(
    lengths: Path,
    buckets: int,
    model: str | None,
    revision: str | None,
    allow_pickle: bool,
    trust_remote_code: bool,
    kind: str | None,
    batch: int,
    multiple: int,
    max_length: int | None,
    memory_mb: int | None,
    compile_seconds: int | None,
    bucket_seconds: int,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Choose the buckets that waste least on padding, for lengths that you measured.

    The optimum is exact. Work is padded tokens, or FLOPs with --model.
    """
    from typing import cast

    from cli.console import data, talk
    from cli.planning import make_plan, plan_text
    from compile.lengths import Kind
    from compile.plan_plot import plot_svg
    from compile.planning import Limits
    from compile.source import Allowed, resolve

    allowed = Allowed(pickle=allow_pickle, remote_code=trust_remote_code)
    plan, histogram = make_plan(
        lengths,
        Limits(
            buckets=buckets,
            max_length=max_length,
            memory_mb=memory_mb,
            compile_seconds=compile_seconds,
            bucket_seconds=bucket_seconds,
        ),
        source=resolve(model, revision=revision, allowed=allowed) if model else None,
        batch=batch,
        multiple=multiple,
        kind=cast("Kind | None", kind),
    )
    if plot is not None:
        plot.write_text(plot_svg(plan, histogram), encoding="utf-8")
        talk(f"wrote {plot}")
    data(plan, as_json=as_json, text=plan_text(plan))
