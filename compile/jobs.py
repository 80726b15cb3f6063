"""What the parent writes for a child to do, and what the child writes back. JSON files.

A child gets the paths of both, and of a failure that it writes in the result's place
(``children.py``).
"""

from __future__ import annotations

from artifact.manifest import (
    BuiltWith,
    Generation,
    Pooling,
    Positive,
    Record,
    Sha256,
    Target,
    Task,
    Tensor,
    Tier,
)
from compile.preflight import ProblemType
from compile.request import Metric


class ModelJob(Record, frozen=True, kw_only=True):
    """How to load and wrap the model. ``folder`` holds exactly the hashed files.

    ``fields`` of the model's output become ``outputs`` of the graph; ``token_level`` says whether
    those have one vector a token or one a row. ``choices``: candidates in a row, multiple-choice.
    ``seq2seq``: a translation, with what the user asks of it.
    ``token_types``: the tokenizer makes them for a model whose config does not speak of them.
    ``remote_code``: classes that the checkpoint itself brings may be imported.
    """

    folder: str
    task: Task
    auto_class: str
    fields: tuple[str, ...]
    outputs: tuple[str, ...]
    token_level: bool
    choices: Positive | None
    without_pooler: bool
    pooling: Pooling
    normalize: bool
    pad_token_id: int
    seq2seq: bool
    max_target_length: Positive | None
    num_beams: Positive | None
    token_types: bool = False
    remote_code: bool = False


class TraceJob(Record, frozen=True, kw_only=True):
    """Trace one bucket into ``graph``; write the shared tensors to ``weights`` where it is set.

    ``decoder``: where a translation's second graph goes. ``inputs`` is the file of ``inputs.py``:
    the example inputs are read from it if it exists, else they are seeded random ones and kept there.
    """

    model: ModelJob
    target: Target
    batch: Positive
    length: Positive
    graph: str
    decoder: str | None
    weights: str | None
    workdir: str
    inputs: str
    compiler_args: tuple[str, ...]
    compiler_timeout: int
    minimum_segment_size: int | None
    single_fusion_ratio: float | None
    separate_weights: bool
    dynamic_batch: bool


class AdoptJob(Record, frozen=True, kw_only=True):
    """Put the user's TorchScript ``file`` behind our calling convention and write it to ``graph``.

    ``inputs``: names in the order in which the file takes them; empty: the model's own order.
    """

    model: ModelJob
    target: Target
    batch: Positive
    length: Positive
    file: str
    inputs: tuple[str, ...]
    graph: str


class TraceResult(Record, frozen=True, kw_only=True):
    """What the child learnt of the model while tracing. ``weights_sha256`` is of the shared tensors.

    ``adopted``: of the user's own file, where that is the trace.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    weights_sha256: str | None
    built_with: BuiltWith
    generation: Generation | None
    adopted: Sha256 | None = None


class BucketFile(Record, frozen=True, kw_only=True):
    """A saved graph to be proven. Paths relative to the staging folder."""

    batch: Positive
    length: Positive
    path: str
    decoder: str | None


class CompareJob(Record, frozen=True, kw_only=True):
    """Compare every saved graph below ``staging`` with the untraced model; write golden.json.

    ``samples``: path of the user's examples.
    """

    model: ModelJob
    target: Target
    staging: str
    buckets: tuple[BucketFile, ...]
    weights: str | None
    inputs: tuple[str, ...]
    generation: Generation | None
    labels: tuple[str, ...]
    problem_type: ProblemType | None
    samples: str | None
    tier: Tier
    tolerance: float


class Verdict(Record, frozen=True, kw_only=True):
    """One gate of one bucket. ``compared`` counts what was compared; ``why`` is for people.

    ``compared`` 0 with ``passed`` true does not exist: nothing compared is nothing proven.
    """

    gate: str
    bucket: str
    passed: bool
    compared: int
    why: str


class Filling(Record, frozen=True, kw_only=True):
    """How full the proof's texts made a bucket: ``tokens`` of ``places``, the rest is padding."""

    bucket: str
    texts: int
    tokens: int
    places: Positive


class Difference(Record, frozen=True, kw_only=True):
    """The figures of one output of one bucket; see ``request.Figure``."""

    bucket: str
    output: str
    max_abs: float
    mean_abs: float
    min_cosine: float | None
    compared: int
    histogram: tuple[int, ...]


class CompareResult(Record, frozen=True, kw_only=True):
    """All verdicts and figures of one comparison."""

    verdicts: tuple[Verdict, ...]
    figures: tuple[Difference, ...]
    mask_token_id: int | None
    metric: Metric | None
    fillings: tuple[Filling, ...]
