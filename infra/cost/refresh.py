"""Today's prices from AWS: the Price List API for list prices, EC2's history for Spot.

Nothing is written unless every price that was wanted is there and clear. Both clients are passed in; the
Price List API answers in a few regions only, for all of them (AWS Price List API reference, "endpoints").
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from artifact.aws import AwsClient, translated
from infra.cost.catalogue import EC2, FIXED, OPTIONAL, SAGEMAKER, SPOT, Question, question_for
from infra.cost.errors import PriceAmbiguous, PriceListPartial
from infra.cost.prices import Price, PriceFile, Source
from infra.instances import SAGEMAKER_PREFIX, instances

PRICE_LIST_REGION = "us-east-1"
SOURCE = "price-list"
SPOT_SOURCE = "spot-history"
_REGION = r"(?:[A-Z]+[0-9]*-|[a-z]{2}(?:-[a-z]+)+-[0-9]-)?"
"""How a usage type begins: ``EUW2-``, ``EU-``, ``eu-west-2-`` or, in the oldest region, nothing."""
_LINUX = "Linux/UNIX"


def keys_to_ask(needed: Iterable[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Keys that must be answered, and those that a region may lack.

    Args:
        needed: keys that the bill asked for.
    """
    known = [instance for instance in instances().values() if instance.chips]
    more = {EC2 + each.name for each in known}
    more |= {SAGEMAKER + SAGEMAKER_PREFIX + each.name for each in known if each.sagemaker}
    types = {key.removeprefix(EC2) for key in {*needed, *more} if key.startswith(EC2)}
    more |= {SPOT + kind for kind in types}
    must = frozenset((FIXED.keys() - OPTIONAL) | set(needed)) - OPTIONAL
    return must, frozenset(more | OPTIONAL) - must


def fetch(
    region: str, must: frozenset[str], may: frozenset[str], *, pricing: AwsClient, ec2: AwsClient
) -> dict[str, str]:
    """US dollars by key, as decimal text.

    Raises:
        PriceListPartial: a key of ``must`` has no price.
        PriceAmbiguous: a question has several answers.
        AwsDenied, AwsUnreachable …: see artifact/aws.py.
    """
    found: dict[str, str] = {}
    for key in sorted(must | may):
        if not key.startswith(SPOT):
            usd = _list_price(key, region, pricing)
            if usd is not None:
                found[key] = usd
    spot = [key.removeprefix(SPOT) for key in sorted(must | may) if key.startswith(SPOT)]
    found |= {SPOT + kind: usd for kind, usd in _spot_prices(spot, ec2).items()}
    missing = tuple(sorted(must - found.keys()))
    if missing:
        raise PriceListPartial(region=region, missing=missing)
    return found


def _list_price(key: str, region: str, pricing: AwsClient) -> str | None:
    question = question_for(key)
    usage = re.compile(_REGION + re.escape(question.usage))
    found = {
        price
        for product in _products(question, region, pricing)
        if usage.fullmatch(product["product"]["attributes"].get("usagetype", ""))
        for price in _first_tier(product)
    }
    if len(found) > 1:
        raise PriceAmbiguous(key=key, region=region, found=tuple(sorted(found)))
    return next(iter(found), None)


def _products(question: Question, region: str, pricing: AwsClient) -> Iterator[Mapping[str, Any]]:
    where = {"regionCode": region, **question.where}
    filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in where.items()]
    with translated("read AWS's price list"):
        pages = pricing.get_paginator("get_products").paginate(ServiceCode=question.service, Filters=filters)
        for page in pages:
            yield from (json.loads(text) for text in page["PriceList"])


def _first_tier(product: Mapping[str, Any]) -> Iterator[str]:
    """On-demand prices of the first unit; what is cheaper in bulk counts as if it were not."""
    for term in product.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            if dimension.get("beginRange", "0") == "0" and "USD" in dimension["pricePerUnit"]:
                yield _plain(Decimal(dimension["pricePerUnit"]["USD"]))


def _spot_prices(kinds: list[str], ec2: AwsClient) -> dict[str, str]:
    """Mean over the zones of the price that each has now."""
    if not kinds:
        return {}
    latest: dict[tuple[str, str], tuple[datetime, Decimal]] = {}
    with translated("read the history of Spot prices"):
        pages = ec2.get_paginator("describe_spot_price_history").paginate(
            InstanceTypes=kinds, ProductDescriptions=[_LINUX], StartTime=datetime.now(timezone.utc)
        )
        for page in pages:
            for each in page["SpotPriceHistory"]:
                place = (each["InstanceType"], each["AvailabilityZone"])
                now = (each["Timestamp"], Decimal(each["SpotPrice"]))
                latest[place] = max(latest.get(place, now), now)
    found: dict[str, str] = {}
    for kind in kinds:
        prices = [price for (each, _), (_, price) in latest.items() if each == kind]
        if prices:
            found[kind] = _plain((sum(prices, Decimal()) / len(prices)).quantize(Decimal("0.000001")))
    return found


def _plain(value: Decimal) -> str:
    """Without an exponent and without zeros at the end."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def merged(file: PriceFile, region: str, found: Mapping[str, str], today: date) -> PriceFile:
    """The file with the prices of one region replaced; optional ones that AWS did not list are kept."""
    old = file.regions.get(region, {})
    prices = {key: old[key] for key in OPTIONAL & old.keys()}
    for key, usd in found.items():
        prices[key] = Price(usd=usd, source=f"{SPOT_SOURCE if key.startswith(SPOT) else SOURCE}-{region}")
    sources = {
        **file.sources,
        f"{SOURCE}-{region}": Source(as_of=today.isoformat(), what=f"AWS Price List API for {region}"),
        f"{SPOT_SOURCE}-{region}": Source(
            as_of=today.isoformat(), what=f"EC2's Spot price history of {region}, mean over the zones"
        ),
    }
    regions = {**file.regions, region: prices}
    used = {price.source for each in regions.values() for price in each.values()}
    return PriceFile(sources={name: s for name, s in sources.items() if name in used}, regions=regions)


def write(file: PriceFile, path: Path) -> None:
    """Replace the file in one step."""
    text = json.dumps(msgspec.to_builtins(file), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(partial).chmod(0o644)
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
