"""The gates: each asks one question of one bucket and answers with a ``Verdict``.

inputs       the model gets what transformers' tokenizer makes for it, token types included
tokenizer    the artifact's tokenizer.json gives transformers' own token ids, cut at L or not
parity       same numbers as the untraced model within the tier, on examples and odd masks
finite       no NaN or Inf anywhere, not even in a row that is all padding
padding      same answer as the untraced model gives to the row alone, without padding
batch        same answer whoever shares the batch
sensitivity  an input that changes the model's answer changes the graph's too
agreement    the answers mean the same where the model itself is not undecided (agreement.py)
golden       golden.json, replayed through the graph by the server's rules, is met (golden.py)
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch

from compile import samples
from compile.agreement import Agreement
from compile.jobs import Difference, Verdict
from compile.tally import Tally, worth_comparing

if TYPE_CHECKING:
    from artifact.tokenization import AnyTokenizer
    from compile.comparison import Outputs, Subject
    from compile.examples import Text
    from compile.samples import Row

_FED_ROWS = 4
"""Rows that are fed both ways, of which some are pairs where the task has pairs."""

_REACTION = 1e-6
"""A graph is deterministic: an input it ignores changes nothing at all, not even this much."""


def measure(subject: Subject) -> tuple[list[Verdict], list[Difference]]:
    """The numeric gates of one bucket, and the figures of each of its outputs."""
    tallies = _tallies(subject)
    agreement = Agreement(subject.job, subject.spec.agreement, subject.mask_token_id)
    for batch in subject.batches:
        if subject.spec.agreement != "tokens":
            agreement.add(batch)
        _add(tallies, batch.compared)
    for feed in samples.adversarial_feeds(subject.random_feed()).values():
        _add(tallies, subject.asked(feed).compared)
    verdicts = [
        _within(subject, "parity", tallies),
        finite(subject),
        padding(subject),
        sensitivity(subject),
    ]
    if subject.spec.agreement != "tokens":  # translations: translating.py
        verdicts.append(subject.verdict("agreement", agreement.passed, agreement.compared, agreement.why))
    if subject.bucket.batch > 1:
        verdicts.append(batch_mates(subject))
    return verdicts, [_difference(subject, name, tally) for name, tally in tallies.items()]


def _tallies(subject: Subject) -> dict[str, Tally]:
    vectors = subject.spec.agreement == "cosine"
    return {name: Tally(vectors=vectors) for name in subject.job.model.outputs}


def _add(tallies: dict[str, Tally], compared: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    for tally, (found, expected) in zip(tallies.values(), compared):
        tally.add(found, expected)


def _within(subject: Subject, gate: str, tallies: dict[str, Tally]) -> Verdict:
    """Every output within the tolerance; the words are those of the worst."""
    tolerance = subject.job.tolerance
    name, worst = max(tallies.items(), key=lambda item: (not item[1].within(tolerance), item[1].max_abs))
    passed = all(tally.within(tolerance) for tally in tallies.values())
    why = worst.why(tolerance) if len(tallies) == 1 else f"{name}: {worst.why(tolerance)}"
    return subject.verdict(gate, passed, min(tally.compared for tally in tallies.values()), why)


def _difference(subject: Subject, name: str, tally: Tally) -> Difference:
    return Difference(
        bucket=subject.name,
        output=name,
        max_abs=tally.max_abs,
        mean_abs=tally.total_abs / max(1, tally.compared),
        min_cosine=tally.min_cosine if tally.vectors else None,
        compared=tally.compared,
        histogram=tuple(tally.histogram),
    )


def tokenizer(subject: Subject, own: Any) -> Verdict:
    """Both tokenizers on every text: whole, and cut at exactly L and at one token less."""
    length = subject.bucket.length
    wrong: list[str] = []
    compared = 0
    for limit in (None, length, length - 1):
        if limit is not None and limit < _special_tokens(subject.tokenizer) + 1:
            continue
        for row in samples.tokenise(subject.tokenizer, subject.examples, limit):
            for text, tokens in zip(row.example.parts, row.parts):
                compared += 1
                if list(tokens.ids) != _own_ids(own, text, limit):
                    wrong.append(repr(text)[:60])
    why = f"other token ids for {wrong[0]}" if wrong else "same token ids"
    return subject.verdict("tokenizer", not wrong, compared, why)


def inputs(subject: Subject, own: Any, model: Any) -> Verdict:
    """The untraced model fed by us, and as transformers' documentation feeds it.

    Both sides of every other gate are fed by us, so that an input left out would show in neither.
    """
    asked = model.get_encoder() if subject.job.model.seq2seq else model
    taken = set(inspect.signature(asked.forward).parameters)
    tally = Tally()
    for row in [row for row in subject.rows if row.example.full][:_FED_ROWS]:
        feed = samples.arrange(subject.job.model, subject.job.inputs, [row], (1, row.length))
        theirs = {name: tensor for name, tensor in _own_feed(subject, own, row).items() if name in taken}
        ours, expected = asked(**feed, return_dict=True), asked(**theirs, return_dict=True)
        for name in subject.spec.fields:
            tally.add(*(output[name].reshape(output[name].shape[0], -1) for output in (ours, expected)))
    tolerance = subject.job.tolerance
    return subject.verdict("inputs", tally.within(tolerance), tally.compared, tally.why(tolerance))


def _own_feed(subject: Subject, own: Any, row: Row) -> dict[str, torch.Tensor]:
    """transformers' own tensors of a row; of multiple-choice (1, choices, length)."""
    pairs = [(part, None) if isinstance(part, str) else part for part in row.example.parts]
    seconds = [second for _, second in pairs]
    made = own(
        [first for first, _ in pairs],
        None if seconds[0] is None else seconds,
        return_tensors="pt",
        padding=len(pairs) > 1,
        truncation=True,
        max_length=subject.bucket.length,
    )
    many = subject.job.model.choices is not None
    return {name: tensor.unsqueeze(0) if many else tensor for name, tensor in made.items()}


def _special_tokens(tokenizer: AnyTokenizer) -> int:
    return int(tokenizer.num_special_tokens_to_add(True))


def _own_ids(own: Any, text: Text, limit: int | None) -> list[int]:
    first, second = (text, None) if isinstance(text, str) else text
    cut = {} if limit is None else {"truncation": True, "max_length": limit}
    ids: list[int] = own(first, second, verbose=False, **cut)["input_ids"]
    return ids


def finite(subject: Subject) -> Verdict:
    """A row of nothing but padding is what a half-full bucket holds; it may not poison others."""
    feed = samples.with_empty_row(subject.random_feed(), subject.job.model.pad_token_id)
    found = subject.ask_graph(feed)
    passed = all(bool(torch.isfinite(output).all()) for output in found)
    why = "all numbers finite" if passed else "NaN or Inf in a batch with a row of padding"
    return subject.verdict("finite", passed, sum(output.numel() for output in found), why)


def padding(subject: Subject) -> Verdict:
    """The graph's padded answer against the untraced model's answer to the row alone.

    The filler must be the model's own: RoBERTa counts positions by it, which a right-padded text
    does not show.
    """
    own, used = subject.own_pad_token_id, subject.job.model.pad_token_id
    if own is not None and own != used:
        return subject.verdict("padding", False, 1, f"rows are padded with {used}, the model's id is {own}")
    tallies = _tallies(subject)
    for batch in subject.batches:
        for index, row in enumerate(batch.rows):
            alone = subject.alone(row)
            _add(tallies, [_unpadded(subject, o[index], a) for o, a in zip(batch.found, alone)])
    return _within(subject, "padding", tallies)


def _unpadded(
    subject: Subject, found: torch.Tensor, expected: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """One row's answers as (n, width): token level, those of the row's own tokens."""
    if not subject.job.model.token_level:
        return found.reshape(1, -1), expected.reshape(1, -1)
    size = expected.shape[0]
    return found[:size].reshape(size, -1), expected.reshape(size, -1)


def batch_mates(subject: Subject) -> Verdict:
    """Each of the first rows in its batch, and in the same place among rows of padding."""
    tallies = _tallies(subject)
    first = subject.batches[0]
    for index in range(min(len(first.rows), 3)):
        lonely = {
            name: torch.full_like(tensor, subject.job.model.pad_token_id if name == "input_ids" else 0)
            for name, tensor in first.feed.items()
        }
        for name, tensor in first.feed.items():
            lonely[name][index] = tensor[index]
        _add(tallies, _seen(subject, subject.ask_graph(lonely), first.found, lonely["attention_mask"]))
    return _within(subject, "batch", tallies)


def _seen(
    subject: Subject, found: Outputs, expected: Outputs, mask: torch.Tensor
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    level = subject.job.model.token_level
    return [
        (worth_comparing(f, mask, token_level=level), worth_comparing(e, mask, token_level=level))
        for f, e in zip(found, expected)
    ]


def sensitivity(subject: Subject) -> Verdict:
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
    """Another value at every other position but the first: another id, masked, or the other type."""
    changed = tensor.clone()
    if name == "input_ids":
        changed[..., 1::2] = (changed[..., 1::2] + 1) % vocabulary
    else:
        changed[..., 1::2] = 1 - changed[..., 1::2]
    return changed


def _moved(after: Outputs, before: Outputs) -> bool:
    return any(bool(((one - other).abs() > _REACTION).any()) for one, other in zip(after, before))
