"""docs/settings.md says what the model does."""

from __future__ import annotations

from pathlib import Path

from settings.document import markdown
from settings.model import Settings

PAGE = Path(__file__).resolve().parents[2] / "docs/settings.md"


def test_the_page_is_the_one_that_the_model_generates() -> None:
    """Run `python -m settings.document > docs/settings.md` after a change of the model."""
    assert PAGE.read_text(encoding="utf-8") == markdown()


def test_every_key_has_a_meaning() -> None:
    """No row of the tables ends in an empty cell."""
    rows = [line for line in markdown().splitlines() if line.startswith("| `")]

    assert len(rows) > len(Settings.model_fields)
    assert [row for row in rows if row.split("|")[-2].strip() == ""] == []
