"""``traceship invoke``"""

from __future__ import annotations

import json
import sys
from typing import Any

import click


@click.command()
@click.argument("texts", nargs=-1)
@click.option("--endpoint", metavar="NAME", help="SageMaker endpoint; unset: the project's.")
@click.option("--url", metavar="URL", help="One server instead, such as http://127.0.0.1:8080.")
@click.option("--parameters", metavar="JSON", help="Such as '{\"top_k\": 2}'.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole answer as JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    texts: tuple[str, ...],
    endpoint: str | None,
    url: str | None,
    parameters: str | None,
    as_json: bool,
) -> None:
    """Send TEXTS (or the lines of standard input) as one request and print the answers."""
    from cli.console import data

    inputs = list(texts) or [line.rstrip("\n") for line in sys.stdin]
    request: dict[str, Any] = {"inputs": inputs}
    if parameters is not None:
        request["parameters"] = _parsed(parameters)
    answer = _answer(ctx, request, endpoint, url)
    lines = [f"{_short(text)}\t{_short(json.dumps(row))}" for text, row in zip(inputs, answer)]
    data(answer, as_json=as_json, text="\n".join(lines))


def _answer(ctx: click.Context, request: dict[str, Any], endpoint: str | None, url: str | None) -> Any:
    from cli.project import Project
    from fleet.invoke import invoke_endpoint, invoke_server
    from infra.names import endpoint_name

    if url is not None:
        return invoke_server(url, request)
    project = Project.of(ctx)
    name = endpoint or endpoint_name(project.settings.project.name)
    return invoke_endpoint(project.client("sagemaker-runtime"), endpoint=name, request=request)


def _parsed(parameters: str) -> Any:
    from cli.failure import Misuse

    try:
        return json.loads(parameters)
    except ValueError as error:
        raise Misuse(
            what="--parameters is not JSON", why=str(error), fix="such as '{\"top_k\": 2}'"
        ) from None


def _short(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
