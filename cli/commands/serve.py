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
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="PEM",
    help="Public key that must have signed it; repeat. Unset: signing.trusted_keys of the settings.",
)
@click.option("--signature", metavar="FILE", help="The envelope. Unset: the one beside the artifact.")
@click.pass_context
def command(
    ctx: click.Context,
    path: Path,
    port: int,
    host: str,
    digest: str | None,
    keys: tuple[str, ...],
    signature: str | None,
) -> None:
    """Serve the artifact at PATH: GET /ping, POST /invocations.

    Exits 3 when the artifact does not verify or its golden set gives other answers.
    """
    from artifact.interpreter import module_command
    from artifact.serving import ENV_PUBLIC_KEYS
    from cli.pinning import pinned_lines

    arguments = ["serve", str(path), "--host", host, "--port", str(port)]
    if digest is not None:
        arguments += ["--digest", digest]
    for key in keys:
        arguments += ["--key", key]
    if signature is not None:
        arguments += ["--signature", signature]
    lines = () if keys else pinned_lines(ctx)
    environment = {**os.environ, **({ENV_PUBLIC_KEYS: ",".join(lines)} if lines else {})}
    started = module_command("inference_code", *arguments)
    # The server replaces this process, so that signals and exit codes are its own.
    os.execve(started[0], started, environment)  # noqa: S606
