"""``traceship rebuild --check [PATH]``"""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--check", "checked", is_flag=True, required=True, help="Compare the digest; keep nothing.")
@click.option("--key", "keys", multiple=True, metavar="PEM", help="Take only a record that this key signed.")
@click.option("--model", help="Where the model is now. Unset: as recorded.")
@click.option("--samples", type=click.Path(path_type=Path, exists=True), help="Where your examples are now.")
@click.option("--runner", type=click.Choice(["local", "docker", "batch"]), help="Unset: as recorded.")
@click.option("--image", help="docker: NAME@sha256:...; unset: as recorded.")
@click.option("--jobs", type=click.IntRange(1), help="Buckets at once; unset: as cores and memory allow.")
@click.option(
    "--trust-remote-code", is_flag=True, help="Run the checkpoint's code though nobody signed for it."
)
@click.option("--json", "as_json", is_flag=True, help="Print the digest as JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    path: Path | None,
    checked: bool,  # noqa: ARG001 - the one thing that it does, said aloud
    keys: tuple[str, ...],
    model: str | None,
    samples: Path | None,
    runner: str | None,
    image: str | None,
    jobs: int | None,
    trust_remote_code: bool,
    as_json: bool,
) -> None:
    """Compile again what the provenance records, past the cache, and compare the digest.

    PATH is an artifact's folder with the provenance beside it, or a lock, whose release is looked up
    in S3; unset: the lock of this project. Exit code 3 names the files that differ.
    """
    from cli.console import data, step
    from cli.pinning import pinned_keys
    from cli.project import Project
    from cli.rebuilding import Again, check, made_of_folder, made_of_release, read_lock_at

    project, pinned = Project.of(ctx), pinned_keys(ctx, keys)
    if path is not None and path.is_dir():
        made, name = made_of_folder(path, pinned), str(path)
    else:
        lock = read_lock_at(path or project.lock_path)
        made, name = made_of_release(project, lock, pinned), f"the release {lock.digest[:12]}"
    again = Again(
        model=model,
        samples=samples,
        runner=runner,
        image=image,
        jobs=jobs,
        trust_remote_code=trust_remote_code,
    )
    with step(f"compile {name} again"):
        digest = check(made, again, project)
    data(
        {"digest": digest, "same": True},
        as_json=as_json,
        text=f"{name} can be made again: the same source and request gave {digest}",
    )
