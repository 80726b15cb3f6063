"""Policy documents as statements. What this evaluator does not know it refuses instead of ignoring it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

KNOWN = {
    "Sid",
    "Effect",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Principal",
    "NotPrincipal",
    "Condition",
}


@dataclass(frozen=True)
class Statement:
    """One statement. ``not_actions``, ``not_resources``: the lists say what it is *not* about.

    ``principals``: kind (AWS, Service, Federated) and name; None in an identity's policy, where the
    statement is about whoever has it.
    """

    effect: Literal["Allow", "Deny"]
    actions: tuple[str, ...]
    not_actions: bool
    resources: tuple[str, ...]
    not_resources: bool
    principals: tuple[tuple[str, str], ...] | None
    not_principals: bool
    conditions: Mapping[str, Mapping[str, Any]]
    sid: str


@dataclass(frozen=True)
class Policy:
    """A document."""

    statements: tuple[Statement, ...]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Policy:
        """Read a document.

        Raises:
            ValueError: something in it is unknown, missing or contradictory.
        """
        if document.get("Version") != "2012-10-17":
            raise ValueError(f"version {document.get('Version')!r}: variables mean something else there")
        return cls(tuple(_statement(row) for row in _list(document["Statement"])))


def _statement(row: Mapping[str, Any]) -> Statement:
    if unknown := set(row) - KNOWN:
        raise ValueError(f"unknown elements {sorted(unknown)}")
    if row["Effect"] not in ("Allow", "Deny"):
        raise ValueError(f"effect {row['Effect']!r}")
    if ("Action" in row) == ("NotAction" in row):
        raise ValueError("one of Action and NotAction")
    if "Resource" in row and "NotResource" in row:
        raise ValueError("one of Resource and NotResource")
    named = row.get("Principal", row.get("NotPrincipal"))
    return Statement(
        effect=row["Effect"],
        actions=tuple(_list(row.get("Action", row.get("NotAction")))),
        not_actions="NotAction" in row,
        # A role's trust policy names no resource: it is about the role.
        resources=tuple(_list(row.get("Resource", row.get("NotResource", "*")))),
        not_resources="NotResource" in row,
        principals=None if named is None else _principals(named),
        not_principals="NotPrincipal" in row,
        conditions=row.get("Condition", {}),
        sid=str(row.get("Sid", "")),
    )


def _principals(named: Any) -> tuple[tuple[str, str], ...]:
    if named == "*":
        return (("AWS", "*"),)
    return tuple((kind, name) for kind, names in named.items() for name in _list(names))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
