"""``traceship verify PATH|RELEASE``"""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("what", metavar="PATH|RELEASE")
@click.option("--digest", metavar="HEX", help="SHA-256 that the manifest must have.")
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="PEM",
    help="Public key that must have signed it; repeat. Unset: signing.trusted_keys of the settings.",
)
@click.option(
    "--signature", type=click.Path(path_type=Path), help="The envelope. Unset: beside PATH, or the release's."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    what: str,
    digest: str | None,
    keys: tuple[str, ...],
    signature: Path | None,
    as_json: bool,
) -> None:
    """Check every byte of an artifact against its manifest, and its signature.

    It may be a folder, a model.tar.gz, a release (s3://BUCKET/releases/NAME/DIGEST), or the name
    of a release that a lock beside the settings holds. Nothing is unpacked or written to the disk. Exit
    code 3 names the first file that is missing, extra or changed, or what is wrong with the signature.
    """
    from artifact.trust import read_envelope_file
    from cli.console import data, step, talk
    from cli.pinning import pinned_keys
    from cli.project import Project
    from cli.verifying import Proof, verified

    pinned = pinned_keys(ctx, keys)
    proof = Proof(digest, pinned, None if signature is None else read_envelope_file(signature))
    with step(f"verify {what}"):
        found = verified(what, proof, lock_paths=Project.of(ctx).lock_paths)
    if found.signed_by is None and digest is None:
        talk("who made it is not checked: give `--key` or `--digest` (docs/signing.md)")
    told = {"path": what, "digest": found.digest, "files": found.files, "verified": True}
    text = f"{what} is intact: {found.files} files, digest {found.digest}"
    data(
        {**told, "signed_by": found.signed_by},
        as_json=as_json,
        text=text if found.signed_by is None else f"{text}\nsigned by {found.signed_by}",
    )
