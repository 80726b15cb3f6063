"""``traceship deploy``"""

from __future__ import annotations

import click


@click.command()
@click.argument("stacks", nargs=-1)
@click.option("--foundation", is_flag=True, help="Only the stacks that need no release yet.")
@click.option("--bootstrap", is_flag=True, help="Prepare the account and region for the CDK first.")
@click.option("--import-existing", is_flag=True, help="Take in what a destroyed stack left behind.")
@click.option("--take-over", is_flag=True, help="Deploy over what another stage or project made.")
@click.option("--json", "as_json", is_flag=True, help="Print the stacks' outputs as JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    stacks: tuple[str, ...],
    foundation: bool,
    bootstrap: bool,
    import_existing: bool,
    take_over: bool,
    as_json: bool,
) -> None:
    """Check the release of the lock, then `cdk deploy` STACKS (default: all).

    The first deploy is `--foundation`: it makes the bucket that `traceship ship` publishes to.
    """
    from cli.console import data
    from cli.deploying import deploy
    from cli.project import Project

    outputs = deploy(
        Project.of(ctx),
        stacks=stacks,
        foundation=foundation,
        bootstrap=bootstrap,
        import_existing=import_existing,
        take_over=take_over,
    )
    lines = [f"{stack}.{key} = {value}" for stack, keys in outputs.items() for key, value in keys.items()]
    data(outputs, as_json=as_json, text="\n".join(lines) or "deployed")
