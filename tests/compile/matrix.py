"""One cell of the support table, traced and proven; and the page that shows them all."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from compile.architectures import ARCHITECTURES
from compile.support import Cell, support_table
from tests.compile.world import compare_in, failed_gates, make_request, make_world, trace_in
from tests.kit.models import tiny_model
from tests.kit.moses import CLASSES, moses_model

NOT_FOR_THIS = "none"
"""What a cell shows where transformers has no such class."""

_LABELLED = ("text-classification", "token-classification")


@dataclass(frozen=True)
class CellProof:
    """What the gates said of a tiny random model of the cell."""

    failed: set[str]
    gates: set[str]
    max_abs: float
    compared: int


def prove(cell: Cell, base: Path) -> CellProof:
    """Trace and compare in this process, in a bucket of three rows and 24 tokens."""
    labels = ("no", "yes", "maybe") if cell.task in _LABELLED else None
    make = moses_model if cell.architecture in CLASSES else tiny_model
    model = make(base / "model", cell.architecture, task=cell.task, labels=labels)
    target = 20 if cell.task == "translation" else None
    request = make_request(model, base / "out", "3x24", task=cell.task, choices=3, max_target_length=target)
    world = make_world(request, base / "world")
    result = compare_in(world, trace_in(world))
    return CellProof(
        failed=failed_gates(result),
        gates={verdict.gate for verdict in result.verdicts},
        max_abs=max(figure.max_abs for figure in result.figures),
        compared=min(figure.compared for figure in result.figures),
    )


def render(proofs: Mapping[tuple[str, str], CellProof]) -> str:
    """docs/support.md."""
    cells = {(c.architecture, c.task, c.target): c for c in support_table()}
    tasks = sorted({task for _, task, _ in cells})
    lines = [
        "# What can be compiled",
        "",
        "`traceship compile --list --json` prints the same table for scripts. Every cell was traced for",
        "the `cpu` target and passed every gate with a small random model of the architecture; the figure",
        "is the largest absolute difference between the saved graph and the untraced model, at most 1e-5",
        "being allowed (tests/compile/test_matrix.py). *waiver*: the model's own answer depends on the",
        "padding, so that its compile fails unless the padding gate is waived with",
        '`--waive padding="why"`; the figure is that of the trace. XLM and FlauBERT have no tokenizer.json',
        "here, as on the Hub ([models.md](models.md)).",
        "",
        "Inf1 takes what its column says. The Neuron compiler was not run for this table: see [why](why.md).",
        "",
        "| architecture | " + " | ".join(tasks) + " | inf1 |",
        "|---|" + "---|" * (len(tasks) + 1),
    ]
    for name, row in sorted(ARCHITECTURES.items()):
        shown = [_shown(cells[name, task, "cpu"], proofs.get((name, task))) for task in tasks]
        inf1 = "yes" if "inf1" in row.targets else f"no: {row.refusal}"
        lines.append(f"| {name} | " + " | ".join(shown) + f" | {inf1} |")
    lines += [
        "",
        "An architecture that is not in the table goes through the same gates. If it passes, its manifest",
        'says `"generic": true`, and every report shows that.',
        "",
    ]
    return "\n".join(lines)


def _shown(cell: Cell, proof: CellProof | None) -> str:
    if cell.status == "refused":
        return NOT_FOR_THIS
    figure = "" if proof is None else f"{proof.max_abs:.1e}" if proof.max_abs else "0"
    return f"waiver ({figure})" if cell.status == "needs-waiver" else figure


if __name__ == "__main__":
    found = {}
    for cell in support_table():
        if cell.target == "cpu" and cell.status != "refused":
            with tempfile.TemporaryDirectory() as folder:
                found[cell.architecture, cell.task] = prove(cell, Path(folder))
    Path(sys.argv[1]).write_text(render(found), encoding="utf-8")
