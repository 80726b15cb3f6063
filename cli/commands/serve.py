"""``traceship serve PATH`` or ``traceship serve --models FILE``"""

from __future__ import annotations

import os
from pathlib import Path

import click


@click.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
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
@click.option(
    "--workers",
    type=click.IntRange(1, 100),
    help="Processes with graphs. Unset: as many as the machine holds.",
)
@click.option(
    "--models",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Several artifacts, instead of PATH (docs/serving-several.md).",
)
@click.pass_context
def command(
    ctx: click.Context,
    path: Path | None,
    port: int,
    host: str,
    digest: str | None,
    keys: tuple[str, ...],
    signature: str | None,
    workers: int | None,
    models: Path | None,
) -> None:
    """Serve the artifact at PATH, or those of --models: GET /ping, POST /invocations.

    Exits 3 when the artifact does not verify or its golden set gives other answers.
    """
    from artifact.interpreter import module_command
    from artifact.serving import ENV_PUBLIC_KEYS
    from cli.pinning import pinned_lines

    if (path is None) == (models is None):
        raise click.UsageError("Give either PATH or --models FILE.")
    what = [str(path)] if models is None else ["--models", str(models)]
    arguments = ["serve", *what, "--host", host, "--port", str(port)]
    if digest is not None:
        arguments += ["--digest", digest]
    for key in keys:
        arguments += ["--key", key]
    if signature is not None:
        arguments += ["--signature", signature]
    if workers is not None:
        arguments += ["--workers", str(workers)]
    lines = () if keys else pinned_lines(ctx)
    environment = {**os.environ, **({ENV_PUBLIC_KEYS: ",".join(lines)} if lines else {})}
    started = module_command("inference_code", *arguments)
    # The server replaces this process, so that signals and exit codes are its own.
    os.execve(started[0], started, environment)  # noqa: S606
