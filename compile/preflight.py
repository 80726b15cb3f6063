"""Does the request fit the model? Answered from config.json alone, before anything heavy starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from artifact.errors import UsageError
from compile.architectures import Architecture, architecture_of, pad_token_id, usable_positions
from compile.capacity import check_device
from compile.compiler_options import check_options
from compile.memory import Sizes, is_weights, parameters
from compile.request import BadBucket, CompileRequest, Shape
from compile.source import ModelSource
from compile.tasks import TASKS, TaskSpec

ProblemType = Literal["single_label_classification", "multi_label_classification", "regression"]
_PROBLEM_TYPES: tuple[ProblemType, ...] = (
    "single_label_classification",
    "multi_label_classification",
    "regression",
)

WAIVABLE = ("agreement", "batch", "coverage", "padding", "sensitivity")
"""The rest has no waiver: a looser tier is chosen with ``--tier``, and an artifact with NaN, other
token ids or wrong golden answers would be refused by the server anyway."""


class UnknownTask(UsageError):
    """The task is not in the table of tasks."""

    id = "unknown-task"

    def __init__(self, *, task: str) -> None:
        super().__init__(
            what=f"the task {task!r} cannot be compiled",
            why=f"the tasks are {', '.join(sorted(TASKS))}",
            fix="give one of them with `--task`",
        )


class TaskUnavailable(UsageError):
    """transformers has no class of this model family for the task."""

    id = "task-unavailable"

    def __init__(self, *, architecture: str, task: str) -> None:
        super().__init__(
            what=f"{architecture} models cannot be compiled for {task}",
            why=f"transformers has no {architecture} model with such a head, or an encoder-decoder, which "
            "only translates here",
            fix="see `traceship compile --list` for what goes together",
        )


class PaddingUnknown(UsageError):
    """Neither the model nor its tokenizer says which id fills a row up."""

    id = "padding-unknown"

    def __init__(self, *, architecture: str) -> None:
        super().__init__(
            what="the id that pads a row is not known",
            why=f"config.json has no pad_token_id, the tokenizer no pad_token, {architecture} no default",
            fix="set `pad_token_id` in the model's config.json",
        )


class TargetNotAllowed(UsageError):
    """The architecture does not run on the target."""

    id = "target-not-allowed"

    def __init__(self, *, architecture: str, target: str, allowed: tuple[str, ...], why: str) -> None:
        super().__init__(
            what=f"{architecture} models cannot be compiled for {target}",
            why=f"{why}; the targets of {architecture} are {', '.join(allowed)}",
            fix=f"compile with `--target {allowed[0]}`, or take a model of another type",
        )


class HeadMissing(UsageError):
    """The checkpoint holds no trained head for the task; transformers would invent one."""

    id = "head-missing"

    def __init__(self, *, task: str, why: str) -> None:
        super().__init__(
            what=f"the model has no trained head for {task}",
            why=why,
            fix="take a checkpoint that was fine-tuned for the task, or `--task feature-extraction`",
        )


class BucketTooLong(UsageError):
    """A bucket is longer than the model can number positions."""

    id = "bucket-too-long"

    def __init__(self, *, bucket: str, limit: int) -> None:
        super().__init__(
            what=f"the bucket {bucket} is longer than the model allows",
            why=f"the model has positions for {limit} tokens",
            fix=f"give a length of at most {limit}",
        )
        self.limit = limit


class OptionDoesNotFit(UsageError):
    """Two options, or an option and the task, contradict each other."""

    id = "option-does-not-fit"

    def __init__(self, *, option: str, why: str, fix: str) -> None:
        super().__init__(what=f"{option} cannot be used here", why=why, fix=fix)


@dataclass(frozen=True)
class Plan:
    """The request, matched with the tables. ``labels`` in the order of the model's outputs."""

    spec: TaskSpec
    row: Architecture
    shapes: tuple[Shape, ...]
    labels: tuple[str, ...]
    problem_type: ProblemType | None
    pad_token_id: int
    choices: int | None
    token_types: bool


def plan(request: CompileRequest, source: ModelSource) -> Plan:
    """Check every option against the model's config.

    Raises:
        UnknownTask, TaskUnavailable, TargetNotAllowed, HeadMissing, PaddingUnknown,
        BucketTooLong, BadBucket, OptionDoesNotFit, ArgumentHasAnOption, CompilerOptionImpossible,
        BucketsDoNotFitDevice: see there.
    """
    config = source.config
    spec = TASKS.get(request.task)
    if spec is None:
        raise UnknownTask(task=request.task)
    row = architecture_of(config)
    if request.target not in row.targets:
        raise TargetNotAllowed(
            architecture=row.model_type, target=request.target, allowed=row.targets, why=row.refusal
        )
    if spec.name in row.without or row.seq2seq != (spec.agreement == "tokens"):
        raise TaskUnavailable(architecture=row.model_type, task=spec.name)
    _check_head(spec, config)
    _check_options(request)
    check_options(request.compiler)
    choices = request.choices if spec.example == "choices" else None
    if request.target == "inf1":
        _check_device(request, source, choices)
    labels = _labels(config) if spec.labelled else ()
    return Plan(
        spec=spec,
        row=row,
        shapes=_checked_shapes(request.shapes, usable_positions(row, config)),
        labels=labels,
        problem_type=_problem_type(config, labels) if spec.agreement == "label" else None,
        pad_token_id=_pad_token_id(row, source),
        choices=choices,
        token_types=row.tokenizer_decides_types and source.tokenizer_makes_types(),
    )


def _check_device(request: CompileRequest, source: ModelSource, choices: int | None) -> None:
    sizes = Sizes.of(source.config, request.task, choices)
    files = sum(file.size for file in source.identity.files if is_weights(file.path))
    check_device(
        parameters(source.config, files),
        [sizes.activation_bytes(shape) for shape in request.shapes],
        request.compiler.pipeline_cores,
    )


def _pad_token_id(row: Architecture, source: ModelSource) -> int:
    known = pad_token_id(row, source.config)
    if known is None:
        known = source.tokenizer_pad_id()
    if known is None:
        raise PaddingUnknown(architecture=row.model_type)
    return known


def _check_head(spec: TaskSpec, config: Mapping[str, Any]) -> None:
    named = [str(name) for name in config.get("architectures") or []]
    if spec.heads and named and not any(name.endswith(spec.heads) for name in named):
        raise HeadMissing(task=spec.name, why=f"the checkpoint was saved as {', '.join(named)}")
    if spec.agreement == "span" and _outputs(config) != 2:
        raise HeadMissing(
            task=spec.name,
            why=f"its head has {_outputs(config)} outputs a token, a span needs its start and its end",
        )


def _outputs(config: Mapping[str, Any]) -> int:
    """transformers' num_labels: that of id2label where there is one, else 2."""
    named = config.get("id2label")
    return len(named) if named is not None else int(config.get("num_labels", 2))


def _check_options(request: CompileRequest) -> None:
    if request.pooling != "none" and request.task != "feature-extraction":
        raise OptionDoesNotFit(
            option=f"--pooling {request.pooling}",
            why=f"{request.task} has no token states to pool",
            fix="leave it out, or compile for `--task feature-extraction`",
        )
    asked = (request.max_target_length, request.num_beams)
    if asked != (None, None) and request.task != "translation":
        raise OptionDoesNotFit(
            option="--max-target-length or --num-beams",
            why=f"{request.task} generates nothing",
            fix="leave it out, or compile for `--task translation`",
        )
    if any(value is not None and value < least for value, least in zip(asked, (2, 1))):
        raise OptionDoesNotFit(
            option="--max-target-length or --num-beams",
            why="a translation has at least one token after its start, and one beam",
            fix="give positive numbers, such as `--max-target-length 128 --num-beams 4`",
        )
    if request.choices < 1:
        raise OptionDoesNotFit(
            option=f"--choices {request.choices}",
            why="a row holds at least one candidate",
            fix="give the number of candidates of a question, such as `--choices 4`",
        )
    if request.normalize and request.pooling == "none":
        raise OptionDoesNotFit(
            option="--normalize",
            why="without pooling there is no single vector to normalise",
            fix="add `--pooling mean` or `--pooling cls`",
        )
    if request.compiler.timeout_seconds < 1 or not 0 <= request.compiler.min_coverage <= 100:
        raise OptionDoesNotFit(
            option="--compiler-timeout or --min-coverage",
            why="the time-out is in seconds and above 0, the coverage in percent from 0 to 100",
            fix="give `--compiler-timeout 3600` and `--min-coverage 90`, or leave them out",
        )
    gates = [waiver.gate for waiver in request.waivers]
    for waiver in request.waivers:
        if gates.count(waiver.gate) > 1:
            raise OptionDoesNotFit(
                option=f"--waive {waiver.gate} twice",
                why="a gate is waived for one reason",
                fix="give both reasons in one text",
            )
        if waiver.gate not in WAIVABLE or not waiver.reason.strip():
            raise OptionDoesNotFit(
                option=f"--waive {waiver.gate}={waiver.reason}",
                why=f"a waiver needs a reason, and one of these gates: {', '.join(WAIVABLE)}",
                fix="write `--waive GATE=REASON`; for a looser tolerance choose `--tier`",
            )


def _checked_shapes(shapes: tuple[Shape, ...], limit: int) -> tuple[Shape, ...]:
    """The buckets, shortest first, each once."""
    if not shapes:
        raise BadBucket(bucket="", why="at least one bucket is needed")
    for shape in shapes:
        if shape.length > limit:
            raise BucketTooLong(bucket=str(shape), limit=limit)
        if shapes.count(shape) > 1:
            raise BadBucket(bucket=str(shape), why="it is asked for twice")
    return tuple(sorted(shapes))


def _labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    named = config.get("id2label")
    if named is None:
        return tuple(f"LABEL_{index}" for index in range(_outputs(config)))
    by_id = _numbered(named)
    asked = config.get("num_labels")
    if asked is not None and asked != len(by_id):
        raise OptionDoesNotFit(
            option="id2label of config.json",
            why=f"it names {len(by_id)} outputs, num_labels says {asked}",
            fix="correct one of the two in the model's config.json",
        )
    labels = tuple(by_id[index] for index in sorted(by_id))
    if sorted(by_id) != list(range(len(by_id))) or len(set(labels)) != len(labels):
        raise OptionDoesNotFit(
            option="id2label of config.json",
            why="it must name each output 0, 1, … once, with labels that differ",
            fix="correct id2label in the model's config.json",
        )
    return labels


def _numbered(named: Any) -> dict[int, str]:
    try:
        return {int(key): str(value) for key, value in named.items()}
    except (AttributeError, ValueError):
        raise OptionDoesNotFit(
            option="id2label of config.json",
            why="it is no table from numbers to names",
            fix="correct id2label in the model's config.json",
        ) from None


def _problem_type(config: Mapping[str, Any], labels: tuple[str, ...]) -> ProblemType | None:
    """As the checkpoint says; where silent, several outputs are one label, and one is its odds.

    ``None`` for the latter, as transformers has it: its pipeline answers with the sigmoid.
    """
    written = config.get("problem_type")
    for known in _PROBLEM_TYPES:
        if written == known:
            return known
    return None if len(labels) == 1 else "single_label_classification"
