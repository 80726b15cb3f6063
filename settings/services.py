"""``[service.NAME]``: several models, fleets and endpoints in one file.

Without such a table the file describes one service, which has no name. With them, the tables outside
are what the services have in common: a service repeats of them what differs. It has a fleet or an
endpoint only if it writes that table itself, be it an empty one.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artifact.errors import UsageError

Raw = dict[str, Any]

TABLES = ("model", "compile", "serve", "signing", "image", "host", "fleet", "endpoint", "alarms", "tags")
"""What a service may say for itself; the others belong to the project."""
OWN = ("image", "fleet", "endpoint")
"""Tables outside that are defaults only."""
SHARED = "aws"
"""The table in [compile] that belongs to the project all the same: its compile stack."""
RELEASE = "release"
"""The one key of a service that is no table: another service, whose release it runs."""
NAME = re.compile(r"[a-z]([a-z0-9-]{0,13}[a-z0-9])?")
"""15 characters at most: with a project of 25 and a digest, a name in SageMaker has 63."""


class ServiceInvalid(UsageError):
    """A ``[service.NAME]`` cannot be used."""

    id = "service-invalid"


class UnknownService(UsageError):
    """A service was asked for that the file does not define."""

    id = "unknown-service"

    def __init__(self, *, path: Path, asked: str, known: list[str]) -> None:
        super().__init__(
            what=f"{path} has no service {asked!r}",
            why=f"the services it defines are: {', '.join(known) or 'none'}",
            fix=f"add a [service.{asked}] table or name one of those"
            if known
            else "leave --service out, or add such a table",
        )


class ServiceNeeded(UsageError):
    """The file defines several services, and the command works on one."""

    id = "service-needed"

    def __init__(self, *, path: Path, known: list[str]) -> None:
        super().__init__(
            what="this command works on one service",
            why=f"{path} defines {', '.join(known)}",
            fix=f"name it: `traceship --service {known[0]} …`",
        )


@dataclass(frozen=True)
class RawService:
    """A service as the file has it. ``runs``: the service whose release it runs; both None without names."""

    name: str | None
    runs: str | None
    values: Raw
    said: Raw
    """What it says for itself, so that an error can be told where it was written."""
    shared: Raw | None = None
    """What the stacks are made from that all services share; None without names."""


def split(path: Path, raw: Raw) -> list[RawService]:
    """The services of a file from which stages are gone already, in its order.

    Raises:
        ServiceInvalid: no table, a bad name, a table or key that no service has, a release of a service
            that there is not, or a fleet or endpoint outside that no service has.
    """
    common = {name: value for name, value in raw.items() if name != "service"}
    tables = raw.get("service")
    if tables is None:
        return [RawService(name=None, runs=None, values=common, said={})]
    if not isinstance(tables, dict) or not tables:
        raise _no_table(path, "service", tables)
    compiling = [n for n, said in tables.items() if not (isinstance(said, dict) and RELEASE in said)]
    services = [_service(path, common, name, said, compiling) for name, said in tables.items()]
    for section in OWN:
        if section in common and not any(section in service.said for service in services):
            raise ServiceInvalid(
                what=f"{path}: nobody has the [{section}] that it describes",
                why="beside services it holds only what their own tables have in common",
                fix=f"write [service.{services[0].name}.{section}], empty if nothing differs there",
            )
    return services


def merged(base: Raw, over: Raw) -> Raw:
    """``base`` with the tables and keys of ``over`` laid over it."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        both_tables = isinstance(below, dict) and isinstance(value, dict)
        result[key] = merged(below, value) if both_tables else value  # type: ignore[arg-type]
    return result


def _service(path: Path, common: Raw, name: str, said: Any, compiling: list[str]) -> RawService:
    place = f"service.{name}"
    if not isinstance(said, dict):
        raise _no_table(path, place, said)
    if NAME.fullmatch(name) is None:
        raise ServiceInvalid(
            what=f"{path}: {name!r} cannot be the name of a service",
            why="it becomes part of the names of stacks, endpoints and models",
            fix="take 1 to 15 small letters, digits and dashes, the first of them a letter",
        )
    for key in said:
        if key not in (*TABLES, RELEASE):
            raise _unknown(path, place, key)
    if isinstance(compiling_there := said.get("compile"), dict) and SHARED in compiling_there:
        raise ServiceInvalid(
            what=f"{path}: `{place}.compile.{SHARED}` cannot be used",
            why="one compile stack works for all services of the project",
            fix=f"write [compile.{SHARED}] outside of the services",
        )
    runs = said.get(RELEASE, name)
    for problem, fix in _release_problems(name, said, compiling):
        raise ServiceInvalid(what=f"{path}: `{place}.release` cannot be used", why=problem, fix=fix)
    own = {key: value for key, value in said.items() if key != RELEASE}
    base = {key: value for key, value in common.items() if key not in OWN or key in own}
    return RawService(name=name, runs=runs, values=merged(base, own), said=own, shared=_shared(common))


def _shared(common: Raw) -> Raw:
    """Tags, alarms and compile stack as the tables outside have them: what the first service says for itself
    is nothing that the others have in common with it."""
    shared: Raw = {key: common[key] for key in ("project", "network", "alarms", "tags") if key in common}
    compiling = common.get("compile")
    if isinstance(compiling, dict) and SHARED in compiling:
        shared["compile"] = {SHARED: compiling[SHARED]}
    return shared


def _release_problems(name: str, said: Raw, compiling: list[str]) -> Iterator[tuple[str, str]]:
    if RELEASE not in said:
        return
    runs = said[RELEASE]
    if runs not in compiling:
        known = f"name one of {', '.join(compiling)}" if compiling else "take it away"
        yield f"there is no service {runs!r} that compiles a release of its own", known
    for table in ("model", "compile"):
        if table in said:
            yield (
                f"it runs what service {runs!r} compiles, so its own [{table}] would never be used",
                f"take away release or [service.{name}.{table}]",
            )


def _no_table(path: Path, place: str, found: Any) -> ServiceInvalid:
    return ServiceInvalid(
        what=f"{path}: `{place}` is not a service",
        why=f"a service is a table of settings, this is {found!r}",
        fix="write [service.NAME] tables with the settings that differ there",
    )


def _unknown(path: Path, place: str, key: str) -> ServiceInvalid:
    valid = [*TABLES, RELEASE]
    nearest = difflib.get_close_matches(key, valid, n=1)
    fix = f"did you mean `{nearest[0]}`?" if nearest else f"a service may have: {', '.join(valid)}"
    why = "it belongs to the whole project" if key in ("project", "network") else "no service has such a key"
    return ServiceInvalid(what=f"{path}: unknown key `{place}.{key}`", why=why, fix=fix)
