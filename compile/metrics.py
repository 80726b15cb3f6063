"""What the user's labelled examples say of the model and of its graphs: the task's own metric.

Both are scored on the same rows, cut to the largest bucket as the server cuts them, so that the
two figures differ by nothing but the trace.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from compile.agreement import MAX_ANSWER_TOKENS
from compile.examples import SamplesUnusable
from compile.jobs import CompareJob
from compile.request import Metric
from compile.tasks import TASKS

if TYPE_CHECKING:
    from collections.abc import Callable

    from compile.comparison import Outputs, Subject
    from compile.examples import Example
    from compile.samples import Row

NAMES = {
    "text-classification": "accuracy",
    "token-classification": "token accuracy",
    "question-answering": "exact match",
    "fill-mask": "accuracy",
    "multiple-choice": "accuracy",
}
"""Tasks with a metric; an embedding has no right answer to compare with."""


@dataclass
class Score:
    """The metric over the largest bucket of those that are added."""

    job: CompareJob
    examples: list[Example]
    _length: int = 0
    _subject: Subject | None = field(default=None, repr=False)

    def add(self, subject: Subject) -> None:
        """Keep the longest bucket."""
        if subject.bucket.length > self._length:
            self._length, self._subject = subject.bucket.length, subject

    def metric(self) -> Metric | None:
        """Score both; ``None`` where no example has a label or the task has no metric.

        Raises:
            SamplesUnusable: a label that is not one of the model's, or of the wrong shape.
        """
        labelled = [example for example in self.examples if example.label is not None]
        name = NAMES.get(self.job.model.task)
        if self._subject is None or not labelled or name is None:
            return None
        subject = self._subject
        judge = _JUDGES[TASKS[self.job.model.task].agreement]
        totals = {"graph": 0.0, "reference": 0.0}
        compared = 0
        for batch in subject.batches:
            for index, row in enumerate(batch.rows):
                if row.example.label is None:
                    continue
                compared += 1
                totals["graph"] += judge(subject, row, _row(batch.found, index))
                totals["reference"] += judge(subject, row, _row(batch.expected, index))
        return Metric(
            name=name,
            examples=compared,
            reference=totals["reference"] / max(1, compared),
            graph=totals["graph"] / max(1, compared),
        )


def _row(outputs: Outputs, index: int) -> Outputs:
    return tuple(output[index] for output in outputs)


def _unusable(subject: Subject, row: Row, why: str) -> SamplesUnusable:
    return SamplesUnusable(
        file=str(subject.job.samples),
        why=why,
        example=f'{{"text": …, "label": …}}, not {row.example.label!r}',
    )


def _label(subject: Subject, row: Row, output: Outputs) -> float:
    logits, labels = output[0], subject.job.labels
    problem = subject.job.problem_type
    wanted = row.example.label
    if problem == "regression" or len(labels) == 1:
        raise _unusable(subject, row, "a regression has no labels to be right about")
    if problem == "multi_label_classification":
        named = {str(label) for label in (wanted if isinstance(wanted, list) else [wanted])}
        if not named <= set(labels):
            raise _unusable(subject, row, f"the labels are {', '.join(labels)}")
        return float({label for label, logit in zip(labels, logits.tolist()) if logit > 0} == named)
    return float(_index(subject, row, wanted) == int(logits.argmax()))


def _index(subject: Subject, row: Row, wanted: Any) -> int:
    labels = subject.job.labels
    if isinstance(wanted, int) and not isinstance(wanted, bool) and 0 <= wanted < len(labels):
        return wanted
    if wanted in labels:
        return labels.index(wanted)
    raise _unusable(subject, row, f"the labels are {', '.join(labels)}")


def _token_labels(subject: Subject, row: Row, output: Outputs) -> float:
    """Share of right tokens; the label is a list with one entry for each token of the text."""
    wanted = row.example.label
    inside = [at for at, sequence in enumerate(row.parts[0].sequences) if sequence is not None]
    cut = row.length == subject.bucket.length  # then there are labels for more tokens than are left
    fits = isinstance(wanted, list) and (len(wanted) == len(inside) or (cut and len(wanted) > len(inside)))
    if not fits:
        raise _unusable(subject, row, f"a list of {len(inside)} labels is needed, one a token")
    right = [_index(subject, row, label) == int(output[0][at].argmax()) for at, label in zip(inside, wanted)]
    return sum(right) / max(1, len(right))


def _span(subject: Subject, row: Row, output: Outputs) -> float:
    """Exact match of the best span's text, white space and case aside."""
    if not isinstance(row.example.label, str):
        raise _unusable(subject, row, "the answer is a text")
    tokens = row.parts[0]
    inside = [at for at, sequence in enumerate(tokens.sequences) if sequence == 1]
    if not inside:
        return 0.0
    start, end = (logits[inside] for logits in output)
    scores = (start.unsqueeze(1) + end.unsqueeze(0)).triu()
    allowed = torch.ones_like(scores, dtype=torch.bool).triu()
    allowed &= ~torch.ones_like(scores, dtype=torch.bool).triu(MAX_ANSWER_TOKENS)
    best = int(scores.masked_fill(~allowed, float("-inf")).argmax())
    first, last = divmod(best, len(inside))
    ids = [tokens.ids[inside[at]] for at in range(first, last + 1)]
    return float(_plain(subject.tokenizer.decode(ids)) == _plain(row.example.label))


def _plain(text: str) -> str:
    return "".join(text.casefold().split())


def _word(subject: Subject, row: Row, output: Outputs) -> float:
    """The best word at the first mask is the label."""
    ids = row.parts[0].ids
    if not isinstance(row.example.label, str):
        raise _unusable(subject, row, "the word is a text")
    if subject.mask_token_id not in ids:
        return 0.0
    best = int(output[0][ids.index(subject.mask_token_id)].argmax())
    return float(_plain(subject.tokenizer.decode([best])) == _plain(row.example.label))


def _choice(subject: Subject, row: Row, output: Outputs) -> float:
    wanted = row.example.label
    choices = [part[1] for part in row.example.parts]
    if wanted in choices:
        wanted = choices.index(wanted)
    if not isinstance(wanted, int) or not 0 <= wanted < len(choices):
        raise _unusable(subject, row, "the label is a choice or its number from 0")
    return float(wanted == int(output[0].argmax()))


_JUDGES: dict[str, Callable[[Subject, Row, Outputs], float]] = {
    "label": _label,
    "token-label": _token_labels,
    "span": _span,
    "top-k": _word,
    "choice": _choice,
}
