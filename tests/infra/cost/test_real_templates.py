"""The bill knows every resource of our stacks, and its price file every price by its name."""

from __future__ import annotations

import json
from datetime import date
from fractions import Fraction
from pathlib import Path

import pytest

from infra.cost import coverage, prices
from infra.cost.bill import Question, Run, region_cost
from infra.cost.capacity import Load
from infra.cost.errors import PricesInvalid, RegionUnpriced
from infra.cost.services import services
from infra.cost.usage import of_compile_hour
from settings.model import Serve
from tests.infra.snapshots import FOLDER
from tests.infra.worlds import World, lock_of

TEMPLATES = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))
}


def test_every_resource_type_of_our_stacks_is_priced_free_or_named_as_left_out(
    cpu: World, existing: World
) -> None:
    """A stack with a new kind of resource needs a word about its cost in coverage.py."""
    templates = [*TEMPLATES.values(), *cpu.templates.values(), *existing.templates.values()]
    types = {r["Type"] for template in templates for r in template["Resources"].values()}

    assert coverage.unknown(types) == ()
    assert not coverage.PRICED & coverage.FREE


def test_a_compile_hour_is_of_the_job_that_compiles_where_the_stack_has_others(cpu: World) -> None:
    """One takes requests, one looks at releases."""
    found = {each.price: each.quantity for each in of_compile_hour("compile", cpu.templates["compile"])}

    assert found == {"fargate/vcpu": 16, "fargate/memory": 32, "fargate/storage": 80}
    assert len(list(of_compile_hour("compile", cpu.templates["compile"]))) == 3


def test_a_compile_hour_on_ec2_is_of_the_first_type_and_its_disk(existing: World) -> None:
    """Whatever else the job leaves of the machine is paid for too."""
    found = {each.price: each.quantity for each in of_compile_hour("compile", existing.templates["compile"])}

    assert found == {"ec2/c6i.4xlarge": 1, "ebs/gp3": Fraction(100, 730)}


def test_every_fleet_and_endpoint_of_our_stacks_is_found() -> None:
    """With bounds, types and disks as their templates have them."""
    found = {each.stack: each for stack, template in TEMPLATES.items() for each in services(stack, template)}

    assert found.keys() == {name for name in TEMPLATES if name.endswith(("-fleet", "-endpoint"))}
    assert found["inf1-fleet"].instance_type == "inf1.6xlarge"
    assert (found["inf1-fleet"].base.least, found["inf1-fleet"].disk_gib) == (2, 50)
    assert found["inf1-endpoint"].base.least == 2


def test_the_bill_of_our_own_stacks_has_every_price_but_hosting_in_the_oldest_region() -> None:
    """What nobody could source is missing, and said to be."""
    own = {name: template for name, template in TEMPLATES.items() if name.startswith("inf1-")}
    run = Run(lock=lock_of("inf1"), serve=Serve())
    question = Question(templates=own, runs=dict.fromkeys(own, run), load=Load(), today=date(2026, 11, 26))

    found = region_cost(question, prices.prices_of(prices.read_prices(), "us-east-1"))

    assert found.missing == ("sagemaker/ml.inf1.xlarge",)
    assert found.stale
    assert found.usd > 2 * 730 * 1.18


def test_the_committed_prices_are_readable_and_say_where_they_are_from() -> None:
    """Every price has a source, every source is used, and a Spot price is below on-demand."""
    file = prices.read_prices()

    used = {price.source for region in file.regions.values() for price in region.values()}
    assert used == file.sources.keys()
    for region in file.regions:
        known = prices.prices_of(file, region)
        for key in known.known:
            if key.startswith("ec2-spot/"):
                spot, whole = known.find(key), known.find(key.replace("-spot", ""))
                assert spot is not None
                assert whole is not None
                assert spot.estimate
                assert spot.usd < whole.usd


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"schema": "traceship.prices/2"}, "schema"),
        ({"regions": {"r": {"ec3/x": {"usd": "1", "source": "s"}}}}, "nothing asks for"),
        ({"regions": {"r": {"kms/key": {"usd": "-1", "source": "s"}}}}, "regex"),
        ({"regions": {"r": {"kms/key": {"usd": "1", "source": "t"}}}}, "no source"),
        ({"sources": {"s": {"as_of": "2026-02-30", "what": "w"}}}, "day"),
        ({"more": 1}, "more"),
    ],
)
def test_a_price_file_that_is_not_one_is_refused(tmp_path: Path, change: dict[str, object], why: str) -> None:
    """With the file and the reason."""
    good = {
        "schema": "traceship.prices/1",
        "sources": {"s": {"as_of": "2026-01-01", "what": "w"}},
        "regions": {},
    }
    path = tmp_path / "prices.json"
    path.write_text(json.dumps({**good, **change}), encoding="utf-8")

    with pytest.raises(PricesInvalid) as refused:
        prices.read_prices(path)

    assert str(path) in refused.value.what
    assert why in refused.value.why


def test_no_price_file_and_a_region_without_prices_are_errors(tmp_path: Path) -> None:
    """Both with the command that mends them."""
    with pytest.raises(PricesInvalid, match="no such file"):
        prices.read_prices(tmp_path / "absent.json")
    with pytest.raises(RegionUnpriced) as refused:
        prices.prices_of(prices.read_prices(), "mars-north-1")
    assert "--region mars-north-1" in refused.value.fix
