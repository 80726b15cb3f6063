"""The decision. Source: IAM user guide, "Policy evaluation logic"; KMS guide, "Key policies"."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from tests.iam.conditions import hold
from tests.iam.documents import Policy, Statement
from tests.iam.matching import action_matches, matches


class Decision(Enum):
    """What IAM answers. Both denials refuse; an explicit one cannot be outweighed by any policy."""

    ALLOW = "allowed"
    IMPLICIT_DENY = "not allowed"
    EXPLICIT_DENY = "denied"


@dataclass(frozen=True)
class Identity:
    """A role or user: its ARN and policies. ``boundary``: the most that these can give; None for no limit."""

    arn: str
    policies: tuple[Policy, ...] = ()
    boundary: Policy | None = None

    @property
    def account(self) -> str:
        return self.arn.split(":")[4]


@dataclass(frozen=True)
class Service:
    """A service that acts in its own name, ``logs.eu-west-1.amazonaws.com``."""

    name: str


@dataclass(frozen=True)
class Target:
    """What is asked for. ``owner``: its account. ``policy``: its own, where it has one.

    ``is_key``: a KMS key, whose policy must agree: what an identity's policies give counts only if the
    key's policy admits the account.
    """

    arn: str
    owner: str
    policy: Policy | None = None
    is_key: bool = False


@dataclass(frozen=True)
class Request:
    """One call. ``context``: condition keys and their values."""

    action: str
    target: Target
    context: Mapping[str, object] = field(default_factory=dict)


def decide(caller: Identity | Service, request: Request) -> Decision:
    """What IAM answers to ``caller``."""
    context = {**_own(caller), **request.context}
    own = [row for policy in _policies(caller) for row in policy.statements]
    limits = [] if isinstance(caller, Service) or caller.boundary is None else caller.boundary.statements
    resource = [] if request.target.policy is None else request.target.policy.statements
    about_caller = [row for row in resource if _names(row, caller)]

    def says(rows: Iterable[Statement], effect: str) -> bool:
        return any(row.effect == effect and _applies(row, request, context) for row in rows)

    if says([*own, *limits, *about_caller], "Deny"):
        return Decision.EXPLICIT_DENY
    granted = says([row for row in about_caller if not _delegates(row)], "Allow")
    delegated = says([row for row in about_caller if _delegates(row)], "Allow")
    if isinstance(caller, Service):
        return _answer(granted)
    within = caller.boundary is None or says(limits, "Allow")
    by_identity = says(own, "Allow") and within
    if caller.account != request.target.owner:
        return _answer(by_identity and (granted or delegated))
    if request.target.is_key:
        return _answer((granted and within) or (by_identity and delegated))
    return _answer(by_identity or (granted and within))


def _applies(row: Statement, request: Request, context: Mapping[str, object]) -> bool:
    action = any(action_matches(pattern, request.action) for pattern in row.actions) != row.not_actions
    if not action:
        return False
    arn = request.target.arn
    return any(matches(pattern, arn, context) for pattern in row.resources) != row.not_resources and hold(
        row.conditions, context
    )


def _names(row: Statement, caller: Identity | Service) -> bool:
    """Whether a resource policy's statement is about the caller."""
    if row.principals is None:
        raise ValueError("a resource policy's statement without a principal")
    return any(_is(kind, name, caller) for kind, name in row.principals) != row.not_principals


def _is(kind: str, name: str, caller: Identity | Service) -> bool:
    if isinstance(caller, Service):
        return (kind, name) == ("Service", caller.name) or name == "*"
    return kind == "AWS" and name in ("*", caller.arn, caller.account, _root(caller.account, caller.arn))


def _delegates(row: Statement) -> bool:
    """It names an account, not a principal: the account's own policies decide."""
    return row.principals is not None and all(
        kind == "AWS" and re.fullmatch(r"[0-9]{12}|arn:[^:]+:iam::[0-9]{12}:root", name) is not None
        for kind, name in row.principals
    )


def _root(account: str, arn: str) -> str:
    return f"arn:{arn.split(':')[1]}:iam::{account}:root"


def _own(caller: Identity | Service) -> dict[str, object]:
    """Condition keys that the caller brings."""
    if isinstance(caller, Service):
        return {}
    named = {"aws:PrincipalArn": caller.arn, "aws:PrincipalAccount": caller.account}
    kind, _, name = caller.arn.split(":", 5)[5].partition("/")
    return {**named, "aws:username": name} if kind == "user" else named


def _policies(caller: Identity | Service) -> tuple[Policy, ...]:
    return () if isinstance(caller, Service) else caller.policies


def _answer(allowed: bool) -> Decision:
    return Decision.ALLOW if allowed else Decision.IMPLICIT_DENY
