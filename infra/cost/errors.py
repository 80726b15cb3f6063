"""What can go wrong between settings and bill."""

from __future__ import annotations

from pathlib import Path

from artifact.errors import TraceshipError, UsageError


class PricesInvalid(UsageError):
    """The price file cannot be read."""

    id = "prices-invalid"

    def __init__(self, *, path: Path, why: str) -> None:
        super().__init__(
            what=f"{path} is not a price file that this traceship reads",
            why=why,
            fix="restore it from git, or write a new one with `traceship cost --refresh`",
        )


class RegionUnpriced(UsageError):
    """The price file has nothing at all for a region."""

    id = "region-unpriced"

    def __init__(self, *, region: str, known: tuple[str, ...]) -> None:
        super().__init__(
            what=f"there are no prices of {region}",
            why=f"the price file has {', '.join(known) or 'no region'}",
            fix=f"run `traceship cost --refresh --region {region}` with AWS credentials",
        )


class ScheduleUnreadable(UsageError):
    """A cron expression of the templates is not one that AWS would take."""

    id = "schedule-unreadable"

    def __init__(self, *, expression: str, why: str) -> None:
        super().__init__(
            what=f"the schedule {expression!r} cannot be understood",
            why=why,
            fix="write it as the service does: five fields for a fleet, cron(…) with six for an endpoint",
        )


class PriceListPartial(TraceshipError):
    """AWS's price list did not answer everything that was asked, so nothing was written."""

    id = "price-list-partial"

    def __init__(self, *, region: str, missing: tuple[str, ...]) -> None:
        super().__init__(
            what=f"the prices of {region} would be incomplete, so the price file was left as it is",
            why=f"AWS's price list has no answer for {', '.join(missing)}",
            fix="check that the region offers these; leave out the region, or run it again later",
        )


class PriceAmbiguous(TraceshipError):
    """One question to the price list has several answers that differ."""

    id = "price-ambiguous"

    def __init__(self, *, key: str, region: str, found: tuple[str, ...]) -> None:
        super().__init__(
            what=f"the price of {key} in {region} is not clear, so the price file was left as it is",
            why=f"AWS's price list gives {', '.join(found)} US dollars for the same question",
            fix="report it with this message; the question in infra/cost/catalogue.py is no longer exact",
        )
