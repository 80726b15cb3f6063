"""docs/local-aws.md claims what the data says."""

from __future__ import annotations

from pathlib import Path

from local_aws.document import markdown

PAGE = Path(__file__).resolve().parents[2] / "docs/local-aws.md"


def test_the_page_is_the_one_that_the_data_generates() -> None:
    """Run `python -m local_aws.document > docs/local-aws.md` after a change of the data."""
    assert PAGE.read_text(encoding="utf-8") == markdown()
