"""``traceship adopt FILE.pt``"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
@click.option("--model", required=True, help="The untraced model: a folder, hub:ORG/NAME, s3://… or pypi:….")
@click.option("--task", required=True, help="transformers' pipeline name, such as text-classification.")
@click.option(
    "--bucket", "buckets", multiple=True, required=True, metavar="BxL", help="Of each file; repeat."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The artifact's folder.")
@click.option(
    "--input", "inputs", multiple=True, metavar="NAME", help="In the file's order; unset: forward()'s order."
)
@click.option("--target", type=click.Choice(["cpu", "inf1"]), default="cpu", show_default=True)
@click.option(
    "--tier", type=click.Choice(["cpu", "neuron-no-cast", "neuron-default"]), help="1e-5, 1e-3, 1e-2."
)
@click.option("--revision", help="Commit, branch or tag on the Hub; recorded in the manifest.")
@click.option("--pooling", type=click.Choice(["none", "cls", "mean"]), default="none", show_default=True)
@click.option("--normalize", is_flag=True, help="With --pooling: L2-normalise the vector.")
@click.option("--truncate", is_flag=True, help="Let the server cut texts longer than the largest bucket.")
@click.option("--choices", type=int, default=4, show_default=True, help="multiple-choice: in a row.")
@click.option(
    "--samples",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Your own examples, one a line: they join the proof and the golden set.",
)
@click.option(
    "--waive", "waivers", multiple=True, metavar="GATE=REASON", help="Accept a failed gate; recorded."
)
@click.option("--json", "as_json", is_flag=True, help="Print digest, sizes and parity figures as JSON.")
def command(files: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Make an artifact of TorchScript FILES that you traced yourself.

    They pass the gates that our own traces pass, against the untraced model; exit code 3 if one fails.
    A trace for inf1 needs torch-neuron here, and the reason why its coverage is accepted: --waive coverage=…
    A TorchScript file is a program: name only files that you trust.
    """
    from artifact.manifest import Waiver
    from cli.commands.compile import parse_waiver
    from cli.compiling import report, result_text
    from cli.console import data
    from compile.adopt import adopt
    from compile.request import CompileRequest, parse_shape
    from compile.result import result_data

    waivers = tuple(Waiver(gate=gate, reason=why) for gate, why in map(parse_waiver, options.pop("waivers")))
    shapes = tuple(parse_shape(text) for text in options.pop("buckets"))
    inputs, out = options.pop("inputs"), options.pop("out").absolute()
    request = CompileRequest(shapes=shapes, out=out, waivers=waivers, **options)
    adopted = adopt(request, files, inputs, report)
    data(result_data(adopted), as_json=as_json, text=result_text(adopted))
