"""``traceship capacity PATH``"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from compile.capacity import Capacity, Host

_GIB = 1024**3


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--instance-type", "types", multiple=True, metavar="TYPE", help="Such as inf1.xlarge; repeat.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def command(path: Path, types: tuple[str, ...], as_json: bool) -> None:
    """Show how many copies of the artifact at PATH each Inf1 instance type holds.

    Figures are estimates; docs/architecture.md says what they are made of.
    """
    from artifact.verify import verify
    from cli.console import data
    from compile.capacity import capacity, footprint

    needs = footprint(verify(path))
    found = [capacity(needs, host) for host in _hosts(types)]
    data({"instances": found}, as_json=as_json, text=_text(found))


def _hosts(types: Sequence[str]) -> list[Host]:
    """The instance types with Inferentia chips, or those of them that were named."""
    from cli.failure import Misuse
    from compile.capacity import Host
    from infra.incompatible import MEMORY_SHARE
    from infra.instances import SAGEMAKER_PREFIX, instances

    known = {name: instance for name, instance in instances().items() if instance.chips}
    wanted = [name.removeprefix(SAGEMAKER_PREFIX) for name in types] or list(known)
    for name in wanted:
        if name not in known:
            raise Misuse(
                what=f"--instance-type {name} cannot be used",
                why=f"it is no Inf1 instance type; those are {', '.join(known)}",
                fix="give one of them, or leave it out to see all",
            )
    return [
        Host(name=name, chips=known[name].chips, memory_bytes=int(known[name].memory_bytes * MEMORY_SHARE))
        for name in wanted
    ]


def _text(found: Sequence[Capacity]) -> str:
    head = f"{'instance':<14}{'cores':>6}{'copies':>8}{'used':>6}{'device/core':>13}{'host memory':>18}"
    return "\n".join([head, *(_line(row) for row in found)])


def _line(row: Capacity) -> str:
    host = f"{row.host_bytes / _GIB:.1f} of {row.host_bytes_usable / _GIB:.1f}"
    return (
        f"{row.instance_type:<14}{row.neuron_cores:>6}{row.replicas:>8}{row.cores_used:>6}"
        f"{row.device_bytes_per_core / _GIB:>9.2f} GiB{host:>14} GiB  {row.reason}"
    )
