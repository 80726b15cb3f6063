"""Bills that were worked out by hand come out the same."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tomllib

from infra.cost.bill import Run, region_cost
from infra.cost.coverage import not_included
from tests.infra.cost.worlds import TODAY, prices_from, question_from

DATA = tomllib.loads((Path(__file__).parent / "examples.toml").read_text(encoding="utf-8"))
EXAMPLES: list[dict[str, Any]] = DATA["example"]
CENT = 0.005

_OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip


def reckon(text: str) -> Fraction:
    """The value of plain arithmetic: numbers, ``+``, ``*``, ``/`` and brackets."""

    def value(node: ast.expr) -> Fraction:
        if isinstance(node, ast.BinOp):
            return _OPERATORS[type(node.op)](value(node.left), value(node.right))
        assert isinstance(node, ast.Constant), text
        return Fraction(str(node.value))

    return value(ast.parse(text, mode="eval").body)


def test_there_are_at_least_twenty() -> None:
    """Each says what it is about, and no two the same."""
    assert len({example["name"] for example in EXAMPLES}) == len(EXAMPLES) >= 20


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["name"])
def test_the_arithmetic_of_an_example_is_right(example: dict[str, Any]) -> None:
    """What is written down as text comes to what is written down as figures."""
    formulas = [
        *example["lines"].values(),
        *(example[k] for k in ("at_most", "compile_hour") if k in example),
    ]
    for text, figure in formulas:
        assert float(reckon(text)) == pytest.approx(figure, abs=1e-6), text
    assert sum(figure for _, figure in example["lines"].values()) == pytest.approx(example["usd"], abs=1e-5)
    requests = reckon(example["requests"])
    if requests:
        assert example["usd"] / float(requests) * 1e6 == pytest.approx(example["per_million"], abs=1e-5)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["name"])
def test_the_bill_is_the_one_that_was_worked_out(example: dict[str, Any]) -> None:
    """Line by line, the sum, the figure per million, and what the most instances would cost."""
    prices = prices_from(DATA["prices"], spot_percent=example.get("spot_percent"))

    found = region_cost(question_from(example), prices)

    by_price: dict[str, float] = {}
    for line in found.lines:
        assert line.usd is not None
        by_price[line.price] = by_price.get(line.price, 0.0) + line.usd
    shown = {price: usd for price, usd in by_price.items() if usd}
    assert shown == pytest.approx(
        {price: figure for price, (_, figure) in example["lines"].items()}, abs=1e-5
    )
    assert found.usd == pytest.approx(example["usd"], abs=1e-5)
    assert found.usd_per_million == pytest.approx(example.get("per_million"), abs=1e-5)
    if "at_most" in example:
        assert found.usd_at_most == pytest.approx(example["at_most"][1], abs=1e-5)
    hour = example.get("compile_hour", [None, 0.0])[1]
    assert found.usd_per_compile_hour == pytest.approx(hour, abs=1e-5)
    for service in found.services:
        assert service.unserved == pytest.approx(example.get("unserved", 0.0))


def test_a_line_is_its_quantity_times_its_price() -> None:
    """Every line of every example, to the cent."""
    for example in EXAMPLES:
        for line in region_cost(question_from(example), prices_from(DATA["prices"])).lines:
            assert line.usd is not None
            assert line.usd_per_unit is not None
            assert line.quantity * line.usd_per_unit == pytest.approx(line.usd, abs=CENT), line


def test_a_price_that_is_not_known_is_named_and_never_counted() -> None:
    """The line is there without a cost; a figure per million would be too low, so there is none."""
    example = next(each for each in EXAMPLES if each["name"].startswith("a fleet and an endpoint"))
    known = {key: usd for key, usd in DATA["prices"].items() if not key.startswith("sagemaker/")}

    found = region_cost(question_from(example), prices_from(known))

    assert found.missing == ("sagemaker/ml.inf1.xlarge",)
    assert found.usd == pytest.approx(example["usd"] - 438.0)
    fleet, endpoint = found.services if found.services[0].kind == "fleet" else found.services[::-1]
    assert (endpoint.usd_per_million, found.usd_per_million) == (None, None)
    assert fleet.usd_per_million is not None
    assert [line.usd for line in found.lines if line.price.startswith("sagemaker/")] == [None]


@pytest.mark.parametrize(("as_of", "stale"), [(date(2026, 8, 28), False), (date(2026, 8, 27), True)])
def test_prices_of_more_than_ninety_days_ago_are_called_stale(as_of: date, stale: bool) -> None:
    """28 August is ninety days before 26 November."""
    found = region_cost(question_from(EXAMPLES[0]), prices_from(DATA["prices"], as_of=as_of))

    assert (found.stale, found.oldest) == (stale, as_of.isoformat())
    assert (TODAY - as_of).days == 90 + stale


def test_a_resource_that_nobody_thought_of_is_said_to_be_left_out() -> None:
    """By its type."""
    templates = {"demo": {"Resources": {"X": {"Type": "AWS::Lambda::Function", "Properties": {}}}}}

    assert "AWS::Lambda::Function: not known to this command" in not_included(templates)


def test_each_service_is_reckoned_with_its_own_release() -> None:
    """A release that is ten times as fast needs fewer instances for the same load, and both are stored."""
    slow = question_from({"artifacts": {"keys": 1}, "fleet": {"types": ["inf1.xlarge"], "min": 1, "max": 20},
                          "load": {"per_second": "350"}})  # fmt: skip
    run = slow.runs["fleet"]
    fast_lock = msgspec.structs.replace(
        run.lock, digest="cd" * 32, throughput=msgspec.structs.replace(run.lock.throughput, per_second=500.0)
    )
    both = replace(
        slow,
        templates={**slow.templates, "fast": slow.templates["fleet"]},
        runs={"fleet": run, "fast": Run(lock=fast_lock, serve=run.serve)},
    )

    found = region_cost(both, prices_from(DATA["prices"]))

    assert {each.stack: each.instances for each in found.services} == {"fleet": 10.0, "fast": 1.0}
    stored = [line.what for line in found.lines if line.price == "s3/storage"]
    assert stored == ["files of release abababababab", "files of release cdcdcdcdcdcd"]
