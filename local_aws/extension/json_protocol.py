"""AWS's JSON 1.1 protocol for the services we add: actions by X-Amz-Target, errors by ``__type``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from local_aws.extension.registry import Response

Request = dict[str, Any]
Action = Callable[[Request], dict[str, Any]]
CONTENT_TYPE = "application/x-amz-json-1.1"


class AwsError(Exception):
    """An error answer of a service. ``code`` is what boto3 puts into ``Error.Code``."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


def answer(actions: Mapping[str, Action], headers: Mapping[str, str], body: bytes) -> Response:
    """Run the action that the request names and render what it returns or raises."""
    name = headers.get("x-amz-target", "").rpartition(".")[2]
    try:
        action = actions.get(name)
        if action is None:
            raise AwsError(
                "UnknownOperationException", f"the local AWS has no action {name or '(none named)'}"
            )
        return _response(200, action(json.loads(body or b"{}")))
    except AwsError as error:
        return _response(error.status, {"__type": error.code, "message": error.message})


def required(request: Request, *names: str) -> list[Any]:
    """The values of members that must be there.

    Raises:
        AwsError: ValidationException in the services' own words.
    """
    missing = [name for name in names if request.get(name) in (None, "", [])]
    if missing:
        raise AwsError(
            "ValidationException",
            f"1 validation error detected: Value null at '{missing[0][0].lower()}{missing[0][1:]}' "
            "failed to satisfy constraint: Member must not be null",
        )
    return [request[name] for name in names]


def now() -> float:
    """A timestamp as JSON 1.1 carries it: seconds since 1970, to the millisecond."""
    return round(time.time(), 3)


def _response(status: int, payload: dict[str, Any]) -> Response:
    return status, {"Content-Type": CONTENT_TYPE}, json.dumps(payload).encode()
