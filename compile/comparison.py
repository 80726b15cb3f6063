"""The saved graphs against the untraced model, in a process that has traced nothing.

``python -m compile.comparison``, started by ``parity.py``, which judges the verdicts. The gates
are functions of ``gates.py``.
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
from artifact.sealed import Sealed
from compile import gates, golden, samples, translating
from compile.children import child_main
from compile.examples import built_in, read_samples
from compile.jobs import BucketFile, CompareJob, CompareResult, Filling, Verdict
from compile.metrics import Score
from compile.model import (
    LabelsDoNotFit,
    MaskTokenMissing,
    load_model,
    load_tokenizer,
    portable_tokenizer,
    save_tokenizer,
    vocabulary,
    wrap,
)
from compile.seq2seq import Decoder
from compile.tally import worth_comparing
from compile.tasks import TASKS, TaskSpec
from compile.translating import Translator

if TYPE_CHECKING:
    from artifact.tokenization import AnyTokenizer
    from compile.examples import Example
    from compile.samples import Feed, Row, Tokens

Outputs = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Batch:
    """Rows in a bucket, and what the graph and the untraced model answer to the very same tensors."""

    rows: list[Row]
    feed: Feed
    found: Outputs
    expected: Outputs
    token_level: bool

    @property
    def compared(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Of each output, the vectors (n, width) that mean something: found and expected."""
        mask = self.feed["attention_mask"]
        return [
            (
                worth_comparing(found, mask, token_level=self.token_level),
                worth_comparing(expected, mask, token_level=self.token_level),
            )
            for found, expected in zip(self.found, self.expected)
        ]


@dataclass(frozen=True)
class Subject:
    """Everything one bucket is asked with. ``graph`` and ``reference`` take the same tensors.

    ``own_pad_token_id`` is the model's, whatever the job pads with.
    ``lonely`` keeps the untraced answers to single rows, which other buckets need again.
    """

    job: CompareJob
    bucket: BucketFile
    graph: Any
    reference: Any
    tokenizer: AnyTokenizer
    vocabulary: int
    examples: tuple[Example, ...]
    own_pad_token_id: int | None = None
    mask_token_id: int | None = None
    translator: Translator | None = None
    lonely: dict[tuple[Tokens, ...], Outputs] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return bucket_name(self.bucket.batch, self.bucket.length)

    @property
    def spec(self) -> TaskSpec:
        return TASKS[self.job.model.task]

    @property
    def shape(self) -> tuple[int, int]:
        return self.bucket.batch, self.bucket.length

    @cached_property
    def rows(self) -> list[Row]:
        """Every example that has a token, cut to the bucket's length."""
        rows = samples.tokenise(self.tokenizer, self.examples, self.bucket.length)
        return [row for row in rows if all(part.ids for part in row.parts)]

    @cached_property
    def batches(self) -> list[Batch]:
        """All rows, laid into buckets and asked of both; long and short ones share a batch."""
        size = self.bucket.batch
        groups = [self.rows[start : start + size] for start in range(0, len(self.rows), size)]
        return [self.asked(self.arrange(group), group) for group in groups]

    def asked(self, feed: Feed, rows: list[Row] | None = None) -> Batch:
        return Batch(
            rows=rows or [],
            feed=feed,
            found=self.ask_graph(feed),
            expected=self.ask_model(feed),
            token_level=self.job.model.token_level,
        )

    def arrange(self, rows: Sequence[Row]) -> Feed:
        return samples.arrange(self.job.model, self.job.inputs, rows, self.shape)

    def random_feed(self) -> Feed:
        return samples.random_feed(self.job.model, self.job.inputs, self.shape, self.vocabulary)

    def ask_graph(self, feed: Feed) -> Outputs:
        return tuple(self.graph(*(feed[name] for name in self.job.inputs)))

    def ask_model(self, feed: Feed) -> Outputs:
        return tuple(self.reference(*(feed[name] for name in self.job.inputs)))

    def alone(self, row: Row) -> Outputs:
        """The untraced model's answer to one row without any padding but that among its own parts.

        The batch axis is removed.
        """
        if row.parts not in self.lonely:
            feed = samples.arrange(self.job.model, self.job.inputs, [row], (1, row.length))
            self.lonely[row.parts] = tuple(output[0] for output in self.ask_model(feed))
        return self.lonely[row.parts]

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
    mask_token_id, ours, theirs = questions(job, own)
    check_labels(job, model)
    rows, reference = vocabulary(model), wrap(model, job.model)
    weights = None if job.weights is None else load_weights(_sealed(staging / job.weights))
    verdicts: list[Verdict] = []
    figures = []
    fillings = []
    cases = []
    score = Score(job, theirs)
    lonely: dict[tuple[Tokens, ...], Outputs] = {}
    with torch.no_grad():
        for bucket in job.buckets:
            graph = load_graph(_sealed(staging / bucket.path), weights)
            pair = translator(job, bucket, model, weights)
            subject = Subject(
                job=job,
                bucket=bucket,
                graph=graph,
                reference=reference,
                tokenizer=tokenizer,
                vocabulary=rows,
                examples=(*theirs, *ours),
                own_pad_token_id=model.config.pad_token_id,
                mask_token_id=mask_token_id,
                translator=pair,
                lonely=lonely,
            )
            verdicts.append(gates.tokenizer(subject, own))
            verdicts.append(gates.inputs(subject, own, model))
            measured, differences = gates.measure(subject)
            verdicts.extend(measured)
            figures.extend(differences)
            if pair is not None:
                decoding, difference = translating.measure(subject, pair)
                verdicts.extend(decoding)
                figures.append(difference)
            fillings.append(filling(subject))
            for case in golden.make_cases(subject, ours, theirs):
                cases.append(case)
                verdicts.append(golden.replay(subject, case))
            score.add(subject)
    (staging / GOLDEN).write_bytes(golden.encode_cases(cases, job.tolerance))
    return CompareResult(
        verdicts=tuple(verdicts),
        figures=tuple(figures),
        fillings=tuple(fillings),
        mask_token_id=mask_token_id,
        metric=score.metric(),
    )


def _sealed(path: Path) -> Sealed:
    return Sealed([path.read_bytes()])


def filling(subject: Subject) -> Filling:
    """Real tokens of the proof's examples, laid into the bucket as they come, of all its places."""
    masks = [batch.feed["attention_mask"] for batch in subject.batches]
    return Filling(
        bucket=subject.name,
        texts=len(subject.rows),
        tokens=sum(int(mask.sum()) for mask in masks),
        places=sum(mask.numel() for mask in masks),
    )


def check_labels(job: CompareJob, model: Any) -> None:
    """Every output has a name, and no name is without an output.

    Raises:
        LabelsDoNotFit: else a class would vanish from every answer.
    """
    outputs = int(model.config.num_labels)
    if job.labels and outputs != len(job.labels):
        raise LabelsDoNotFit(named=len(job.labels), outputs=outputs)


def translator(
    job: CompareJob, bucket: BucketFile, model: Any, weights: dict[str, torch.Tensor] | None
) -> Translator | None:
    """Both ways to translate in a bucket; ``None`` for every other task."""
    if job.generation is None or bucket.decoder is None:
        return None
    return Translator(
        generation=job.generation,
        graph=load_graph(_sealed(Path(job.staging) / bucket.decoder), weights),
        reference=Decoder(model).eval().requires_grad_(False),
        model=model,
    )


def questions(job: CompareJob, own: Any) -> tuple[int | None, list[Example], list[Example]]:
    """The mask's id where the task has one, our examples, and the user's.

    Raises:
        MaskTokenMissing: fill-mask with a tokenizer that has no mask.
        SamplesUnusable: see there.
    """
    spec, choices = TASKS[job.model.task], job.model.choices
    mask_token: str | None = None
    mask_token_id: int | None = None
    if spec.example == "masked":
        mask_token, mask_token_id = own.mask_token, own.mask_token_id
        if mask_token is None or mask_token_id is None:
            raise MaskTokenMissing(folder=job.model.folder)
    ours = built_in(spec, choices=choices, mask_token=mask_token)
    theirs = (
        []
        if job.samples is None
        else read_samples(Path(job.samples), spec, choices=choices, mask_token=mask_token)
    )
    return mask_token_id, ours, theirs


if __name__ == "__main__":
    sys.exit(child_main(CompareJob, compare, sys.argv[1:]))
