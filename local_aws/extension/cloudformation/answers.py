"""Calls of a ministack service from a provisioner: its answer, or a failed resource."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from local_aws.extension.registry import ResourceFailed

_MESSAGE = re.compile(rb"<Code>(?P<code>[^<]*)</Code>\s*<Message>(?P<message>[^<]*)</Message>")


def accepted(answer: tuple[int, Any, Any]) -> str:
    """Return the body of a service's answer.

    Raises:
        ResourceFailed: the service refused, with its own code and message.
    """
    status, _, body = answer
    raw = body if isinstance(body, bytes) else str(body).encode()
    if status < 300:
        return raw.decode()
    found = _MESSAGE.search(raw)
    text = f"{found['message'].decode()} ({found['code'].decode()})" if found else raw.decode()
    raise ResourceFailed(text)


def query(**parameters: Any) -> dict[str, list[str]]:
    """Parameters of AWS's query protocol: lists and mappings flattened with 1-based indices.

    ``query(Tag=[{"Key": "a"}])`` gives ``{"Tag.1.Key": ["a"]}``; None is left out.
    """
    flat: dict[str, list[str]] = {}
    for name, value in parameters.items():
        _flatten(name, value, flat)
    return flat


def _flatten(name: str, value: Any, flat: dict[str, list[str]]) -> None:
    if value is None:
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            _flatten(f"{name}.{key}", item, flat)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value, start=1):
            _flatten(f"{name}.{index}", item, flat)
    else:
        flat[name] = [str(value).lower() if isinstance(value, bool) else str(value)]
