"""Every architecture with every task: traced, proven, and as the support table says.

``python -m tests.compile.matrix docs/support.md`` writes the figures of a run into the docs.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import transformers

from compile.architectures import ARCHITECTURES
from compile.support import Cell, support_table
from tests.compile.matrix import NOT_FOR_THIS, prove, render
from tests.kit.models import ARCHITECTURES as INSTALLED

CELLS = [cell for cell in support_table() if cell.target == "cpu"]
UNSAVABLE = ("deberta", "deberta-v2") if transformers.__version__.startswith("4.") else ()
"""In the container's generation: why they are refused for Inf1."""
KNOWN = [cell for cell in CELLS if cell.status != "refused" and cell.architecture in INSTALLED]
PROVEN = [cell for cell in KNOWN if cell.architecture not in UNSAVABLE]


@pytest.mark.parametrize("cell", PROVEN, ids=lambda cell: f"{cell.architecture}-{cell.task}")
def test_a_cell_of_the_table_is_what_it_says(cell: Cell, tmp_path: Path) -> None:
    """Supported: every gate passes within 1e-5. Needs a waiver: the padding gate fails, and only that."""
    proof = prove(cell, tmp_path)

    assert proof.failed == ({"padding"} if cell.status == "needs-waiver" else set())
    assert proof.max_abs <= 1e-5
    assert proof.compared > 0
    assert proof.gates >= {"tokenizer", "parity", "finite", "padding", "batch", "sensitivity", "golden"}


@pytest.mark.skipif(not UNSAVABLE, reason="transformers 5 writes it otherwise")
@pytest.mark.parametrize("architecture", UNSAVABLE)
def test_what_the_container_cannot_save_fails_by_name(architecture: str, tmp_path: Path) -> None:
    """The trace itself works; only saving shows it, so that parity must run on the saved file."""
    cell = next(cell for cell in KNOWN if cell.architecture == architecture)

    with pytest.raises(RuntimeError, match="XSoftmax"):
        prove(cell, tmp_path)


def test_the_tests_cover_every_architecture_of_the_table() -> None:
    """A row that no test traces would be a claim."""
    missing = set(ARCHITECTURES) - set(INSTALLED)

    assert missing <= {name for name, row in ARCHITECTURES.items() if row.since}


def test_what_inf1_cannot_run_is_refused_with_the_reason() -> None:
    """DeBERTa's XSoftmax cannot be saved; ModernBERT is younger than the container."""
    runs_on_cpu = {(cell.architecture, cell.task) for cell in KNOWN}
    refused = {
        cell.architecture: cell.reason
        for cell in support_table()
        if cell.target == "inf1"
        and cell.status == "refused"
        and (cell.architecture, cell.task) in runs_on_cpu
    }

    assert refused.keys() == {"deberta", "deberta-v2", "modernbert"} & set(INSTALLED)
    assert "XSoftmax" in refused["deberta"]


def test_the_docs_show_the_table_as_it_is() -> None:
    """Statuses must match; the figures are those of the run that wrote the page."""
    page = (Path(__file__).parents[2] / "docs/support.md").read_text(encoding="utf-8")

    for line in render({}).splitlines():
        if line.startswith("|"):
            assert line.split("|")[1] in page
    for cell in CELLS:
        row = next(r for r in page.splitlines() if r.startswith(f"| {cell.architecture} |"))
        column = 2 + sorted({c.task for c in CELLS}).index(cell.task)
        shown = row.split("|")[column]
        assert (NOT_FOR_THIS in shown) == (cell.status == "refused")
        assert ("waiver" in shown) == (cell.status == "needs-waiver")
