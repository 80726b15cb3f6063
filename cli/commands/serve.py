"""``traceship serve PATH``"""

from __future__ import annotations

import os
from pathlib import Path

import click


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--digest", metavar="HEX", help="Refuse any other artifact.")
def command(path: Path, port: int, host: str, digest: str | None) -> None:
    """Serve the artifact at PATH: GET /ping, POST /invocations.

    Exits 3 when the artifact does not verify or its golden set gives other answers.
    """
    from artifact.interpreter import module_command

    arguments = ["serve", str(path), "--host", host, "--port", str(port)]
    if digest is not None:
        arguments += ["--digest", digest]
    started = module_command("inference_code", *arguments)
    # The server replaces this process, so that signals and exit codes are its own.
    os.execv(started[0], started)  # noqa: S606
