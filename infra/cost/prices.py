"""data/prices.json: unit prices by region, each with the source it came from and that source's date.

A price that nobody could source is not in the file. ``refresh.py`` writes it; what is committed was put
together from the sources that it names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from artifact.manifest import Record
from infra.cost.catalogue import EC2, SPOT, unit_of
from infra.cost.errors import PricesInvalid, RegionUnpriced

FILE = Path(__file__).parents[1] / "data" / "prices.json"
SCHEMA: Literal["traceship.prices/1"] = "traceship.prices/1"
MAX_AGE_DAYS = 90
"""A price that is older than this is called stale."""

Usd = Annotated[str, msgspec.Meta(pattern=r"^(0|[1-9][0-9]*)(\.[0-9]+)?$")]
Day = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]


class Source(Record, frozen=True, kw_only=True):
    """Where prices come from. ``as_of``: when they were in force, or the earliest that they can be from."""

    as_of: Day
    what: str


class Price(Record, frozen=True, kw_only=True):
    """US dollars for one unit (catalogue.py says which). ``source``: a key of ``PriceFile.sources``."""

    usd: Usd
    source: str


class PriceFile(Record, frozen=True, kw_only=True):
    """The file."""

    schema: Literal["traceship.prices/1"] = SCHEMA
    sources: dict[str, Source]
    regions: dict[str, dict[str, Price]]


@dataclass(frozen=True)
class UnitPrice:
    """A price that was found. ``estimate``: it is no list price."""

    usd: Fraction
    as_of: date
    source: str
    estimate: bool = False


@dataclass(frozen=True)
class Prices:
    """Prices of one region. ``spot_percent``: what Spot costs of on-demand where no price is known."""

    region: str
    known: Mapping[str, UnitPrice]
    spot_percent: Fraction | None = None

    def find(self, key: str) -> UnitPrice | None:
        """The price of a key, None where nobody knows it.

        The user's own percentage goes before a Spot price of the file, which is old within hours.
        """
        if key.startswith(SPOT) and self.spot_percent is not None:
            return self._share_of_on_demand(key, self.spot_percent)
        return self.known.get(key)

    def _share_of_on_demand(self, key: str, percent: Fraction) -> UnitPrice | None:
        whole = self.known.get(key.replace(SPOT, EC2, 1))
        if whole is None:
            return None
        return UnitPrice(
            usd=whole.usd * percent / 100,
            as_of=whole.as_of,
            source=f"{float(percent):g} % of on-demand, as you said; {whole.source}",
            estimate=True,
        )


def read_prices(path: Path = FILE) -> PriceFile:
    """Read the file.

    Raises:
        PricesInvalid: it is not there, not of the schema, or holds a key that no bill asks for.
    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=PriceFile)
        _check(found)
    except FileNotFoundError:
        raise PricesInvalid(path=path, why="there is no such file") from None
    except (msgspec.DecodeError, ValueError) as error:
        raise PricesInvalid(path=path, why=str(error)) from None
    return found


def _check(file: PriceFile) -> None:
    for source in file.sources.values():
        date.fromisoformat(source.as_of)
    for region, prices in file.regions.items():
        for key, price in prices.items():
            if unit_of(key) is None:
                raise ValueError(f"{region} has a price of {key!r}, which nothing asks for")
            if price.source not in file.sources:
                raise ValueError(
                    f"{key} in {region} is from {price.source!r}, which is no source of the file"
                )


def prices_of(file: PriceFile, region: str, *, spot_percent: Fraction | None = None) -> Prices:
    """The prices of one region.

    Raises:
        RegionUnpriced: the file does not know the region.
    """
    found = file.regions.get(region)
    if found is None:
        raise RegionUnpriced(region=region, known=tuple(sorted(file.regions)))
    known = {}
    for key, price in found.items():
        source = file.sources[price.source]
        known[key] = UnitPrice(
            usd=Fraction(price.usd),
            as_of=date.fromisoformat(source.as_of),
            source=source.what,
            estimate=key.startswith(SPOT),
        )
    return Prices(region=region, known=known, spot_percent=spot_percent)
