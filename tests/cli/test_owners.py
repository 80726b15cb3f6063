"""A deploy or a destroy touches only what the same project and stage made."""

from __future__ import annotations

from typing import Any

import pytest

from cli.owners import StackOfAnother, check_owner
from settings.model import Project, Settings


def _stack(**tags: str) -> dict[str, Any]:
    """As CloudFormation describes it."""
    rows = [{"Key": f"traceship:{key}", "Value": value} for key, value in tags.items()]
    return {"StackName": "shop-search-fleet", "Tags": rows}


def _settings(name: str = "shop-search", stage: str | None = None) -> Settings:
    return Settings(project=Project(name=name)).of(stage=stage, service=None, runs=None)


@pytest.mark.parametrize("stage", [None, "prod"])
def test_what_the_same_project_and_stage_made_is_ours(stage: str | None) -> None:
    """With a stage and without one."""
    tags = {"project": "shop-search"} if stage is None else {"project": "shop-search", "stage": stage}

    check_owner(_stack(**tags, stack="fleet"), _settings(stage=stage))


def test_a_stack_that_is_only_planned_has_no_tags_and_is_ours() -> None:
    """CloudFormation knows it while its first change set is reviewed."""
    check_owner({"StackName": "shop-search-fleet"}, _settings())
    check_owner(_stack(), _settings(stage="prod"))


@pytest.mark.parametrize(
    ("tags", "stage", "owner"),
    [
        # a service `search` of the project `shop` names its fleet as the project `shop-search` does
        ({"project": "shop"}, None, "the project 'shop' without a stage"),
        ({"project": "shop-search", "stage": "dev"}, "prod", "the project 'shop-search' in stage 'dev'"),
        ({"project": "shop-search"}, "prod", "the project 'shop-search' without a stage"),
        ({"project": "shop-search", "stage": "dev"}, None, "the project 'shop-search' in stage 'dev'"),
    ],
)
def test_what_another_project_or_stage_made_is_not(
    tags: dict[str, str], stage: str | None, owner: str
) -> None:
    """The names are the same; the tags are not."""
    with pytest.raises(StackOfAnother) as refused:
        check_owner(_stack(**tags), _settings(stage=stage))

    assert f"the stack shop-search-fleet belongs to {owner}, not to" in refused.value.what
    assert "--stage" in refused.value.fix
