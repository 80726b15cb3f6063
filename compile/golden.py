"""golden.json: requests in serving shape with the untraced model's answers.

Its partner is ``inference_code/selfcheck.py``, which replays it at every boot. Here it is
replayed once through the graph by the same rules, so that the build fails and not the boot.
Answers come from the untraced model and one thread: thread counts change last bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from artifact.canonical import encode
from artifact.errors import ProofFailed, UsageError
from artifact.golden import Case, Golden, largest_difference
from compile import samples

if TYPE_CHECKING:
    from compile.comparison import Outputs, Subject
    from compile.examples import Example
    from compile.jobs import CompareJob, Verdict
    from compile.samples import Row

_CASES = 3
"""Inputs in a request: enough to see a row swapped with its neighbour, few enough to stay small."""

_MAX_CHARACTERS = 10_000
"""Of a golden text; the server refuses texts of few tokens and far more characters."""

VOCABULARY_SAMPLES = 64
"""Logits kept of a vector over the vocabulary, evenly spread."""

_DIGITS = 9
"""Significant digits that identify a float32."""


class BucketTooShort(UsageError):
    """No text fits the bucket whole, so nothing can be proven about it."""

    id = "bucket-too-short"

    def __init__(self, *, bucket: str, needed: int) -> None:
        super().__init__(
            what=f"the bucket {bucket} is too short for any text",
            why=f"the shortest sample with its special tokens has {needed} tokens",
            fix=f"give a length of at least {needed}",
        )


class ModelNotFinite(ProofFailed):
    """The untraced model itself answers NaN or Inf, so there is nothing to be equal to."""

    id = "model-not-finite"

    def __init__(self, *, bucket: str) -> None:
        super().__init__(
            what=f"the untraced model answers NaN or Inf in the shape of bucket {bucket}",
            why="its weights overflow float32 or are NaN themselves",
            fix="see that the checkpoint works in transformers, then compile it again",
        )


def make_cases(subject: Subject, ours: Sequence[Example], theirs: Sequence[Example]) -> list[Case]:
    """A request of our texts that fit the bucket whole, and one of the user's if any fit.

    Raises:
        BucketTooShort: none of our texts fits.
        ModelNotFinite: the untraced model has no answer.
    """
    fitting = _fitting(subject, ours)
    if not fitting:
        rows = samples.tokenise(subject.tokenizer, ours, None)
        raise BucketTooShort(bucket=subject.name, needed=min(row.length for row in rows if row.example.full))
    return [_case(subject, rows) for rows in (fitting, _fitting(subject, theirs)) if rows]


def _case(subject: Subject, rows: Sequence[Row]) -> Case:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    feed = subject.arrange(rows)
    translator = subject.translator
    try:
        outputs = subject.ask_model(feed)
        translated = None if translator is None else translator.by_model(feed)[: len(rows)]
    finally:
        torch.set_num_threads(threads)
    if not all(bool(torch.isfinite(output[: len(rows)]).all()) for output in outputs):
        raise ModelNotFinite(bucket=subject.name)
    return Case(
        bucket=subject.name,
        request={"inputs": [row.example.request for row in rows]},
        expected=translated or _answers(subject, outputs, rows),
    )


def replay(subject: Subject, case: Case) -> Verdict:
    """Tokenise the request, run the graph, post-process, compare: what the server will do."""
    known = {str(example.request): example for example in subject.examples}
    asked = [known[str(item)] for item in case.request["inputs"]]
    rows = samples.tokenise(subject.tokenizer, asked, subject.bucket.length)
    feed = subject.arrange(rows)
    if subject.translator is None:
        found: list[Any] = _answers(subject, subject.ask_graph(feed), rows)
    else:
        found = [*subject.translator.by_graph(subject, feed)[: len(rows)]]
    difference = largest_difference(case.expected, found)
    tolerance = subject.job.tolerance
    why = f"largest difference {difference:.3g}, allowed {tolerance:g}"
    return subject.verdict("golden", difference <= tolerance, len(rows), why)


def encode_cases(cases: Sequence[Case], tolerance: float) -> bytes:
    """The file's bytes."""
    return encode(Golden(tolerance=tolerance, cases=tuple(cases)))


def _fitting(subject: Subject, examples: Sequence[Example]) -> list[Row]:
    """The longest rows that fit whole, so that the golden answers depend on many tokens.

    Token states are the exception, or the file would be huge, and translations, or every boot
    would wait for the search: the shortest that are not empty.
    """
    rows = samples.tokenise(subject.tokenizer, examples, None)
    fitting = [
        row
        for row in rows
        if row.length <= subject.bucket.length and row.example.full and _servable(subject, row)
    ]
    short_first = subject.spec.agreement in ("cosine", "tokens") and subject.job.model.token_level
    fitting.sort(key=lambda row: row.length, reverse=not short_first)
    return fitting[: min(_CASES, subject.bucket.batch)]


def _servable(subject: Subject, row: Row) -> bool:
    """Whether the server would take it at boot: words in every text, and no endless white space."""
    needed = {0, 1} if subject.spec.example == "question" else {0}
    short = all(len("".join(part)) <= _MAX_CHARACTERS for part in row.example.parts)
    return short and all(needed <= set(part.sequences) for part in row.parts)


def _answers(subject: Subject, outputs: Outputs, rows: Sequence[Row]) -> list[Any]:
    """What the server records of each row; ``outputs`` as the graph gives them."""
    return [_answer(subject, tuple(o[index] for o in outputs), row) for index, row in enumerate(rows)]


def _answer(subject: Subject, outputs: Outputs, row: Row) -> Any:
    """The evidence of one row, by task; ``inference_code/tasks.py`` makes the same.

    Where the pipeline's answer is a choice among near-ties (a token's label, a span, a word), it
    is the logits below that, which say more and cannot tie.
    """
    kind, output = subject.spec.agreement, outputs[0]
    if kind == "label":
        return _scores(subject.job, output)
    if kind == "span":
        start, end = (_numbers(logits[: row.length]) for logits in outputs)
        return {"start_logits": start, "end_logits": end}
    if kind == "top-k":
        position = row.parts[0].ids.index(subject.mask_token_id or 0)
        return _numbers(output[position][:: math.ceil(output.shape[-1] / VOCABULARY_SAMPLES)])
    if kind == "choice":
        return _numbers(output)
    if subject.job.model.token_level:
        return [_numbers(state) for state in output[: row.length]]
    return _numbers(output)


def _scores(job: CompareJob, logits: torch.Tensor) -> list[dict[str, Any]]:
    if job.problem_type == "single_label_classification":
        logits = logits.softmax(dim=-1)
    elif job.problem_type != "regression":  # several labels at once, or one and its odds
        logits = logits.sigmoid()
    scored = [{"label": label, "score": score} for label, score in zip(job.labels, _numbers(logits))]
    return sorted(scored, key=lambda entry: -float(str(entry["score"])))


def _numbers(tensor: torch.Tensor) -> list[float]:
    return [float(f"{value:.{_DIGITS}g}") for value in tensor.tolist()]
