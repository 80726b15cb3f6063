"""CloudWatch's metric math and alarms, as far as our templates use them, over samples by the minute.

A formula is read from the template, so what is tested is what would be deployed. A metric without a
sample in a minute makes a formula without a value, unless FILL stands around it; a division by
nothing has no value (CloudWatch user guide, "Using metric math").
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Sample = float | None
Samples = Mapping[str, Sample]

_ARITHMETIC: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Gt: operator.gt,
    ast.Lt: operator.lt,
}
_BREACHES: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
}


def value(alarm: Mapping[str, Any], samples: Samples) -> Sample:
    """What the alarm looks at in one minute. ``samples`` by the name of the metric, such as RequestCount."""
    if "Metrics" not in alarm:
        return samples.get(alarm["MetricName"])
    rows = alarm["Metrics"]
    (formula,) = [row["Expression"] for row in rows if row.get("ReturnData")]
    named = {
        row["Id"]: samples.get(row["MetricStat"]["Metric"]["MetricName"])
        for row in rows
        if "MetricStat" in row
    }
    return _evaluate(ast.parse(formula, mode="eval").body, named)


def rings(alarm: Mapping[str, Any], minutes: Sequence[Samples]) -> bool:
    """Whether the alarm is in ALARM after these minutes; all of its datapoints must breach."""
    last = minutes[-int(alarm["EvaluationPeriods"]) :]
    assert len(last) == int(alarm["EvaluationPeriods"]), "too few minutes to tell"
    return all(_breaches(alarm, value(alarm, samples)) for samples in last)


def _breaches(alarm: Mapping[str, Any], found: Sample) -> bool:
    if found is None:
        return bool(alarm["TreatMissingData"] == "breaching")
    return _BREACHES[alarm["ComparisonOperator"]](found, float(alarm["Threshold"]))


def _evaluate(node: ast.expr, samples: Samples) -> Sample:
    if isinstance(node, ast.Constant):
        return float(node.value)
    if isinstance(node, ast.Name):
        return samples[node.id]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _call(node.func.id, node.args, samples)
    if isinstance(node, ast.BinOp):
        return _apply(type(node.op), _evaluate(node.left, samples), _evaluate(node.right, samples))
    if isinstance(node, ast.Compare):
        (right,), (sign,) = node.comparators, node.ops
        return _apply(type(sign), _evaluate(node.left, samples), _evaluate(right, samples))
    raise AssertionError(f"not read here: {ast.dump(node)}")


def _apply(sign: type, left: Sample, right: Sample) -> Sample:
    if left is None or right is None or (sign is ast.Div and right == 0):
        return None
    return float(_ARITHMETIC[sign](left, right))


def _call(name: str, arguments: Sequence[ast.expr], samples: Samples) -> Sample:
    if name == "IF":
        condition, then, otherwise = (_evaluate(argument, samples) for argument in arguments)
        return None if condition is None else then if condition else otherwise
    if name == "FILL":
        found, instead = (_evaluate(argument, samples) for argument in arguments)
        return instead if found is None else found
    if name == "CEIL":
        (found,) = (_evaluate(argument, samples) for argument in arguments)
        return None if found is None else float(math.ceil(found))
    raise AssertionError(f"no such function here: {name}")
