"""Prices are read from answers of AWS's shape, over all pages, and written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse

from infra.cost import refresh
from infra.cost.catalogue import FIXED, OPTIONAL, SPOT, question_for
from infra.cost.errors import PriceAmbiguous, PriceListPartial
from infra.cost.prices import Price, PriceFile, Source, prices_of, read_prices

REGION = "eu-west-2"
NEEDED = {"ec2/inf1.xlarge", "kms/key"}
Answer = Callable[[dict[str, Any]], list[dict[str, Any]]]


class _Raw:
    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self) -> Any:
        """As urllib3."""
        yield self._body


def product(usage: str, usd: str, *, begin: str = "0") -> dict[str, Any]:
    """A product as GetProducts gives it: text of JSON in the list."""
    dimension = {"unit": "Hrs", "beginRange": begin, "endRange": "Inf", "pricePerUnit": {"USD": usd}}
    bulk = {"unit": "Hrs", "beginRange": "10000", "endRange": "Inf", "pricePerUnit": {"USD": "0.0000000001"}}
    terms = {"OnDemand": {"SKU.T": {"priceDimensions": {"SKU.T.1": dimension, "SKU.T.2": bulk}}}}
    return {"product": {"sku": "SKU", "attributes": {"usagetype": usage}}, "terms": terms,
            "publicationDate": "2026-11-20T00:00:00Z"}  # fmt: skip


def clients(answer: Answer, spot: dict[str, list[tuple[str, str, str]]]) -> tuple[Any, Any]:
    """Real boto3 clients whose requests are answered here, a product to a page."""
    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")
    pricing, ec2 = session.client("pricing"), session.client("ec2", region_name=REGION)

    def products(request: Any, **_: Any) -> AWSResponse:
        asked = json.loads(request.body)
        found = answer(asked)
        at = int(asked.get("NextToken", "0"))
        body: dict[str, Any] = {
            "FormatVersion": "aws_v1",
            "PriceList": [json.dumps(p) for p in found[at : at + 1]],
        }
        if at + 1 < len(found):
            body["NextToken"] = str(at + 1)
        return AWSResponse(request.url, 200, {}, _Raw(json.dumps(body).encode()))

    def history(request: Any, **_: Any) -> AWSResponse:
        items = "".join(
            f"<item><instanceType>{kind}</instanceType><availabilityZone>{zone}</availabilityZone>"
            f"<productDescription>Linux/UNIX</productDescription><spotPrice>{usd}</spotPrice>"
            f"<timestamp>{when}</timestamp></item>"
            for kind, rows in spot.items() for zone, when, usd in rows
        )  # fmt: skip
        space = "http://ec2.amazonaws.com/doc/2016-11-15/"
        body = (
            f'<DescribeSpotPriceHistoryResponse xmlns="{space}"><spotPriceHistorySet>{items}'
            "</spotPriceHistorySet></DescribeSpotPriceHistoryResponse>"
        )
        return AWSResponse(request.url, 200, {}, _Raw(body.encode()))

    pricing.meta.events.register("before-send.pricing.GetProducts", products)
    ec2.meta.events.register("before-send.ec2.DescribeSpotPriceHistory", history)
    return pricing, ec2


def _everything(asked: dict[str, Any]) -> list[dict[str, Any]]:
    """A list in which every product is, each with a price of its own and with neighbours that mislead."""
    filters = {each["Field"]: each["Value"] for each in asked["Filters"]}
    assert filters["regionCode"] == REGION
    must, may = refresh.keys_to_ask(NEEDED)
    found = [product("Global-KMS-Keys", "9"), product("EUW2-Delivery-DataProcessing-Bytes", "9")]
    for at, key in enumerate(sorted(must | may), 1):
        if key.startswith(SPOT) or key in OPTIONAL:
            continue
        question = question_for(key)
        if question.service == asked["ServiceCode"] and question.where.items() <= filters.items():
            prefix = "eu-west-2-" if key == "kms/key" else "EUW2-"
            found.append(product(prefix + question.usage, f"0.{at:04d}0000000"))
    return found


SPOTS = {
    "inf1.xlarge": [
        ("eu-west-2a", "2026-11-26T08:00:00.000Z", "0.100000"),
        ("eu-west-2a", "2026-11-20T08:00:00.000Z", "9.000000"),
        ("eu-west-2b", "2026-11-26T07:00:00.000Z", "0.050000"),
    ]
}


def test_every_price_that_is_wanted_is_read() -> None:
    """Over all pages, without bulk tiers, worldwide products and neighbours; Spot is a mean of zones."""
    pricing, ec2 = clients(_everything, SPOTS)
    must, may = refresh.keys_to_ask(NEEDED)

    found = refresh.fetch(REGION, must, may, pricing=pricing, ec2=ec2)

    assert found.keys() >= (FIXED.keys() - OPTIONAL) | NEEDED
    assert found["ec2-spot/inf1.xlarge"] == "0.075"
    order = sorted(must | may)
    assert found["kms/key"] == f"0.{order.index('kms/key') + 1:04d}".rstrip("0")


def test_one_missing_price_leaves_the_file_alone() -> None:
    """The error names it."""

    def without_alarms(asked: dict[str, Any]) -> list[dict[str, Any]]:
        found = _everything(asked)
        return [p for p in found if "AlarmMonitor" not in p["product"]["attributes"]["usagetype"]]

    pricing, ec2 = clients(without_alarms, {})
    with pytest.raises(PriceListPartial, match="cloudwatch/alarm"):
        refresh.fetch(REGION, *refresh.keys_to_ask(NEEDED), pricing=pricing, ec2=ec2)


def test_two_prices_for_one_question_are_refused() -> None:
    """Better none than the wrong one."""

    def twice(asked: dict[str, Any]) -> list[dict[str, Any]]:
        more = [product("EUW2-VpcEndpoint-Hours", "7")] if asked["ServiceCode"] == "AmazonVPC" else []
        return _everything(asked) + more

    pricing, ec2 = clients(twice, {})
    with pytest.raises(PriceAmbiguous, match="vpc-endpoint/hour"):
        refresh.fetch(REGION, *refresh.keys_to_ask(NEEDED), pricing=pricing, ec2=ec2)


def test_a_region_is_replaced_and_others_stay(tmp_path: Path) -> None:
    """What AWS does not list (dashboards) is kept with its own date; sources that nothing uses go."""
    sources = {name: Source(as_of="2021-01-01", what=name) for name in ("old", "board", "elsewhere")}
    before = PriceFile(
        sources=sources,
        regions={
            REGION: {
                "kms/key": Price(usd="1", source="old"),
                "cloudwatch/dashboard": Price(usd="3", source="board"),
            },
            "us-east-1": {"kms/key": Price(usd="1", source="elsewhere")},
        },
    )
    path = tmp_path / "prices.json"

    after = refresh.merged(
        before, REGION, {"kms/key": "2", "ec2-spot/inf1.xlarge": "0.1"}, date(2026, 11, 26)
    )
    refresh.write(after, path)

    found = read_prices(path)
    assert found == after
    assert found.sources.keys() == {"board", "elsewhere", f"price-list-{REGION}", f"spot-history-{REGION}"}
    known = prices_of(found, REGION).known
    assert {key: str(price.usd) for key, price in known.items()} == {
        "kms/key": "2", "cloudwatch/dashboard": "3", "ec2-spot/inf1.xlarge": "1/10",
    }  # fmt: skip
    assert known["kms/key"].as_of == date(2026, 11, 26)
    assert found.regions["us-east-1"] == before.regions["us-east-1"]
    assert [each.name for each in tmp_path.iterdir()] == ["prices.json"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    """The folder in the place of the file cannot be replaced."""
    path = tmp_path / "prices.json"
    path.mkdir()
    (path / "kept").touch()

    with pytest.raises(OSError, match=r"prices\.json"):
        refresh.write(PriceFile(sources={}, regions={}), path)

    assert [each.name for each in tmp_path.iterdir()] == ["prices.json"]
