"""``traceship destroy``"""

from __future__ import annotations

import click


@click.command()
@click.argument("stacks", nargs=-1)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print what was destroyed and what is kept as JSON.")
@click.pass_context
def command(ctx: click.Context, stacks: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Delete STACKS (default: all that exist), last deployed first, and say what is kept.

    Buckets and keys are kept unless project.retain_data is false.
    """
    from cli.console import data, talk
    from cli.destroying import destroy, existing
    from cli.project import Project

    project = Project.of(ctx)
    present = existing(project, stacks)
    if not present:
        data({"destroyed": [], "kept": []}, as_json=as_json, text="there is nothing to destroy")
        return
    if not yes:
        talk(f"this deletes: {', '.join(present)}")
        click.confirm("go on?", abort=True, err=True)
    kept = destroy(project, present)
    lines = [f"destroyed {', '.join(present)}", *(f"kept {row}" for row in kept)]
    data({"destroyed": present, "kept": kept}, as_json=as_json, text="\n".join(lines))
