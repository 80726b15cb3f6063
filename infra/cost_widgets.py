"""What the machines of a dashboard cost an hour, from the dated prices of ``traceship cost``.

A metric times a price, so it follows the number of instances; a price that nobody knows is not drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import aws_cloudwatch as cloudwatch

from infra.alarms import PERIOD
from infra.cost.errors import RegionUnpriced
from infra.cost.prices import UnitPrice, prices_of, read_prices


def cost_widget(region: str | None, keys: Sequence[str], instances: cloudwatch.IMetric) -> cloudwatch.IWidget:
    """Dollars an hour of ``instances`` at the dearest on-demand price of ``keys``.

    Args:
        region: of the settings; None where the credentials decide, so that no price is known at synth.
        keys: of the prices (infra/cost/catalogue.py), one for each instance type.

    Raises:
        PricesInvalid: the file of prices cannot be read.
    """
    price = _dearest(region, keys)
    if price is None:
        text = "Cost: `traceship cost` reckons it; on-demand prices of these machines here are not known."
        return cloudwatch.TextWidget(markdown=text, width=6, height=6)
    return cloudwatch.GraphWidget(
        title=f"Machines, $ an hour on-demand (prices of {price.as_of})",
        left=[
            cloudwatch.MathExpression(
                expression=f"instances * {float(price.usd):g}",
                using_metrics={"instances": instances},
                period=PERIOD,
                label="at most",
            )
        ],
    )


def _dearest(region: str | None, keys: Sequence[str]) -> UnitPrice | None:
    """None where the price of one of them is not known, since that could be the dearest."""
    if region is None:
        return None
    try:
        known = prices_of(read_prices(), region)
    except RegionUnpriced:
        return None
    found = [known.find(key) for key in keys]
    priced = [price for price in found if price is not None]
    return max(priced, key=lambda price: price.usd) if len(priced) == len(found) else None
