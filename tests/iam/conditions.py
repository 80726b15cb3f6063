"""Condition operators. Source: IAM user guide, "IAM JSON policy elements: Condition operators"."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.iam.matching import arn_matches, filled, matches

Context = Mapping[str, object]
Compare = Callable[[str, str, Context], bool]


def _equal(wanted: str, found: str, context: Context) -> bool:
    return filled(wanted, context) == found


def _equal_ignoring_case(wanted: str, found: str, context: Context) -> bool:
    text = filled(wanted, context)
    return text is not None and text.lower() == found.lower()


def _boolean(wanted: str, found: str, _: Context) -> bool:
    return wanted.lower() == found.lower()


def _address(wanted: str, found: str, _: Context) -> bool:
    return ipaddress.ip_address(found) in ipaddress.ip_network(wanted)


POSITIVE: dict[str, Compare] = {
    "StringEquals": _equal,
    "StringEqualsIgnoreCase": _equal_ignoring_case,
    "StringLike": matches,
    "ArnEquals": arn_matches,
    "ArnLike": arn_matches,
    "Bool": _boolean,
    "IpAddress": _address,
    "NumericEquals": lambda wanted, found, _: float(found) == float(wanted),
    "NumericLessThan": lambda wanted, found, _: float(found) < float(wanted),
    "NumericLessThanEquals": lambda wanted, found, _: float(found) <= float(wanted),
    "NumericGreaterThan": lambda wanted, found, _: float(found) > float(wanted),
    "NumericGreaterThanEquals": lambda wanted, found, _: float(found) >= float(wanted),
}
NEGATED = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
    "NotIpAddress": "IpAddress",
    "NumericNotEquals": "NumericEquals",
}


def hold(conditions: Mapping[str, Mapping[str, Any]], context: Context) -> bool:
    """Whether all conditions hold: every operator, every key of it, any of the key's values.

    Raises:
        ValueError: an operator that is not known here.
    """
    lowered = {name.lower(): value for name, value in context.items()}
    return all(
        _holds(operator, [_text(v) for v in _list(wanted)], lowered.get(key.lower()), context)
        for operator, table in conditions.items()
        for key, wanted in table.items()
    )


def _holds(operator: str, wanted: list[str], found: object, context: Context) -> bool:
    quantifier, colon, rest = operator.partition(":")
    operator = rest if colon else operator
    if operator == "Null":
        return (found is None) == (wanted[0].lower() == "true")
    optional = operator.endswith("IfExists")
    operator = operator.removesuffix("IfExists")
    negated = operator in NEGATED
    compare = POSITIVE.get(NEGATED.get(operator, operator))
    if compare is None:
        raise ValueError(f"condition operator {operator!r}")
    values = [] if found is None else [_text(value) for value in _list(found)]
    if colon:
        return _of_many(quantifier, compare, negated, wanted, values, context)
    if not values:
        return optional or negated
    if len(values) > 1:
        raise ValueError(f"{operator} without ForAllValues or ForAnyValue got several values")
    return _fits(compare, negated, wanted, values[0], context)


def _of_many(
    quantifier: str,
    compare: Compare,
    negated: bool,
    wanted: list[str],
    values: Sequence[str],
    context: Context,
) -> bool:
    """A key that is absent fulfils ForAllValues and not ForAnyValue."""
    found = [_fits(compare, negated, wanted, value, context) for value in values]
    if quantifier not in ("ForAllValues", "ForAnyValue"):
        raise ValueError(f"condition operator with {quantifier!r}")
    return all(found) if quantifier == "ForAllValues" else any(found)


def _fits(compare: Compare, negated: bool, wanted: list[str], value: str, context: Context) -> bool:
    """Positive: one value suffices. Negated: none may fit."""
    return any(compare(each, value, context) for each in wanted) != negated


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
