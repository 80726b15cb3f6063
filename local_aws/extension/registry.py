"""The one place that writes to ministack's tables, as a small typed facade.

ministack 1.5.33 has no plug-in interface: services, routes, CloudFormation types and persisted
state live in module-level dicts. Extension modules call this class only, so a new ministack
version is checked here and nowhere else. Pairs with ``server.py``, which runs the callbacks.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Literal, Protocol
from urllib.parse import parse_qs

from ministack import app
from ministack.core import router
from ministack.services import stepfunctions
from ministack.services.cloudformation import provisioners, stacks

from local_aws import names

Properties = dict[str, Any]
Provisioned = tuple[str, dict[str, Any]]
"""Physical id (what Ref gives) and the attributes (what Fn::GetAtt gives)."""
Response = tuple[int, dict[str, str], bytes]
"""HTTP status, headers, body."""
Handler = Callable[[str, str, dict[str, str], bytes, dict[str, list[str]]], Awaitable[Response]]
"""``async (method, path, headers, body, query) -> Response``."""

logger = logging.getLogger("traceship.local_aws")

INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER", "LOGNAME")
"""What child processes get of the server's own environment."""


class Create(Protocol):
    """Make the resource. Any exception fails the resource and rolls the stack back."""

    def __call__(self, logical_id: str, properties: Properties, stack: str, /) -> Provisioned: ...


class Update(Protocol):
    """Change the resource in place, or replace it by answering another physical id."""

    def __call__(
        self, physical_id: str, old: Properties, new: Properties, stack: str, logical_id: str, /
    ) -> Provisioned: ...


class Delete(Protocol):
    """Remove the resource; one that is gone already is no error."""

    def __call__(self, physical_id: str, properties: Properties, /) -> None: ...


@dataclass(frozen=True, kw_only=True)
class ResourceType:
    """The three handlers of a CloudFormation type."""

    create: Create
    update: Update
    delete: Delete


class ResourceFailed(Exception):
    """A resource cannot be made, changed or removed; the message becomes the stack event's reason."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """What an extension module needs to know of the process it runs in.

    ``endpoint`` is our own URL, for child processes; ``python`` the project's interpreter (ours
    holds ministack's packages only); ``state`` the folder to keep files in; ``checkout`` the
    folder that child processes get as PYTHONPATH and working directory.
    """

    endpoint: str
    port: int
    python: Path
    state: Path
    checkout: Path
    account: str = names.ACCOUNT
    region: str = names.REGION

    def child_environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        """The whole environment of a process that the server starts.

        It talks to this server only, and carries the mark by which ``down`` finds it should
        the server be killed.
        """
        kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
        return {
            **kept,
            **names.client_environment(self.state, self.port),
            "PYTHONPATH": str(self.checkout),
            "PYTHONUNBUFFERED": "1",
            names.ENV_STATE: str(self.state),
            **extra,
        }


class Registry:
    """Adds services, CloudFormation types and life-cycle callbacks to ministack."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._startups: list[Callable[[], None]] = []
        self._shutdowns: list[Callable[[], None]] = []
        self._blocking: set[str] = set()
        self._internal: dict[str, Handler] = {}
        self._ready = False
        self.add_internal_route(names.READY, self._answer_ready)
        self._run_blocking_types_on_threads()

    def add_service(self, name: str, handler: Handler, patterns: Mapping[str, Sequence[str]]) -> None:
        """Route requests to ``handler``, in place of ministack's own service of that name.

        Args:
            name: the credential scope that botocore signs with, such as ``sagemaker``.
            patterns: ministack's keys ``target_prefixes`` (start of X-Amz-Target) and
                ``host_patterns`` (regular expressions). Matched before the scope.
        """
        app.SERVICE_HANDLERS[name] = handler
        router.SERVICE_PATTERNS[name] = {key: list(values) for key, values in patterns.items()}

    def wrap_services(self, around: Callable[[str, Handler], Handler]) -> None:
        """Put a handler around each service's; ``around`` gets its name and its own."""
        for name, own in list(app.SERVICE_HANDLERS.items()):
            app.SERVICE_HANDLERS[name] = around(name, own)

    def add_resource_type(
        self,
        type_name: str,
        *,
        create: Create,
        update: Update,
        delete: Delete,
        replaced_by: Sequence[str] = (),
        blocking: bool = False,
        tags: Literal["list", "map"] | None = None,
    ) -> None:
        """Teach CloudFormation a type, in place of ministack's own if it has one.

        Args:
            replaced_by: properties whose change makes a new resource (create, then delete the
                old one after the stack update); ``update`` never sees such a change. Empty for
                a type of ministack's: its own list stays.
            blocking: run on a worker thread, so that it may wait and start processes.
                Otherwise it runs on the event loop and must not.
            tags: shape of the property ``Tags``; the stack's tags are merged into it.
        """
        known = provisioners._RESOURCE_HANDLERS.get(type_name, {})
        provisioners._RESOURCE_HANDLERS[type_name] = {
            **({"import": known["import"]} if "import" in known else {}),
            "create": create,
            "update": update,
            "update_with_logical_id": True,
            "delete": delete,
        }
        if replaced_by or type_name not in provisioners._REPLACING_PROPERTIES:
            provisioners._REPLACING_PROPERTIES[type_name] = tuple(replaced_by)
        if tags is not None:
            provisioners._STACK_TAG_PROPERTY[type_name] = ("Tags", tags)
        if blocking:
            self._blocking.add(type_name)

    def replace_on_change(self, type_name: str, properties: Sequence[str]) -> None:
        """A change of one of these makes a new resource; the old one goes when the update has succeeded."""
        provisioners._REPLACING_PROPERTIES[type_name] = tuple(properties)

    def resource_type(self, type_name: str) -> ResourceType:
        """What is registered for a type now, to be extended. KeyError if there is none."""
        handlers = dict(provisioners._RESOURCE_HANDLERS[type_name])  # as they are now
        update = handlers.get("update")

        def updated(
            physical_id: str, old: Properties, new: Properties, stack: str, logical_id: str
        ) -> Provisioned:
            if update is None:  # ministack's own rule for such types
                return _provisioned(handlers["create"](logical_id, new, stack))
            extra = (logical_id,) if handlers.get("update_with_logical_id") else ()
            return _provisioned(update(physical_id, old, new, stack, *extra))

        def deleted(physical_id: str, properties: Properties) -> None:
            handlers["delete"](physical_id, properties)

        return ResourceType(create=handlers["create"], update=updated, delete=deleted)

    def wrap_resource_type(self, type_name: str, *, create: Create, update: Update) -> None:
        """Put handlers around those of a type that stays what it is.

        ``update`` is not used for a type without one: ministack creates such a resource anew.
        """
        handlers = provisioners._RESOURCE_HANDLERS[type_name]
        handlers["create"] = create
        if "update" in handlers:
            handlers.update(update=update, update_with_logical_id=True)

    def resource_types(self) -> list[str]:
        """Names of all types that CloudFormation knows now."""
        return sorted(provisioners._RESOURCE_HANDLERS)

    def generated_name(self, stack: str, logical_id: str, *, longest: int) -> str:
        """Name of a resource that the template does not name; stable until it is replaced."""
        name: str = provisioners._physical_name(stack, logical_id, max_len=longest)
        return name

    def add_task(self, resource: str, run: Callable[[str, Any], Any]) -> None:
        """Teach Step Functions a service integration, such as ``arn:aws:states:::batch:submitJob``.

        Args:
            run: gets the state's whole ``Resource`` (with ``.sync``, if any) and its parameters,
                on a thread of the execution; its answer is the task's result.
        """
        stepfunctions._SERVICE_DISPATCH[resource] = run

    def replace(self, module: ModuleType, name: str, around: Callable[[Any], Any]) -> None:
        """Put ``around(own)`` in place of a function of ministack's, which must exist."""
        setattr(module, name, around(getattr(module, name)))

    def replace_action(self, actions: dict[str, Any], name: str, around: Callable[[Any], Any]) -> None:
        """The same for an entry of a service's table of actions."""
        actions[name] = around(actions[name])

    def add_state(
        self,
        name: str,
        *,
        save: Callable[[], dict[str, Any]],
        restore: Callable[[dict[str, Any]], None],
        reset: Callable[[], None],
    ) -> None:
        """Keep JSON data across ``down`` and ``up``; ``restore`` runs before ``on_startup``."""
        module = f"traceship_{name}"
        app._loaded_modules[module] = SimpleNamespace(
            get_state=save, load_persisted_state=restore, reset=reset
        )
        app.SERVICE_REGISTRY[module] = {"module": module}
        app._state_map[module] = module

    def add_internal_route(self, name: str, handler: Handler) -> None:
        """Answer ``/_traceship/<name>``, outside every AWS API, for our own commands and tests."""
        self._internal[names.INTERNAL_PREFIX + name] = handler

    async def answer_internal(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI application of the internal routes."""
        handler = self._internal.get(scope["path"])
        if handler is None:
            status, headers, body = 404, {"content-type": "application/json"}, b"{}"
        else:
            request = await _body(receive)
            query = parse_qs(scope["query_string"].decode(), keep_blank_values=True)
            status, headers, body = await handler(scope["method"], scope["path"], {}, request, query)
        encoded = [(key.lower().encode(), value.encode()) for key, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": encoded})
        await send({"type": "http.response.body", "body": body})

    async def _answer_ready(self, *_: object) -> Response:
        status = 200 if self._ready else 503
        return status, {"content-type": "application/json"}, json.dumps({"pid": os.getpid()}).encode()

    def on_startup(self, callback: Callable[[], None]) -> None:
        """Call once the state is restored and the port answers, on a worker thread."""
        self._startups.append(callback)

    def on_shutdown(self, callback: Callable[[], None]) -> None:
        """Call when the server stops, before the state is saved, on a worker thread.

        What a module started (processes, threads) must have ended when it returns.
        """
        self._shutdowns.append(callback)

    def start(self) -> bool:
        """Run the start-up callbacks in the order they were added; whether all succeeded."""
        self._ready = all(_succeeds(callback) for callback in self._startups)
        return self._ready

    def stop(self) -> bool:
        """Run every shut-down callback, last added first; whether all succeeded.

        One that fails is logged and does not keep the others from ending their processes.
        """
        self._ready = False
        outcomes = [_succeeds(callback) for callback in reversed(self._shutdowns)]
        return all(outcomes)

    def _run_blocking_types_on_threads(self) -> None:
        """CloudFormation asks this function per type; ours wait for processes to be ready."""
        original = stacks._runs_on_worker_thread

        def runs_on_worker_thread(type_name: str) -> bool:
            return type_name in self._blocking or original(type_name)

        stacks._runs_on_worker_thread = runs_on_worker_thread


def _provisioned(answer: Any) -> Provisioned:
    physical_id, attributes = answer
    return physical_id, attributes


def _succeeds(callback: Callable[[], None]) -> bool:
    try:
        callback()
    except Exception:
        logger.exception("%s failed", callback)
        return False
    return True


async def _body(receive: Any) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)
