"""``traceship invoke``"""

from __future__ import annotations

import json
import sys
from typing import Any

import click


@click.command()
@click.argument("inputs", nargs=-1)
@click.option(
    "--objects", is_flag=True, help="INPUTS are JSON, for tasks whose input is no text (docs/requests.md)."
)
@click.option("--endpoint", metavar="NAME", help="SageMaker endpoint; unset: the project's.")
@click.option("--variant", metavar="NAME", help="The endpoint's variant to ask, such as a canary.")
@click.option("--url", metavar="URL", help="One server instead, such as http://127.0.0.1:8080.")
@click.option("--parameters", metavar="JSON", help="Such as '{\"top_k\": 2}'.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole answer as JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    inputs: tuple[str, ...],
    objects: bool,
    endpoint: str | None,
    variant: str | None,
    url: str | None,
    parameters: str | None,
    as_json: bool,
) -> None:
    """Send INPUTS (or the lines of standard input) as one request and print the answers."""
    from cli.console import data

    given = list(inputs) or [line.rstrip("\n") for line in sys.stdin]
    request: dict[str, Any] = {"inputs": [_parsed_input(text) for text in given] if objects else given}
    if parameters is not None:
        request["parameters"] = _parsed(parameters, what="--parameters", example='{"top_k": 2}')
    answer = _answer(ctx, request, endpoint, variant, url)
    lines = [f"{_short(text)}\t{_short(json.dumps(row))}" for text, row in zip(given, answer)]
    data(answer, as_json=as_json, text="\n".join(lines))


def _answer(
    ctx: click.Context, request: dict[str, Any], endpoint: str | None, variant: str | None, url: str | None
) -> Any:
    from cli.failure import Misuse
    from cli.project import Project
    from fleet.invoke import invoke_endpoint, invoke_server
    from infra.names import endpoint_name

    if url is not None and variant is not None:
        raise Misuse(what="--url and --variant exclude each other", why="one server is one variant",
                     fix="leave one of them out")  # fmt: skip
    if url is not None:
        return invoke_server(url, request)
    project = Project.of(ctx)
    name = endpoint or endpoint_name(project.settings)
    runtime = project.client("sagemaker-runtime")
    return invoke_endpoint(runtime, endpoint=name, request=request, variant=variant)


def _parsed_input(text: str) -> Any:
    example = '{"question": "Where is it?", "context": "It is in the mill."}'
    return _parsed(text, what=f"the input {_short(text)!r}", example=example)


def _parsed(text: str, *, what: str, example: str) -> Any:
    from cli.failure import Misuse

    try:
        return json.loads(text)
    except ValueError as error:
        raise Misuse(what=f"{what} is not JSON", why=str(error), fix=f"such as '{example}'") from None


def _short(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
