"""The Query protocol of Auto Scaling and load balancing: flat keys in, XML out."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from local_aws.extension.json_protocol import AwsError
from local_aws.extension.registry import Response

AUTO_SCALING = "http://autoscaling.amazonaws.com/doc/2011-01-01/"
Request = dict[str, Any]


def flat(body: bytes, query: dict[str, list[str]]) -> dict[str, str]:
    """The parameters of a request, from its body or its URL."""
    given = {**query, **parse_qs(body.decode(errors="replace"), keep_blank_values=True)}
    return {name: values[0] for name, values in given.items()}


def nested(parameters: dict[str, str]) -> Request:
    """Query parameters as the API's structure: ``A.member.1.B=x`` becomes ``{"A": [{"B": "x"}]}``."""
    tree: dict[str, Any] = {}
    for key, value in parameters.items():
        *path, last = key.split(".")
        node = tree
        for step in path:
            node = node.setdefault(step, {})
        node[last] = value
    request: Request = _with_lists(tree)
    return request


def _with_lists(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if set(node) == {"member"}:
        return [_with_lists(node["member"][number]) for number in sorted(node["member"], key=int)]
    return {key: _with_lists(value) for key, value in node.items()}


def response(namespace: str, action: str, result: Request) -> Response:
    """A successful answer."""
    body = (
        f'<{action}Response xmlns="{namespace}"><{action}Result>{_xml(result)}</{action}Result>'
        f"<ResponseMetadata><RequestId>{uuid.uuid4()}</RequestId></ResponseMetadata></{action}Response>"
    )
    return 200, {"Content-Type": "text/xml"}, body.encode()


def error(namespace: str, refused: AwsError) -> Response:
    """A refusal."""
    body = (
        f'<ErrorResponse xmlns="{namespace}"><Error><Type>Sender</Type><Code>{refused.code}</Code>'
        f"<Message>{escape(refused.message)}</Message></Error><RequestId>{uuid.uuid4()}</RequestId></ErrorResponse>"
    )
    return refused.status, {"Content-Type": "text/xml"}, body.encode()


def _xml(value: Any) -> str:
    if isinstance(value, dict):
        return "".join(f"<{name}>{_xml(member)}</{name}>" for name, member in value.items())
    if isinstance(value, list | tuple):
        return "".join(f"<member>{_xml(member)}</member>" for member in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return escape(str(value))
