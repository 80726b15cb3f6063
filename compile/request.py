"""What is asked of the compile stage, and what it hands back."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from artifact.errors import UsageError
from artifact.manifest import (
    BuiltWith,
    Casting,
    Coverage,
    Pooling,
    Support,
    Target,
    Task,
    Tier,
    Waiver,
    bucket_name,
)
from compile.packages import Package
from compile.sources.selection import Allowed

if TYPE_CHECKING:
    from compile.jobs import Filling, Verdict

TOLERANCES: dict[Tier, float] = {"cpu": 1e-5, "neuron-no-cast": 1e-3, "neuron-default": 1e-2}
"""Largest absolute difference to the untraced model.

Source: cpu, torch.jit.trace of fifteen architectures differs by at most 1e-5; neuron-default,
huggingface/optimum-neuron#90 (Inf1 at default settings 1e-2; those round to bfloat16);
neuron-no-cast, float16 keeps three bits more than bfloat16, which makes 1e-2 about 1e-3.
"""


class BadBucket(UsageError):
    """A bucket that is not ``BATCHxLENGTH`` with two positive numbers, or is asked for twice."""

    id = "bad-bucket"

    def __init__(self, *, bucket: str, why: str) -> None:
        super().__init__(
            what=f"{bucket!r} is not a bucket",
            why=why,
            fix="give batch size and sequence length, such as `--bucket 8x128`, each bucket once",
        )


@dataclass(frozen=True, order=True)
class Shape:
    """The static shape of a bucket: rows of ``batch``, tokens of ``length``."""

    length: int
    batch: int

    @property
    def name(self) -> str:
        """The spoken name, such as ``b8_s128``."""
        return bucket_name(self.batch, self.length)

    def __str__(self) -> str:
        return f"{self.batch}x{self.length}"


def parse_shape(text: str) -> Shape:
    """Read ``BATCHxLENGTH``.

    Raises:
        BadBucket: another spelling, or a zero.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,3})x([1-9][0-9]{0,4})", text)
    if match is None:
        raise BadBucket(bucket=text, why="it is not two positive whole numbers with an x between them")
    return Shape(batch=int(match[1]), length=int(match[2]))


@dataclass(frozen=True)
class CompilerOptions:
    """Options of the inf1 target; the cpu target has none. ``compiler_options.py`` spells them.

    ``casting``, ``fast_relayout``, ``optimization`` and ``pipeline_cores`` are neuron-cc's, with
    the most accurate values as defaults; ``arguments`` are passed to it as they are.
    ``dynamic_batch`` lets a graph take any number of rows. ``timeout_seconds`` and the coverage
    policy hold for each bucket: ``min_coverage`` percent of the operators on the device, at most
    ``max_partitions`` subgraphs, and no operator on the CPU that is not in ``allowed_fallback``
    (``None`` and empty: no limit).
    ``minimum_segment_size`` and ``single_fusion_ratio`` are torch_neuron's partitioner
    settings; ``None`` leaves its own default. ``separate_weights`` forces what happens by itself
    above 1.9 GB of weights.
    """

    arguments: tuple[str, ...] = ()
    casting: Casting = "matmult-fp16"
    fast_relayout: bool = False
    optimization: int | None = None
    pipeline_cores: int = 1
    dynamic_batch: bool = False
    timeout_seconds: int = 3600
    min_coverage: float = 90.0
    max_partitions: int | None = None
    allowed_fallback: tuple[str, ...] = ()
    minimum_segment_size: int | None = None
    single_fusion_ratio: float | None = None
    separate_weights: bool = False


def default_tier(target: Target, compiler: CompilerOptions) -> Tier:
    """The tier that fits the arithmetic: the strict one only where nothing is rounded to bfloat16.

    ``fp32-cast-matmult`` transposes in float16 but multiplies in bfloat16; a fast relayout sends
    tensors through the matrix engine that are only moved.
    """
    if target == "cpu":
        return "cpu"
    exact = compiler.casting == "matmult-fp16" and not compiler.fast_relayout
    return "neuron-no-cast" if exact else "neuron-default"


@dataclass(frozen=True)
class Work:
    """How a compile goes about it; nothing here changes a byte of the artifact.

    ``jobs`` is the most buckets at once, ``None`` as many as cores and memory allow. ``repro`` is
    the folder for a failed bucket's reproduction, with the model's weights if ``repro_weights``.
    ``parts``: the buckets were traced before and lie there (``parts.py``).
    """

    jobs: int | None = None
    repro: Path | None = None
    repro_weights: bool = False
    parts: Path | None = None


@dataclass(frozen=True)
class CompileRequest:
    """One model, one task, one target, all its buckets.

    ``tier`` ``None`` means the one of target and casting. ``choices``: candidates in a row,
    multiple-choice only. ``max_target_length``, ``num_beams``: of a translation; ``None`` means the
    checkpoint's. ``samples``: a file with the user's own examples. ``identity`` replaces the
    source's id where the folder is only a mounted copy (docker runner). ``allow_pickle`` and
    ``trust_remote_code`` are what the user accepts of the checkpoint beyond plain tensors.
    ``debug`` reports a failed child's whole log.
    """

    model: str
    task: Task
    target: Target
    shapes: tuple[Shape, ...]
    out: Path
    revision: str | None = None
    pooling: Pooling = "none"
    normalize: bool = False
    tier: Tier | None = None
    truncate: bool = False
    choices: int = 4
    samples: Path | None = None
    max_target_length: int | None = None
    num_beams: int | None = None
    waivers: tuple[Waiver, ...] = ()
    compiler: CompilerOptions = field(default_factory=CompilerOptions)
    identity: str | None = None
    allow_pickle: bool = False
    trust_remote_code: bool = False
    debug: bool = False
    work: Work = field(default_factory=Work)

    @property
    def allowed(self) -> Allowed:
        """What may be read and run of the checkpoint."""
        return Allowed(pickle=self.allow_pickle, remote_code=self.trust_remote_code)

    @property
    def resolved_tier(self) -> Tier:
        """The tier in force."""
        return self.tier or default_tier(self.target, self.compiler)


@dataclass(frozen=True)
class Workplace:
    """Where one run writes: ``staging`` becomes the artifact, ``scratch`` is thrown away."""

    staging: Path
    scratch: Path


@dataclass(frozen=True)
class BucketReport:
    """One traced bucket: size of its graph file in bytes, time of its child in seconds."""

    batch: int
    length: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class Metric:
    """The user's labelled examples: share of right answers, 0 to 1, of the model and of the graphs."""

    name: str
    examples: int
    reference: float
    graph: float


@dataclass(frozen=True)
class Figure:
    """How far one output of one bucket is from the untraced model.

    ``compared`` counts numbers; ``min_cosine`` is set for embeddings and token states;
    ``histogram`` counts the absolute differences by size (``histogram.py``).
    """

    bucket: str
    output: str
    max_abs: float
    mean_abs: float
    compared: int
    min_cosine: float | None = None
    histogram: tuple[int, ...] = ()


@dataclass(frozen=True)
class About:
    """What an artifact is, as its manifest says. ``files_bytes`` of all its files together."""

    source: str
    revision: str | None
    architecture: str
    tier: Tier
    tolerance: float
    built_with: BuiltWith
    files_bytes: int


@dataclass(frozen=True)
class CompiledArtifact:
    """A verified artifact folder, and the figures that are printed but not kept in it.

    ``support`` generic: the architecture is in no table. ``metric``: of the user's labelled examples.
    ``cached``: an earlier compile made it; the figures are that one's, ``seconds`` is this run's.
    ``packages``: those of the Python that compiled.
    """

    path: Path
    digest: str
    target: Target
    task: Task
    buckets: tuple[BucketReport, ...]
    parity: tuple[Figure, ...]
    coverage: Coverage | None
    waivers: tuple[Waiver, ...]
    seconds: float
    about: About
    verdicts: tuple[Verdict, ...]
    fillings: tuple[Filling, ...]
    support: Support = "listed"
    metric: Metric | None = None
    cached: bool = False
    packages: tuple[Package, ...] = ()
