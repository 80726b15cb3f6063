"""``traceship gc``"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.numbers import Finite

if TYPE_CHECKING:
    from artifact.garbage import Garbage

LEAST_DAYS = 0.25
"""No ship takes longer; whatever is younger may belong to one."""


@click.command()
@click.option("--delete", is_flag=True, help="Delete what nothing needs. Without it, only list.")
@click.option(
    "--older-than",
    type=Finite(min=LEAST_DAYS),
    default=7.0,
    show_default=True,
    metavar="DAYS",
    help="Keep whatever is younger.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@click.pass_context
def command(ctx: click.Context, delete: bool, older_than: float, as_json: bool) -> None:
    """List what the project's bucket and state folder hold and nothing needs; delete it on request.

    Never a release that the lock, a lock anywhere in the git history or a deployed stack names.
    Run `git fetch --all` first, so that the history is everybody's.
    """
    from cli.alone import alone
    from cli.console import data
    from cli.garbage import Collector
    from cli.project import Project

    project = Project.of(ctx)
    with alone(project.state, ctx.find_root().obj["typed"]):
        collector = Collector(project, older_than=older_than)
        found = collector.survey()
        if delete:
            found = collector.delete(found)
    data(found, as_json=as_json, text=_text(found))


def _text(found: Garbage) -> str:
    verb = "deleted" if found.deleted else "unneeded"
    lines = [f"s3://{found.bucket}"]
    for release in found.releases:
        word = "kept" if release.kept_by else verb
        half = "" if release.complete else ", never finished"
        lines.append(
            f"  {word} release {release.name} {release.digest[:12]}: {_size(release.bytes)}, "
            f"{release.age_days:.1f} days old{half}"
        )
        lines += [f"    {reason}" for reason in release.kept_by]
    for upload in found.uploads:
        word = verb if upload.stale else "kept"
        lines.append(f"  {word} unfinished upload of {upload.key}, {upload.age_days:.1f} days old")
    if found.blobs:
        lines.append(f"  {verb} {len(found.blobs)} blobs: {_size(sum(blob.bytes for blob in found.blobs))}")
    lines += [
        f"  {verb} folder {folder.path}: {_size(folder.bytes)}, {folder.age_days:.1f} days old"
        for folder in found.folders
    ]
    if len(lines) == 1:
        lines.append("  there is nothing")
    elif not found.deleted:
        lines.append("nothing was deleted; `traceship gc --delete` deletes what is unneeded")
    return "\n".join(lines)


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
