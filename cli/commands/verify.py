"""``traceship verify PATH|RELEASE``"""

from __future__ import annotations

import click


@click.command()
@click.argument("what", metavar="PATH|RELEASE")
@click.option("--digest", metavar="HEX", help="SHA-256 that the manifest must have.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def command(ctx: click.Context, what: str, digest: str | None, as_json: bool) -> None:
    """Check every byte of an artifact against its manifest.

    It may be a folder, a model.tar.gz, a release (s3://BUCKET/releases/NAME/DIGEST), or the name
    of the release that release.lock.json holds. Nothing is unpacked or written to the disk. Exit
    code 3 names the first file that is missing, extra or changed.
    """
    from cli.console import data, step
    from cli.project import Project
    from cli.verifying import verified

    with step(f"verify {what}"):
        found = verified(what, digest=digest, lock_path=Project.of(ctx).lock_path)
    data(
        {"path": what, "digest": found.digest, "files": found.files, "verified": True},
        as_json=as_json,
        text=f"{what} is intact: {found.files} files, digest {found.digest}",
    )
