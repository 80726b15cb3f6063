"""Which architecture goes with which task on which target, as a table for people and scripts.

Data only, from ``architectures.py`` and ``tasks.py``; tests/compile/test_matrix.py traces and
proves every cell, and docs/support.md holds the figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from artifact.manifest import Target
from compile.architectures import ARCHITECTURES, Architecture
from compile.tasks import TASKS, TaskSpec

Status = Literal["supported", "needs-waiver", "refused"]


@dataclass(frozen=True)
class Cell:
    """One combination. ``reason`` is empty where it is supported without more ado."""

    architecture: str
    task: str
    target: Target
    status: Status
    reason: str


def support_table() -> list[Cell]:
    """Every combination of the tables, sorted by architecture, task and target."""
    return [
        _cell(row, spec, target)
        for _, row in sorted(ARCHITECTURES.items())
        for _, spec in sorted(TASKS.items())
        for target in get_args(Target)
    ]


def _cell(row: Architecture, spec: TaskSpec, target: Target) -> Cell:
    status: Status = "supported"
    reason = f"needs transformers {row.since}" if row.since else ""
    waived, why = row.needs_waiver
    if spec.name in row.without or row.seq2seq != (spec.agreement == "tokens"):
        status, reason = "refused", "transformers has no such class"
    elif target not in row.targets:
        status, reason = "refused", row.refusal
    elif spec.name in waived:
        status, reason = "needs-waiver", f'--waive padding="…": {why}'
    return Cell(row.model_type, spec.name, target, status, reason)
