"""``traceship sign PATH``"""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--key", help="A private key's file or awskms:ALIAS-OR-ARN. Unset: signing.key of the settings."
)
@click.option("--json", "as_json", is_flag=True, help="Print digest, key and place as JSON.")
@click.pass_context
def command(ctx: click.Context, path: Path, key: str | None, as_json: bool) -> None:
    """Verify the artifact at PATH and sign it; the envelopes are written beside the folder.

    `ship` signs by itself where signing.key is set. This is for artifacts that stay here.
    """
    from artifact.trust import signature_path
    from artifact.verify import verify
    from cli.console import data
    from cli.failure import Misuse
    from cli.project import Project
    from cli.signing import find_signer, sign_folder, signer_of

    project = Project.of(ctx)
    signer = signer_of(project) if key is None else find_signer(key, project, beside=Path())
    if signer is None:
        raise Misuse(
            what="there is no key to sign with",
            why="neither --key nor signing.key of the settings names one",
            fix="make one with `traceship key create --out release.pem`, then give it with --key",
        )
    artifact = verify(path)
    sign_folder(artifact, signer)
    place, signed_with = signature_path(path), signer.public_key.id
    data(
        {"path": str(path), "digest": artifact.digest, "key": signed_with, "signature": str(place)},
        as_json=as_json,
        text=f"{place}: {artifact.digest} signed by {signed_with}",
    )
