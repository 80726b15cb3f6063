"""``traceship verify PATH``"""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--digest", metavar="HEX", help="SHA-256 that the manifest must have.")
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="PEM",
    help="Public key that must have signed it; repeat. Unset: signing.trusted_keys of the settings.",
)
@click.option("--signature", type=click.Path(path_type=Path), help="The envelope. Unset: beside PATH.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    path: Path,
    digest: str | None,
    keys: tuple[str, ...],
    signature: Path | None,
    as_json: bool,
) -> None:
    """Check every byte of the artifact at PATH against its manifest, and its signature.

    Offline. Exit code 3 names the first file that is missing, extra or changed, or what is wrong
    with the signature.
    """
    from artifact.trust import check_signature, read_beside, read_envelope_file, verify_signed
    from cli.console import data, talk
    from cli.pinning import pinned_keys

    pinned = pinned_keys(ctx, keys)
    envelope = None if signature is None else read_envelope_file(signature)
    artifact = verify_signed(path, digest=digest, keys=pinned, signature=envelope)
    signer = None
    if pinned:
        signer = check_signature(artifact.digest, envelope or read_beside(path), pinned).id
    elif digest is None:
        talk("who made it is not checked: give `--key` or `--digest` (docs/signing.md)")
    files = len(artifact.manifest.files)
    told = f"{path} is intact: {files} files, digest {artifact.digest}"
    data(
        {"path": str(path), "digest": artifact.digest, "files": files, "verified": True, "signed_by": signer},
        as_json=as_json,
        text=told if signer is None else f"{told}\nsigned by {signer}",
    )
