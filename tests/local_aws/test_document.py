"""docs/local-aws.md claims what the data says, and every test that it names exists."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from local_aws.document import markdown, not_made

CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = CHECKOUT / "docs/local-aws.md"


def test_the_page_is_the_one_that_the_data_generates() -> None:
    """Run `python -m local_aws.document > docs/local-aws.md` after a change of the data."""
    assert PAGE.read_text(encoding="utf-8") == markdown()


@pytest.mark.parametrize(("what", "here", "tested"), not_made(), ids=lambda text: text[:40])
def test_what_cannot_be_made_here_names_a_test_that_exists(what: str, here: str, tested: str) -> None:
    """``path::function``; a test that was renamed or removed leaves its row without cover."""
    path, _, function = tested.partition("::")
    tree = ast.parse((CHECKOUT / path).read_text(encoding="utf-8"))

    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert function.startswith("test_"), what
    assert function in functions, here
