"""The saved graphs against the untraced model, in a process that has traced nothing.

``python -m compile.comparison``, started by ``parity.py``, which judges the verdicts. Each gate
is one function here and answers with a ``Verdict``:

    tokenizer    the artifact's tokenizer.json gives transformers' own token ids, cut at L or not
    parity       same numbers as the untraced model within the tier, on sentences and odd masks
    finite       no NaN or Inf anywhere, not even in a row that is all padding
    padding      same answer as the untraced model gives to the text alone, without padding
    batch        same answer whoever shares the batch
    sensitivity  an input that changes the model's answer changes the graph's too
    agreement    same direction (embeddings) or same label, where the model itself is not undecided
    golden       golden.json, replayed through the graph by the server's rules, is met
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from artifact.graphs import load_graph, load_weights, prepare
from artifact.manifest import GOLDEN, TOKENIZER, bucket_name
from compile import golden, samples
from compile.children import child_main
from compile.jobs import BucketFile, CompareJob, CompareResult, Difference, Verdict
from compile.model import load_model, load_tokenizer, portable_tokenizer, save_tokenizer, vocabulary, wrap
from compile.samples import Feed, Row, Text
from compile.tasks import TASKS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MIN_COSINE = 0.999
"""Least cosine to the untraced vector. Source: a swap of two inputs gives 0.3 to 0.64 on MiniLM,
bfloat16 rounding 0.9999."""

_REACTION = 1e-6
"""A graph is deterministic: an input it ignores changes nothing at all, not even this much."""


@dataclass
class Tally:
    """Differences of one output, gathered over many batches. Shapes are compared first."""

    max_abs: float = 0.0
    total_abs: float = 0.0
    min_cosine: float = 1.0
    compared: int = 0
    finite: bool = True
    same_shape: bool = True

    def add(self, found: torch.Tensor, expected: torch.Tensor) -> None:
        """Compare two tensors of shape (n, width), each row a vector that is worth comparing."""
        if found.shape != expected.shape:
            self.same_shape = False
            return
        if not bool(torch.isfinite(found).all() and torch.isfinite(expected).all()):
            self.finite = False
            return
        difference = (found.double() - expected.double()).abs()
        if difference.numel() == 0:
            return
        self.max_abs = max(self.max_abs, float(difference.max()))
        self.total_abs += float(difference.sum())
        self.compared += difference.numel()
        cosine = torch.nn.functional.cosine_similarity(found.double(), expected.double(), dim=-1)
        self.min_cosine = min(self.min_cosine, float(cosine.min()))

    def within(self, tolerance: float) -> bool:
        """Whether something was compared and all of it is close enough."""
        return self.compared > 0 and self.same_shape and self.finite and self.max_abs <= tolerance

    def why(self, tolerance: float) -> str:
        """The verdict in words."""
        if not self.same_shape:
            return "the outputs have different shapes"
        if not self.finite:
            return "an output is NaN or Inf"
        return f"largest difference {self.max_abs:.3g}, allowed {tolerance:g}"


@dataclass(frozen=True)
class Batch:
    """Texts in a bucket, and what the graph and the untraced model answer to the very same tensors."""

    rows: list[Row]
    feed: Feed
    found: torch.Tensor
    expected: torch.Tensor


@dataclass(frozen=True)
class Subject:
    """Everything one bucket is asked with. ``graph`` and ``reference`` take the same tensors.

    ``lonely`` keeps the untraced answers to single texts, which other buckets need again.
    """

    job: CompareJob
    bucket: BucketFile
    graph: Any
    reference: Any
    tokenizer: Tokenizer
    vocabulary: int
    texts: tuple[Text, ...]
    lonely: dict[tuple[tuple[int, ...], ...], torch.Tensor] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return bucket_name(self.bucket.batch, self.bucket.length)

    @cached_property
    def rows(self) -> list[Row]:
        """Every text that has a token, cut to the bucket's length."""
        return [row for row in samples.tokenise(self.tokenizer, self.texts, self.bucket.length) if row.ids]

    @cached_property
    def batches(self) -> list[Batch]:
        """All rows, laid into buckets and asked of both; long and short texts share a batch."""
        size = self.bucket.batch
        groups = [self.rows[start : start + size] for start in range(0, len(self.rows), size)]
        return [self._asked(group) for group in groups]

    def _asked(self, rows: list[Row]) -> Batch:
        feed = self.arrange(rows)
        return Batch(rows=rows, feed=feed, found=self.ask_graph(feed), expected=self.ask_model(feed))

    def arrange(self, rows: Sequence[Row]) -> Feed:
        return samples.arrange(
            rows, self.job.inputs, self.bucket.batch, self.bucket.length, self.job.model.pad_token_id
        )

    def random_feed(self) -> Feed:
        return samples.random_feed(
            self.job.inputs,
            self.bucket.batch,
            self.bucket.length,
            self.vocabulary,
            self.job.model.pad_token_id,
        )

    def ask_graph(self, feed: Feed) -> torch.Tensor:
        output: torch.Tensor = self.graph(*(feed[name] for name in self.job.inputs))[0]
        return output

    def ask_model(self, feed: Feed) -> torch.Tensor:
        output: torch.Tensor = self.reference(*(feed[name] for name in self.job.inputs))[0]
        return output

    def alone(self, row: Row) -> torch.Tensor:
        """The untraced model's answer to one text without any padding, its batch axis removed."""
        key = (row.ids, row.types)
        if key not in self.lonely:
            feed = samples.arrange([row], self.job.inputs, 1, len(row.ids), self.job.model.pad_token_id)
            self.lonely[key] = self.ask_model(feed)[0]
        return self.lonely[key]

    def verdict(self, gate: str, passed: bool, compared: int, why: str) -> Verdict:
        return Verdict(
            gate=gate, bucket=self.name, passed=passed and compared > 0, compared=compared, why=why
        )


def compare(job: CompareJob) -> CompareResult:
    """Run every gate on every bucket, and write tokenizer.json and golden.json."""
    prepare(job.target)
    # more threads than free cores make torch several times slower, not faster
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))
    staging = Path(job.staging)
    model = load_model(job.model)
    own = load_tokenizer(job.model.folder)
    tokenizer = portable_tokenizer(own)
    save_tokenizer(tokenizer, staging / TOKENIZER)
    texts = tuple(samples.load_texts(pairs=job.pairs))
    rows, reference = vocabulary(model), wrap(model, job.model)
    weights = None if job.weights is None else load_weights((staging / job.weights).read_bytes())
    verdicts: list[Verdict] = []
    figures: list[Difference] = []
    cases = []
    lonely: dict[tuple[tuple[int, ...], ...], torch.Tensor] = {}
    with torch.no_grad():
        for bucket in job.buckets:
            graph = load_graph((staging / bucket.path).read_bytes(), weights)
            subject = Subject(job, bucket, graph, reference, tokenizer, rows, texts, lonely)
            verdicts.append(tokenizer_gate(subject, own))
            measured, figure = measure(subject)
            verdicts.extend(measured)
            figures.append(figure)
            case = golden.make_case(subject)
            cases.append(case)
            verdicts.append(golden.replay(subject, case))
    (staging / GOLDEN).write_bytes(golden.encode_cases(cases, job.tolerance))
    return CompareResult(verdicts=tuple(verdicts), figures=tuple(figures))


def measure(subject: Subject) -> tuple[list[Verdict], Difference]:
    """The numeric gates of one bucket, and its figures."""
    tally, agreement = Tally(), Agreement(subject)
    for batch in subject.batches:
        mask = batch.feed["attention_mask"]
        found, expected = worth_comparing(batch.found, mask), worth_comparing(batch.expected, mask)
        agreement.add(found, expected)
        tally.add(found, expected)
    for feed in samples.adversarial_feeds(subject.random_feed()).values():
        mask = feed["attention_mask"]
        tally.add(
            worth_comparing(subject.ask_graph(feed), mask), worth_comparing(subject.ask_model(feed), mask)
        )
    tolerance = subject.job.tolerance
    verdicts = [
        subject.verdict("parity", tally.within(tolerance), tally.compared, tally.why(tolerance)),
        _finite_gate(subject),
        _padding_gate(subject),
        _sensitivity_gate(subject),
        agreement.verdict(),
    ]
    if subject.bucket.batch > 1:
        verdicts.append(_batch_gate(subject))
    return verdicts, _difference(subject, tally)


def worth_comparing(output: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The vectors of an output that mean something, as (n, width).

    Token states: the positions under the mask. One vector a row: the rows with any token.
    """
    if output.dim() == 3 and output.shape[:2] == mask.shape:
        return output[mask.bool()]
    if output.dim() == 2 and output.shape[0] == mask.shape[0]:
        return output[mask.bool().any(dim=1)]
    return output


def _difference(subject: Subject, tally: Tally) -> Difference:
    vectors = TASKS[subject.job.model.task].agreement == "cosine"
    return Difference(
        bucket=subject.name,
        output=subject.job.model.output,
        max_abs=tally.max_abs,
        mean_abs=tally.total_abs / max(1, tally.compared),
        min_cosine=tally.min_cosine if vectors else None,
        compared=tally.compared,
    )


def tokenizer_gate(subject: Subject, own: Any) -> Verdict:
    """Both tokenizers on every text: whole, and cut at exactly L and at one token less."""
    length = subject.bucket.length
    wrong: list[str] = []
    compared = 0
    for limit in (None, length, length - 1):
        if limit is not None and limit < _special_tokens(subject.tokenizer) + 1:
            continue
        for row in samples.tokenise(subject.tokenizer, subject.texts, limit):
            expected = _own_ids(own, row.text, limit)
            compared += 1
            if list(row.ids) != expected:
                wrong.append(repr(row.text)[:60])
    why = f"other token ids for {wrong[0]}" if wrong else "same token ids"
    return subject.verdict("tokenizer", not wrong, compared, why)


def _special_tokens(tokenizer: Tokenizer) -> int:
    return int(tokenizer.num_special_tokens_to_add(True))


def _own_ids(own: Any, text: Text, limit: int | None) -> list[int]:
    first, second = (text, None) if isinstance(text, str) else text
    cut = {} if limit is None else {"truncation": True, "max_length": limit}
    ids: list[int] = own(first, second, verbose=False, **cut)["input_ids"]
    return ids


def _finite_gate(subject: Subject) -> Verdict:
    """A row of nothing but padding is what a half-full bucket holds; it may not poison others."""
    feed = samples.with_empty_row(subject.random_feed(), subject.job.model.pad_token_id)
    found = subject.ask_graph(feed)
    finite = bool(torch.isfinite(found).all())
    why = "all numbers finite" if finite else "NaN or Inf in a batch with a row of padding"
    return subject.verdict("finite", finite, found.numel(), why)


def _padding_gate(subject: Subject) -> Verdict:
    """The graph's padded answer against the untraced model's answer to the text alone."""
    tally = Tally()
    for batch in subject.batches:
        for index, row in enumerate(batch.rows):
            expected = subject.alone(row)
            answer = batch.found[index]
            answer = answer[: len(row.ids)] if expected.dim() == 2 else answer
            tally.add(answer.reshape(-1, answer.shape[-1]), expected.reshape(-1, expected.shape[-1]))
    tolerance = subject.job.tolerance
    return subject.verdict("padding", tally.within(tolerance), tally.compared, tally.why(tolerance))


def _batch_gate(subject: Subject) -> Verdict:
    """Each of the first rows in its batch, and in the same place among rows of padding."""
    tally = Tally()
    first = subject.batches[0]
    feed, together = first.feed, first.found
    for index in range(min(len(first.rows), 3)):
        lonely = {
            name: torch.full_like(tensor, subject.job.model.pad_token_id if name == "input_ids" else 0)
            for name, tensor in feed.items()
        }
        for name, tensor in feed.items():
            lonely[name][index] = tensor[index]
        mask = lonely["attention_mask"]
        tally.add(worth_comparing(subject.ask_graph(lonely), mask), worth_comparing(together, mask))
    tolerance = subject.job.tolerance
    return subject.verdict("batch", tally.within(tolerance), tally.compared, tally.why(tolerance))


def _sensitivity_gate(subject: Subject) -> Verdict:
    """Change one input at a time: where the model's answer moves, the graph's must move.

    Ids and mask must move it in any case: a model that answers the same to everything is broken.
    """
    feed = samples.adversarial_feeds(subject.random_feed())["all-ones"]
    before_graph, before_model = subject.ask_graph(feed), subject.ask_model(feed)
    dead: list[str] = []
    for name in subject.job.inputs:
        changed = {**feed, name: _changed(name, feed[name], subject.vocabulary)}
        model = _moved(subject.ask_model(changed), before_model)
        graph = _moved(subject.ask_graph(changed), before_graph)
        if not graph and (model or name != "token_type_ids"):
            dead.append(name)
    why = f"the answer does not depend on {', '.join(dead)}" if dead else "every used input counts"
    return subject.verdict("sensitivity", not dead, len(subject.job.inputs), why)


def _changed(name: str, tensor: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """Another value at the last position of every row: another id, masked, or the other type."""
    changed = tensor.clone()
    if name == "input_ids":
        changed[:, -1] = (changed[:, -1] + 1) % vocabulary
    else:
        changed[:, -1] = 1 - changed[:, -1]
    return changed


def _moved(after: torch.Tensor, before: torch.Tensor) -> bool:
    return bool(((after - before).abs() > _REACTION).any())


class Agreement:
    """What must agree beyond the numbers, gathered over many batches.

    Vectors: cosine of at least ``MIN_COSINE``. Labels: the same one where the untraced model's
    lead (or, with several labels, distance from even odds) is above twice the tolerance, since a
    difference within the tier may turn the others. A regression has nothing beyond its number.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._compared = 0
        self._wrong = 0

    def add(self, found: torch.Tensor, expected: torch.Tensor) -> None:
        """Compare vectors or logits, one a row."""
        if found.shape != expected.shape:
            self._wrong += 1
            return
        decided, agrees = self._judge(found, expected)
        self._compared += int(decided.numel())
        self._wrong += int((decided & ~agrees).sum())

    def _judge(self, found: torch.Tensor, expected: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        problem, margin = self._subject.job.problem_type, 2 * self._subject.job.tolerance
        if problem is None:
            norms = expected.double().norm(dim=-1)
            cosine = torch.nn.functional.cosine_similarity(found.double(), expected.double(), dim=-1)
            return norms > 0, cosine >= MIN_COSINE
        if problem == "multi_label_classification":
            return expected.abs() > margin, (found > 0) == (expected > 0)
        if problem == "regression" or expected.shape[-1] < 2:
            return torch.ones_like(expected, dtype=torch.bool), torch.isfinite(found)
        best = expected.topk(2, dim=-1).values
        return best[:, 0] - best[:, 1] > margin, found.argmax(dim=-1) == expected.argmax(dim=-1)

    def verdict(self) -> Verdict:
        """All rows agree, and there was one."""
        why = f"{self._wrong} of {self._compared} answers mean something else"
        return self._subject.verdict("agreement", self._wrong == 0, self._compared, why)


if __name__ == "__main__":
    sys.exit(child_main(CompareJob, compare, sys.argv[1:]))
