"""Calls that fail because somebody asked for it, so that a rollback can be seen to roll back.

``POST /_traceship/faults`` replaces the list; ``GET`` answers it with ``hits``, because a fault that
nothing ran into proves nothing. Points where one can be placed:

    cloudformation:STACK/LOGICAL_ID   the resource's next create or update
    autoscaling:Launch                an instance that a group launches
    sagemaker:Provision               the instances of an endpoint
    SERVICE:ACTION                    a request over HTTP (query and JSON protocols), such as
                                      cloudformation:DescribeStacks, answered with the code

Faults are not kept across ``down`` and ``up``.
"""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, dataclass
from typing import Any

from local_aws import names
from local_aws.extension.fleet_query import error as query_error
from local_aws.extension.fleet_query import flat
from local_aws.extension.json_protocol import CONTENT_TYPE, AwsError
from local_aws.extension.registry import (
    Handler,
    Properties,
    Provisioned,
    Registry,
    ResourceFailed,
    Response,
)


@dataclass(kw_only=True)
class Fault:
    """One thing that goes wrong.

    ``skip``: so many calls pass first. ``times``: so many fail then; None: all. ``status``: of an
    answer over HTTP.
    """

    point: str
    code: str
    message: str
    skip: int = 0
    times: int | None = 1
    status: int = 400
    hits: int = 0

    def due(self) -> bool:
        """Count a call at this point; whether it fails."""
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        self.hits += 1
        return True


class Injected(Exception):
    """A fault came due; the message is the service's."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


_faults: list[Fault] = []
_lock = threading.Lock()


def check(point: str) -> None:
    """Pass a point.

    Raises:
        Injected: somebody asked that this call fails.
    """
    with _lock:
        due = next((fault for fault in _faults if fault.point == point and fault.due()), None)
    if due is not None:
        raise Injected(due)


def register(registry: Registry) -> None:
    """Put the points around every resource type and service that is registered by now."""
    for type_name in registry.resource_types():
        _watch_type(registry, type_name)
    registry.wrap_services(_watched)
    registry.add_internal_route(names.FAULTS, _answer)
    registry.add_state("faults", save=dict, restore=lambda _: None, reset=_faults.clear)


def _watch_type(registry: Registry, type_name: str) -> None:
    own = registry.resource_type(type_name)

    def create(logical_id: str, properties: Properties, stack: str) -> Provisioned:
        _check_resource(stack, logical_id)
        return own.create(logical_id, properties, stack)

    def update(
        physical_id: str, old: Properties, new: Properties, stack: str, logical_id: str
    ) -> Provisioned:
        _check_resource(stack, logical_id)
        return own.update(physical_id, old, new, stack, logical_id)

    registry.wrap_resource_type(type_name, create=create, update=update)


def _check_resource(stack: str, logical_id: str) -> None:
    try:
        check(f"cloudformation:{stack}/{logical_id}")
    except Injected as injected:
        fault = injected.fault
        raise ResourceFailed(f"{fault.message} (Error Code: {fault.code})") from None


def _watched(service: str, own: Handler) -> Handler:
    async def handle(
        method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, list[str]]
    ) -> Response:
        target = headers.get("x-amz-target")
        # An upload's body is no list of parameters, and may be a gigabyte.
        form = "x-www-form-urlencoded" in headers.get("content-type", "")
        action = target.rpartition(".")[2] if target else flat(body if form else b"", query).get("Action")
        try:
            if action:
                check(f"{service}:{action}")
        except Injected as injected:
            return _refusal(injected.fault, in_json=target is not None)
        return await own(method, path, headers, body, query)

    return handle


def _refusal(fault: Fault, *, in_json: bool) -> Response:
    refused = AwsError(fault.code, fault.message, fault.status)
    if not in_json:
        return query_error("http://cloudformation.amazonaws.com/doc/2010-05-15/", refused)
    body = json.dumps({"__type": fault.code, "message": fault.message}).encode()
    return fault.status, {"Content-Type": CONTENT_TYPE}, body


async def _answer(
    method: str, _path: str, _headers: dict[str, str], body: bytes, _query: dict[str, list[str]]
) -> Response:
    if method == "POST":
        asked = [Fault(**entry) for entry in json.loads(body)]
        with _lock:
            _faults[:] = asked
    shown: list[dict[str, Any]] = [asdict(fault) for fault in _faults]
    return 200, {"content-type": "application/json"}, json.dumps(shown).encode()
