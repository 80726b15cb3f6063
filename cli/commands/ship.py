"""``traceship ship``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from cli.project import Project


@click.command()
@click.option("--artifact", type=click.Path(path_type=Path), help="Publish this one instead of compiling.")
@click.option("--no-cache", is_flag=True, help="Compile afresh, past the cache.")
@click.option("--report", type=click.Path(path_type=Path), help="Write what was proven as an HTML page.")
@click.option("--canary", is_flag=True, help="Write the canary's lock and leave the release's as it is.")
@click.option("--json", "as_json", is_flag=True, help="Print release, digest, location and lock as JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    artifact: Path | None,
    no_cache: bool,
    report: Path | None,
    canary: bool,
    as_json: bool,
) -> None:
    """Compile, verify, publish to S3 and write release.lock.json.

    Run it again after an interruption: what is finished is not repeated.
    """
    from cli.stopping import stops_at_once

    with stops_at_once(ctx.find_root().obj["typed"]):
        _ship(ctx, artifact, fresh=no_cache, report=report, canary=canary, as_json=as_json)


def _ship(
    ctx: click.Context,
    artifact: Path | None,
    *,
    fresh: bool,
    report: Path | None,
    canary: bool,
    as_json: bool,
) -> None:
    from cli.alone import alone
    from cli.console import data
    from cli.project import Project
    from cli.reporting import kept_result
    from cli.shipping import publish_artifact
    from compile.report import check_place, write

    if report is not None:
        check_place(report)
    project = Project.of(ctx).for_canary() if canary else Project.of(ctx)
    with alone(project.state, ctx.find_root().obj["typed"]):
        root = artifact or _compiled(project, fresh=fresh)
        if report is not None:
            write(kept_result(root), report)
        shipped = publish_artifact(project, root)
    where = shipped.lock.location
    location = f"s3://{where.bucket}/{where.prefix}"
    result = {
        "release": shipped.lock.name,
        "digest": shipped.lock.digest,
        "location": location,
        "lock": str(project.lock_path),
        "unchanged": shipped.unchanged,
    }
    told = f"released {location}\nlock {project.lock_path}: commit this file"
    if shipped.unchanged:
        told = f"nothing to do: {location} is released and {project.lock_path} names it"
    data(result, as_json=as_json, text=told)


def _compiled(project: Project, *, fresh: bool) -> Path:
    from cli.console import step
    from cli.shipping import check_destination, compile_artifact

    check_destination(project)
    with step(f"compile {project.settings.model.source} for {project.settings.compile.target}"):
        return compile_artifact(project, fresh=fresh).path
