"""A file of lengths to a bucket plan, for ``plan`` and for ``ship``; and the plan as lines for a person."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from artifact.errors import UsageError
from artifact.plan import BucketPlan, Choice
from cli.console import step

if TYPE_CHECKING:
    from compile.lengths import Histogram, Kind
    from compile.planning import Limits
    from compile.source import ModelSource


class TextsNeedModel(UsageError):
    """Texts were given, and nothing that says how many tokens they have."""

    id = "texts-need-model"

    def __init__(self, *, file: str) -> None:
        super().__init__(
            what=f"the lengths of the texts in {file} are not known",
            why="a text has as many tokens as the model's tokenizer makes of it",
            fix="add `--model` with the model's folder, or `--kind lengths` if these are numbers",
        )


def make_plan(
    path: Path,
    limits: Limits,
    *,
    source: ModelSource | None,
    batch: int = 1,
    multiple: int = 1,
    kind: Kind | None = None,
) -> tuple[BucketPlan, Histogram]:
    """Read ``path`` and plan for what it holds; also the rows by length.

    Args:
        source: the model; its tokenizer counts tokens, its config gives FLOPs and the longest bucket.

    Raises:
        TextsNeedModel: ``path`` holds texts and there is no ``source``.
        What lengths.py, token_lengths.py and planning.py raise.
    """
    from compile.planning import plan_buckets
    from compile.work import encoder_of

    encoder = encoder_of(source) if source else None
    histogram = _histogram(path, kind, source)
    return plan_buckets(histogram, limits, batch=batch, multiple=multiple, encoder=encoder), histogram


def _histogram(path: Path, kind: Kind | None, source: ModelSource | None) -> Histogram:
    from compile.lengths import read_lengths
    from compile.token_lengths import count_tokens

    found = read_lengths(path, kind)
    if found.histogram is not None:
        return found.histogram
    if source is None:
        raise TextsNeedModel(file=str(path))
    with step(f"count the tokens of the texts in {path}"):
        return count_tokens(path, found.kind, source)


def plan_text(plan: BucketPlan) -> str:
    """The plan as lines: buckets, comparison, what one more bucket would bring, what to paste."""
    lines = [f"{plan.rows} rows, {plan.real_tokens} tokens, the longest row has {plan.longest}", ""]
    lines += _table(plan)
    lines += ["", *_comparison(plan), "", "at most   padding   saved by one more"]
    for before, gain in zip((None, *plan.marginal), plan.marginal):
        saved = "" if before is None else f"{1 - gain.work / before.work:>10.1%} of the work"
        beyond = "" if gain.fits else "   beyond the limits"
        lines.append(f"{gain.buckets:>7} {gain.padding_waste:>9.1%}{saved}{beyond}")
    lines += ["", *_estimates(plan)]
    if plan.truncated.rows:
        lines.append(
            f"rows longer than {plan.truncated.limit} tokens: {plan.truncated.rows}; refused by the server, "
            f"or {plan.truncated.tokens} tokens are cut off with `--truncate`"
        )
    return "\n".join([*lines, "", " ".join(plan.options), f"[compile] {plan.settings}"])


def _table(plan: BucketPlan) -> list[str]:
    flops = plan.work.unit == "flops"
    lines = ["bucket        rows   share   padding" + ("   GFLOPs a run" if flops else "")]
    for bucket in plan.buckets:
        name = f"{bucket.batch}x{bucket.length}"
        cost = "" if bucket.flops is None else f"{bucket.flops / 1e9:>15.2f}"
        lines.append(f"{name:<9} {bucket.rows:>8} {bucket.share:>7.1%} {bucket.padding_waste:>9.1%}{cost}")
    return lines


def _comparison(plan: BucketPlan) -> list[str]:
    return [
        f"padding {plan.padding_waste:.1%} of all tokens, {plan.work.waste:.1%} of the work "
        f"({'FLOPs' if plan.work.unit == 'flops' else 'tokens'})",
        f"one bucket ({_spoken(plan.single_bucket)}): padding {plan.single_bucket.padding_waste:.1%}, "
        f"{plan.single_bucket.work / plan.work.padded:.2f} times the work",
        f"powers of two ({_spoken(plan.powers_of_two)}): padding {plan.powers_of_two.padding_waste:.1%}, "
        f"{plan.powers_of_two.work / plan.work.padded:.2f} times the work",
    ]


def _spoken(choice: Choice) -> str:
    return ", ".join(str(length) for length in choice.lengths)


def _estimates(plan: BucketPlan) -> list[str]:
    seconds = f"compile time about {plan.estimates.compile_seconds} s (an allowance for each bucket)"
    if plan.estimates.memory_mb is None:
        return [seconds]
    return [f"device memory at most about {plan.estimates.memory_mb} MB (an estimate)", seconds]
