"""The gates of a translation's second half: the decoder's graph, and the search around it.

The encoder's graph passes the gates of ``gates.py`` like any other. Here: the decoder's logits
are the untraced model's, nothing behind ``step`` counts, source mask and states do, and the
search gives the very tokens of transformers' ``generate``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from artifact.manifest import Generation
from artifact.search import allowed, search
from compile.jobs import Difference, Verdict
from compile.seq2seq import generate
from compile.tally import Tally

if TYPE_CHECKING:
    from compile.comparison import Subject
    from compile.samples import Feed, Row

COMPARED_ROWS = 8
"""Of our own texts, how many are translated twice: every token costs a run of the decoder. The
user's examples come first and all count."""


@dataclass(frozen=True)
class Translator:
    """Both ways to translate: the saved decoder graph, and the untraced model with its decoder."""

    generation: Generation
    graph: Any
    reference: Any
    model: Any

    def by_graph(self, subject: Subject, feed: Feed) -> list[list[int]]:
        """Tokens of each row of the bucket, by the two graphs and our search."""
        beams = self.generation.num_beams
        states = subject.ask_graph(feed)[0].repeat_interleave(beams, dim=0)
        mask = feed["attention_mask"].repeat_interleave(beams, dim=0)

        def decode(ids: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.graph(ids, states, mask, step)[0]
            return logits

        return search(decode, self.generation, subject.bucket.batch)

    def by_model(self, feed: Feed) -> list[list[int]]:
        """Tokens of each row, by transformers' generate."""
        return generate(self.model, self.generation, feed["input_ids"], feed["attention_mask"])


def measure(subject: Subject, translator: Translator) -> tuple[list[Verdict], Difference]:
    """The decoder's gates on one bucket, and the figures of its logits."""
    rows = _unequal([row for row in subject.rows if row.example.full], subject.bucket.batch)
    feed = subject.arrange(rows)
    prefixes = translator.by_model(feed)
    parity, padding = Tally(), Tally()
    for step in _steps(prefixes):
        found = _logits(subject, translator, feed, prefixes, step)
        _compare(parity, found, _logits(subject, translator, feed, prefixes, step, untraced=True), rows)
        _compare(parity, found, _by_the_model(translator, feed, prefixes, step), rows)
        _compare(padding, found, _alone(subject, translator, rows, prefixes, step), rows)
    tolerance = subject.job.tolerance
    verdicts = [
        subject.verdict(
            "parity", parity.within(tolerance), parity.compared, "logits: " + parity.why(tolerance)
        ),
        subject.verdict(
            "padding", padding.within(tolerance), padding.compared, "logits: " + padding.why(tolerance)
        ),
        _sensitivity(subject, translator, feed, prefixes),
        _agreement(subject, translator),
    ]
    figure = Difference(
        bucket=subject.name,
        output="logits",
        max_abs=parity.max_abs,
        mean_abs=parity.total_abs / max(1, parity.compared),
        min_cosine=None,
        compared=parity.compared,
        histogram=tuple(parity.histogram),
    )
    return verdicts, figure


def _unequal(rows: list[Row], count: int) -> list[Row]:
    """``count`` rows of all lengths, the shortest first: only a padded row shows a lost mask."""
    ordered = sorted(rows, key=lambda row: row.length)
    return [ordered[at * len(ordered) // count] for at in range(min(count, len(ordered)))]


def _steps(prefixes: Sequence[Sequence[int]]) -> list[int]:
    """The first token, one in the middle, the last."""
    last = max(len(tokens) for tokens in prefixes) - 2
    return sorted({0, max(0, last // 2), max(0, last)})


def _target(generation: Generation, prefixes: Sequence[Sequence[int]], beams: int) -> torch.Tensor:
    """The prefixes as a padded target (rows x beams, max_length)."""
    ids = torch.full((len(prefixes), generation.max_length), generation.pad_token_id, dtype=torch.int64)
    for at, tokens in enumerate(prefixes):
        ids[at, : len(tokens)] = torch.tensor(tokens)
    return ids.repeat_interleave(beams, dim=0)


def _logits(
    subject: Subject,
    translator: Translator,
    feed: Feed,
    prefixes: Sequence[Sequence[int]],
    step: int,
    *,
    untraced: bool = False,
) -> torch.Tensor:
    """Logits (batch, vocabulary) of the token after ``step``, of each row's first beam."""
    beams = translator.generation.num_beams
    encoder, decoder = (
        (subject.ask_model, translator.reference) if untraced else (subject.ask_graph, translator.graph)
    )
    states = encoder(feed)[0].repeat_interleave(beams, dim=0)
    mask = feed["attention_mask"].repeat_interleave(beams, dim=0)
    target = _target(translator.generation, prefixes, beams)
    logits: torch.Tensor = decoder(target, states, mask, torch.tensor([step]))[0]
    return logits[::beams]


def _by_the_model(
    translator: Translator, feed: Feed, prefixes: Sequence[Sequence[int]], step: int
) -> torch.Tensor:
    """The same from the model's own ``forward``: our ``Decoder`` may lack what a family does there.

    T5 scales its states before the head, for one; a search that is wrong in both graph and
    yardstick would look like agreement.
    """
    target = _target(translator.generation, prefixes, 1)[:, : step + 1]
    output = translator.model(
        input_ids=feed["input_ids"],
        attention_mask=feed["attention_mask"],
        decoder_input_ids=target,
        use_cache=False,
        return_dict=True,
    )
    logits: torch.Tensor = output["logits"][:, step]
    return logits


def _alone(
    subject: Subject,
    translator: Translator,
    rows: Sequence[Row],
    prefixes: Sequence[Sequence[int]],
    step: int,
) -> torch.Tensor:
    """The same from the untraced model, each text by itself, source and target without filling."""
    found = []
    for row, tokens in zip(rows, prefixes):
        states = subject.alone(row)[0].unsqueeze(0)
        mask = torch.ones(1, states.shape[1], dtype=torch.int64)
        filled = [*tokens, *[translator.generation.pad_token_id] * (step + 1)][: step + 1]
        found.append(translator.reference(torch.tensor([filled]), states, mask, torch.tensor([step]))[0])
    return torch.cat(found)


def _compare(tally: Tally, found: torch.Tensor, expected: torch.Tensor, rows: Sequence[Row]) -> None:
    tally.add(found[: len(rows)], expected[: len(rows)])


def _sensitivity(
    subject: Subject, translator: Translator, feed: Feed, prefixes: Sequence[Sequence[int]]
) -> Verdict:
    """What must move the logits does, and what stands behind ``step`` does not."""
    beams, generation = translator.generation.num_beams, translator.generation
    states = subject.ask_graph(feed)[0].repeat_interleave(beams, dim=0)
    mask = feed["attention_mask"].repeat_interleave(beams, dim=0)
    target = _target(generation, prefixes, beams)
    step = min(1, generation.max_length - 1)

    def ask(ids: torch.Tensor, hidden: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = translator.graph(ids, hidden, seen, torch.tensor([step]))[0]
        return logits

    before = ask(target, states, mask)
    behind, start, halved = target.clone(), target.clone(), mask.clone()
    behind[:, step + 1 :] = generation.eos_token_id
    start[:, step] = (start[:, step] + 1) % before.shape[-1]
    halved[:, 1::2] = 0
    moved = {
        "encoder_hidden_states": ask(target, states + 1.0, mask),
        "attention_mask": ask(target, states, halved),
        "decoder_input_ids": ask(start, states, mask),
    }
    wrong = [f"do not depend on {name}" for name, after in moved.items() if _same(after, before)]
    if not _same(ask(behind, states, mask), before):
        wrong.append("depend on tokens behind the step")
    why = f"the decoder's logits {', and '.join(wrong)}" if wrong else "every used input counts"
    return subject.verdict("sensitivity", not wrong, len(moved) + 1, why)


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool(((one - other).abs() <= 1e-6).all())


def _agreement(subject: Subject, translator: Translator) -> Verdict:
    """Every token of several sentences, together in a batch of unequal lengths."""
    theirs = [row for row in subject.rows if row.example.given]
    ours = [row for row in subject.rows if not row.example.given and row.example.full]
    rows = theirs + ours[:COMPARED_ROWS]
    wrong, compared = 0, 0
    size = subject.bucket.batch
    for start in range(0, len(rows), size):
        group = rows[start : start + size]
        feed = subject.arrange(group)
        for at, (found, expected) in enumerate(
            zip(translator.by_graph(subject, feed)[: len(group)], translator.by_model(feed))
        ):
            compared += 1
            wrong += found != expected and not _near_tie(subject, translator, group[at], found, expected)
    why = f"{wrong} of {compared} translations have other tokens than generate()"
    return subject.verdict("agreement", wrong == 0, compared, why)


def _near_tie(
    subject: Subject, translator: Translator, row: Row, found: list[int], expected: list[int]
) -> bool:
    """Whether the untraced model itself has both within what the tolerance may turn.

    Greedy: the two logits where the sequences part. Beam search: the two sequences' scores.
    """
    states = subject.alone(row)[0].unsqueeze(0)
    mask = torch.ones(1, states.shape[1], dtype=torch.int64)
    margin = 2 * subject.job.tolerance

    def logits(tokens: list[int], step: int) -> torch.Tensor:
        row: torch.Tensor = translator.reference(torch.tensor([tokens]), states, mask, torch.tensor([step]))[
            0
        ][0]
        return row.double()

    if translator.generation.num_beams == 1:
        at = next((n for n, (f, e) in enumerate(zip(found, expected)) if f != e), None)
        if not at:  # no difference, or another start token, which nothing explains
            return False
        at_split = logits(expected, at - 1)
        return abs(float(at_split[expected[at]] - at_split[found[at]])) <= margin

    def score(tokens: list[int]) -> float:
        steps = range(len(tokens) - 1)
        total = 0.0
        for n in steps:
            scores = logits(tokens, n).log_softmax(dim=-1).unsqueeze(0)
            total += float(allowed(scores, translator.generation, n + 1)[0][tokens[n + 1]])
        return float(total / len(steps) ** translator.generation.length_penalty)

    return abs(score(expected) - score(found)) <= margin * len(expected)
