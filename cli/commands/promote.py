"""``traceship promote``"""

from __future__ import annotations

import click


@click.command()
@click.option("--from", "from_stage", metavar="STAGE", help="Where the release is now; unset: no stage.")
@click.option(
    "--from-profile", metavar="PROFILE", help="AWS profile that may read there; unset: the one in use."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def command(ctx: click.Context, from_stage: str | None, from_profile: str | None, as_json: bool) -> None:
    """Make the release of another stage the release of the one that --stage names.

    Nothing is compiled: the same bytes are published to the other account or region, with their
    signature and records, the images are copied by digest, and the stage's lock is written.
    """
    from cli.alone import alone
    from cli.console import data
    from cli.project import Project
    from cli.promoting import promote

    target = Project.of(ctx)
    source = Project(target.settings_path, stage=from_stage, service=target.service, profile=from_profile)
    with alone(target.state, ctx.find_root().obj["typed"]):
        done = promote(source, target)
    where = done.lock.location
    location = f"s3://{where.bucket}/{where.prefix}"
    result = {
        "release": done.lock.name,
        "digest": done.lock.digest,
        "location": location,
        "lock": str(target.lock_path),
        "sent_bytes": done.sent_bytes,
        "unchanged": done.unchanged,
    }
    told = f"promoted {done.lock.digest[:12]} to {location}\nlock {target.lock_path}: commit this file"
    if done.unchanged:
        told = f"nothing to do: {location} is released and {target.lock_path} names it"
    data(result, as_json=as_json, text=told)
