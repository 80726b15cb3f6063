"""What a lister gives, and what is taken out of an answer before two are compared."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from local_aws.conformance.selfcheck import Clients

Described = dict[str, Any]
Lister = Callable[[Clients], dict[str, Described]]

_RESTLESS = re.compile(
    r"(?i)ResponseMetadata|NextToken|.*(time|timestamp|date|createdon|lastmodified.*|updatedat)$|storedBytes"
    r"|StateReason.*|Revision(Id)?$|Activities"
)
"""Members that move without anybody's doing: times, sizes, the reason of an alarm's state."""


def steady(value: Any) -> Any:
    """``value`` without what moves by itself; lists whose order says nothing are sorted."""
    if isinstance(value, dict):
        return {key: steady(item) for key, item in value.items() if not _RESTLESS.fullmatch(key)}
    if isinstance(value, list):
        return sorted((steady(item) for item in value), key=repr)
    return value


def keyed(items: Iterable[Described], name: str) -> dict[str, Described]:
    """Items by one of their members."""
    return {str(item[name]): steady(item) for item in items}


def pages(clients: Clients, service: str, operation: str, member: str, **request: Any) -> list[Described]:
    """Members of every page of a list call."""
    paginator = clients.client(service).get_paginator(operation)
    return [item for page in paginator.paginate(**request) for item in page[member]]


def answered(call: Callable[..., Any], member: str | None = None, **request: Any) -> Any:
    """What an optional part of a resource is; None where the service has none of it."""
    from botocore.exceptions import ClientError

    try:
        answer = call(**request)
    except ClientError as error:
        if "NotFound" in str(error) or "NoSuch" in str(error) or "NotExist" in str(error):
            return None
        raise
    return steady(answer if member is None else answer.get(member))
