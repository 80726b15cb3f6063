"""``traceship archive PATH``"""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The archive to write.")
@click.option("--stock", is_flag=True, help="For AWS's own PyTorch container, with our handler.")
@click.option("--json", "as_json", is_flag=True, help="Print place, size and SHA-256 as JSON.")
def command(path: Path, out: Path, stock: bool, as_json: bool) -> None:
    """Write the artifact at PATH as the model.tar.gz that SageMaker unpacks.

    The same artifact gives the same bytes. `ship` publishes this archive by itself; with --stock
    it also carries our handler and the packages it needs, for endpoints that you make of AWS's own
    container (docs/stock-container.md). Those packages are fetched with pip, once.
    """
    from artifact.verify import listed
    from cli.cdk import CHECKOUT
    from cli.console import data
    from compile.archive import artifact_members, write_archive
    from compile.stock import stock_members
    from compile.wheels import FETCHED

    artifact = listed(path)  # its files are proven as they are packed
    members = (
        stock_members(artifact, checkout=CHECKOUT, wheels=CHECKOUT / FETCHED)
        if stock
        else artifact_members(artifact)
    )
    partial = out.with_name(out.name + ".partial")
    try:
        archive = write_archive(members, partial)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    result = {"path": str(out), "bytes": archive.size, "sha256": archive.sha256, "digest": artifact.digest}
    data(result, as_json=as_json, text=f"{out}: {archive.size / 1e6:.1f} MB, sha256 {archive.sha256}")
