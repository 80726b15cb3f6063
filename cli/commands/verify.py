"""``traceship verify PATH``"""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--digest", metavar="HEX", help="SHA-256 that the manifest must have.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(path: Path, digest: str | None, as_json: bool) -> None:
    """Check every byte of the artifact at PATH against its manifest.

    Exit code 3 names the first file that is missing, extra or changed.
    """
    from artifact.verify import verify
    from cli.console import data

    artifact = verify(path, digest=digest)
    files = len(artifact.manifest.files)
    data(
        {"path": str(path), "digest": artifact.digest, "files": files, "verified": True},
        as_json=as_json,
        text=f"{path} is intact: {files} files, digest {artifact.digest}",
    )
