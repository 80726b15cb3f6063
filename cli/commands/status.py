"""``traceship status``"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from fleet.status import EndpointState, FleetState, StackState, Status


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the status as JSON.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Show stacks, endpoint and fleet, each with the digest that it serves, against the lock.

    Of each service, where the settings have several and --service names none; as JSON by their names then.
    """
    from cli.console import data
    from cli.looking import look
    from cli.project import Project

    project = Project.of(ctx)
    if len(project.all_settings) == 1:
        found = look(project)
        data(found, as_json=as_json, text=_text(found))
        return
    each = {str(service.service): look(service) for service in project.services}
    whole = {"services": each, "healthy": all(status.healthy for status in each.values())}
    data(whole, as_json=as_json, text="\n".join(f"service   {name}\n{_text(each[name])}" for name in each))


def _text(status: Status) -> str:
    release = status.release[:12] if status.release else "none shipped"
    lines = [f"release   {release}", *(f"  waived: {waiver}" for waiver in status.waivers)]
    lines += [f"canary    {status.canary[:12]}"] if status.canary else []
    lines += ["stacks", *(_stack(stack) for stack in status.stacks)]
    lines += _endpoint(status.endpoint, status.release, status.canary) if status.endpoint else []
    lines += _fleet(status.fleet, status.release) if status.fleet else []
    return "\n".join([*lines, "healthy" if status.healthy else "NOT healthy"])


def _stack(stack: StackState) -> str:
    return f"  {stack.name:<24} {stack.status}"


def _endpoint(endpoint: EndpointState, release: str | None, canary: str | None) -> list[str]:
    lines = [f"endpoint  {endpoint.name}: {endpoint.status}, config {endpoint.config}"]
    captured = endpoint.captured_percent
    lines += [f"  a copy of {captured} % of the requests is kept"] if captured else []
    lines += [f"  {endpoint.failure}"] if endpoint.failure else []
    return lines + [
        f"  {v.name:<24} weight {v.weight:g}, {v.instances} of {v.wanted} instances, "
        f"{_digest(v.digest, release, canary)}"
        for v in endpoint.variants
    ]


def _fleet(fleet: FleetState, release: str | None) -> list[str]:
    lines = [f"fleet     {fleet.name}: {len(fleet.instances)} of {fleet.wanted} instances"]
    return lines + [
        f"  {i.id:<24} {i.lifecycle}, {i.health}, template version {i.launch_template_version}, "
        f"{_digest(i.digest, release)}"
        for i in fleet.instances
    ]


def _digest(digest: str | None, release: str | None, canary: str | None = None) -> str:
    if digest is None:
        return "no digest"
    if digest == canary != release:
        return f"digest {digest[:12]} (the canary's)"
    return f"digest {digest[:12]}" + ("" if digest == release else " (not the lock's)")
