"""``traceship export PATH``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from compile.export import Exported, ExportedFile


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--bucket", metavar="BxL", help="The bucket to write, such as 8x128; without it, all of them.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="The file; without --bucket, a folder."
)
@click.option("--json", "as_json", is_flag=True, help="Print place, SHA-256, size, inputs and outputs.")
@click.pass_context
def command(ctx: click.Context, path: Path, bucket: str | None, out: Path, as_json: bool) -> None:
    """Write buckets of the artifact at PATH as plain TorchScript files.

    Each is one self-contained file that `torch.jit.load` or libtorch opens without traceship. It
    takes its inputs by position and refuses another shape with an error that names the bucket.
    """
    from cli.console import data, step, talk
    from compile.export import export
    from compile.request import parse_shape

    shape = None if bucket is None else parse_shape(bucket)
    with step(f"export {'every bucket' if bucket is None else bucket} of {path}"):
        exported = export(
            path,
            out,
            shape=shape,
            report=lambda line: talk(f"  {line}"),
            debug=ctx.find_root().obj["debug"],
        )
    data(_result(exported, single=shape is not None), as_json=as_json, text=_text(exported))


def _result(exported: Exported, *, single: bool) -> dict[str, Any]:
    """One file's facts, or the folder with those of each file in it."""
    files = [_file(file) for file in exported.files]
    digest = {"digest": exported.digest}
    return {**files[0], **digest} if single else {"path": str(exported.path), "files": files, **digest}


def _file(file: ExportedFile) -> dict[str, Any]:
    return {
        "path": str(file.path),
        "bucket": file.bucket,
        "sha256": file.sha256,
        "size": file.size,
        "inputs": file.inputs,
        "outputs": file.outputs,
    }


def _text(exported: Exported) -> str:
    lines = [f"{f.path}: bucket {f.bucket}, {f.size / 1e6:.1f} MB, sha256 {f.sha256}" for f in exported.files]
    inputs = ", ".join(f"{tensor.name} {tensor.dtype}" for tensor in exported.files[0].inputs)
    return "\n".join([*lines, f"inputs by position: {inputs}"])
