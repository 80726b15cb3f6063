"""golden.json: requests in serving shape with the untraced model's answers.

Its partner is ``inference_code/selfcheck.py``, which replays it at every boot. Here it is
replayed once through the graph by the same rules, so that the build fails and not the boot.
Answers come from the untraced model and one thread: thread counts change last bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from artifact.canonical import encode
from artifact.errors import ProofFailed, UsageError
from artifact.golden import Case, Golden, largest_difference
from compile import samples

if TYPE_CHECKING:
    from compile.comparison import Subject
    from compile.jobs import CompareJob, Verdict
    from compile.samples import Row, Text

_CASES = 3
"""Inputs in a request: enough to see a row swapped with its neighbour, few enough to stay small."""

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


def make_case(subject: Subject) -> Case:
    """A request of one to three texts that fit the bucket whole, with their answers.

    Raises:
        BucketTooShort: no text fits.
        ModelNotFinite: the untraced model has no answer.
    """
    rows = _chosen(subject)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        output = subject.ask_model(subject.arrange(rows))
    finally:
        torch.set_num_threads(threads)
    if not bool(torch.isfinite(output[: len(rows)]).all()):
        raise ModelNotFinite(bucket=subject.name)
    expected = _answers(subject.job, output, rows)
    return Case(
        bucket=subject.name, request={"inputs": [_as_input(row.text) for row in rows]}, expected=expected
    )


def replay(subject: Subject, case: Case) -> Verdict:
    """Tokenise the request, run the graph, post-process, compare: what the server will do."""
    texts = [_as_text(item) for item in case.request["inputs"]]
    rows = samples.tokenise(subject.tokenizer, texts, subject.bucket.length)
    found = _answers(subject.job, subject.ask_graph(subject.arrange(rows)), rows)
    difference = largest_difference(case.expected, found)
    tolerance = subject.job.tolerance
    why = f"largest difference {difference:.3g}, allowed {tolerance:g}"
    return subject.verdict("golden", difference <= tolerance, len(rows), why)


def encode_cases(cases: Sequence[Case], tolerance: float) -> bytes:
    """The file's bytes."""
    return encode(Golden(tolerance=tolerance, cases=tuple(cases)))


def _chosen(subject: Subject) -> list[Row]:
    """The longest texts that fit whole, so that the golden answers depend on many tokens.

    Token states are the exception: the shortest that are not empty, or the file would be huge.
    """
    length = subject.bucket.length
    rows = samples.tokenise(subject.tokenizer, subject.texts, None)
    fitting = [row for row in rows if len(row.ids) <= length and row.text]
    if not fitting:
        raise BucketTooShort(bucket=subject.name, needed=min(len(row.ids) for row in rows if row.text))
    short_first = subject.job.problem_type is None and subject.job.model.pooling == "none"
    fitting.sort(key=lambda row: len(row.ids), reverse=not short_first)
    return fitting[: min(_CASES, subject.bucket.batch)]


def _as_input(text: Text) -> Any:
    return text if isinstance(text, str) else {"text": text[0], "text_pair": text[1]}


def _as_text(item: Any) -> Text:
    return item if isinstance(item, str) else (item["text"], item["text_pair"])


def _answers(job: CompareJob, output: torch.Tensor, rows: Sequence[Row]) -> list[Any]:
    """The Hugging Face response of each row; ``output`` as the graph gives it."""
    return [_answer(job, output[index], row) for index, row in enumerate(rows)]


def _answer(job: CompareJob, output: torch.Tensor, row: Row) -> Any:
    if job.problem_type is not None:
        return _scores(job, output)
    if output.dim() == 2:
        return [_numbers(state) for state in output[: len(row.ids)]]
    return _numbers(output)


def _scores(job: CompareJob, logits: torch.Tensor) -> list[dict[str, Any]]:
    if job.problem_type == "single_label_classification":
        logits = logits.softmax(dim=-1)
    elif job.problem_type == "multi_label_classification":
        logits = logits.sigmoid()
    scored = [{"label": label, "score": score} for label, score in zip(job.labels, _numbers(logits))]
    return sorted(scored, key=lambda entry: -float(str(entry["score"])))


def _numbers(tensor: torch.Tensor) -> list[float]:
    return [float(f"{value:.{_DIGITS}g}") for value in tensor.tolist()]
