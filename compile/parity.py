"""The gate: nothing is packaged that ``prove`` has not seen agree with the untraced model.

Measured in another process (``comparison.py``) on the files as they were saved; judged here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from artifact.canonical import encode
from artifact.errors import ProofFailed, UsageError
from artifact.manifest import PARITY, Coverage, Parity, Record, Tier, Waiver
from compile.backends.coverage import shortfall
from compile.buckets import TracedModel
from compile.children import run
from compile.jobs import BucketFile, CompareJob, CompareResult, Filling, ModelJob, Verdict
from compile.preflight import WAIVABLE, Plan
from compile.request import TOLERANCES, CompileRequest, CompilerOptions, Figure, Metric, Workplace

SCHEMA = "traceship.parity/1"
_SEAL = object()


class ParityFailed(ProofFailed):
    """The traced graphs do not answer as the untraced model does."""

    id = "parity-failed"

    def __init__(self, *, failed: Iterable[Verdict]) -> None:
        verdicts = tuple(failed)
        first = verdicts[0]
        more = f" (and {len(verdicts) - 1} more)" if len(verdicts) > 1 else ""
        super().__init__(
            what=f"bucket {first.bucket} failed the {first.gate} gate{more}",
            why="; ".join(f"{v.bucket} {v.gate}: {v.why}" for v in verdicts[:4]),
            fix=_way_out(first.gate),
        )
        self.failed = verdicts


def _way_out(gate: str) -> str:
    if gate in WAIVABLE:
        return f'nothing was written; correct the model, or accept it with `--waive {gate}="why"`'
    return "nothing was written; correct the model, or choose a looser `--tier` if the target rounds"


class NothingCompared(ProofFailed):
    """A proof without a single comparison. An empty proof is not a proof."""

    id = "nothing-compared"

    def __init__(self) -> None:
        super().__init__(
            what="the parity gate compared nothing",
            why="there was no bucket or no verdict",
            fix="ask for at least one `--bucket`",
        )


class WaiverNotNeeded(UsageError):
    """A waiver for a gate that passed: it would be recorded as a weakness that is not there."""

    id = "waiver-not-needed"

    def __init__(self, *, gate: str) -> None:
        super().__init__(
            what=f"the waiver for {gate} is not needed",
            why="every bucket passed that gate",
            fix=f"leave `--waive {gate}=…` out",
        )


class Proof(Record, frozen=True, kw_only=True):
    """A verdict as kept in the folder: without the figures that ``Verdict.why`` tells people."""

    gate: str
    bucket: str
    passed: bool
    compared: int


class ParityRecord(Record, frozen=True, kw_only=True):
    """parity.json: verdicts only. Raw differences differ between machines and stay outside."""

    schema: str = SCHEMA
    tier: Tier
    tolerance: float
    proofs: tuple[Proof, ...]
    waivers: tuple[Waiver, ...]


@dataclass(frozen=True)
class ProvenModel:
    """A traced model that passed. Made by ``prove`` alone; ``package`` accepts nothing else.

    ``verdicts`` and ``fillings``, one of each bucket, are for the report only.
    """

    traced: TracedModel
    parity: Parity
    figures: tuple[Figure, ...]
    waivers: tuple[Waiver, ...]
    mask_token_id: int | None
    metric: Metric | None
    verdicts: tuple[Verdict, ...] = ()
    fillings: tuple[Filling, ...] = ()
    seal: object = field(repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        if self.seal is not _SEAL:
            raise TypeError("only parity.prove makes a ProvenModel")


def prove(
    traced: TracedModel, request: CompileRequest, plan: Plan, model: ModelJob, place: Workplace
) -> ProvenModel:
    """Compare every saved bucket with the untraced model; write golden.json and parity.json.

    Raises:
        ParityFailed: a gate failed and has no waiver.
        NothingCompared: there was nothing to compare.
        BucketTooShort, TokenizerMissing: see there.
        ChildFailed: the comparing process crashed.
    """
    tier = request.resolved_tier
    tolerance = TOLERANCES[tier]
    job = make_job(traced, request, plan, model, tolerance)
    answer = run(
        "compile.comparison", job, CompareResult, folder=place.scratch, name="comparison", timeout=None
    )
    verdicts = answer.result.verdicts + _coverage_verdicts(traced, request)
    waivers = judge(verdicts, request.waivers)
    proofs = tuple(
        Proof(gate=v.gate, bucket=v.bucket, passed=v.passed, compared=v.compared) for v in verdicts
    )
    record = ParityRecord(tier=tier, tolerance=tolerance, proofs=proofs, waivers=waivers)
    (place.staging / PARITY).write_bytes(encode(record))
    figures = tuple(
        Figure(
            bucket=found.bucket,
            output=found.output,
            max_abs=found.max_abs,
            mean_abs=found.mean_abs,
            min_cosine=found.min_cosine,
            compared=found.compared,
            histogram=found.histogram,
        )
        for found in answer.result.figures
    )
    compared = sum(figure.compared for figure in figures)
    parity = Parity(tier=tier, tolerance=tolerance, compared=compared)
    return ProvenModel(
        traced=traced,
        parity=parity,
        figures=figures,
        waivers=waivers,
        mask_token_id=answer.result.mask_token_id,
        metric=answer.result.metric,
        verdicts=verdicts,
        fillings=answer.result.fillings,
        seal=_SEAL,
    )


def judge(verdicts: tuple[Verdict, ...], waivers: tuple[Waiver, ...]) -> tuple[Waiver, ...]:
    """Fail unless every verdict passed or is waived; return the waivers, sorted by gate.

    Raises:
        ParityFailed, NothingCompared, WaiverNotNeeded: see there.
    """
    if not verdicts:
        raise NothingCompared()
    waived = {waiver.gate for waiver in waivers}
    failed = tuple(verdict for verdict in verdicts if not verdict.passed)
    unforgiven = tuple(verdict for verdict in failed if verdict.gate not in waived)
    if unforgiven:
        raise ParityFailed(failed=unforgiven)
    for gate in sorted(waived - {verdict.gate for verdict in failed}):
        raise WaiverNotNeeded(gate=gate)
    return tuple(sorted(waivers, key=lambda waiver: waiver.gate))


def _coverage_verdicts(traced: TracedModel, request: CompileRequest) -> tuple[Verdict, ...]:
    """The coverage gate, which stopped the compile already unless it is waived."""
    if request.target != "inf1":
        return ()
    return tuple(_coverage_verdict(b.coverage, request.compiler, b.shape.name) for b in traced.buckets)


def _coverage_verdict(coverage: Coverage | None, policy: CompilerOptions, bucket: str) -> Verdict:
    if coverage is None:
        why = "an adopted trace does not say what runs on the device"
        return Verdict(gate="coverage", bucket=bucket, passed=False, compared=0, why=why)
    broken = shortfall(coverage, policy, bucket)
    told = f"{coverage.percent:g} % of operators on the device, {coverage.partitions} subgraphs"
    return Verdict(
        gate="coverage",
        bucket=bucket,
        passed=broken is None,
        compared=coverage.total,
        why=told if broken is None else f"{told}: {broken.why}",
    )


def make_job(
    traced: TracedModel, request: CompileRequest, plan: Plan, model: ModelJob, tolerance: float
) -> CompareJob:
    """What the comparing child is told."""
    return CompareJob(
        model=model,
        target=request.target,
        staging=str(traced.staging),
        buckets=tuple(
            BucketFile(batch=b.shape.batch, length=b.shape.length, path=b.path, decoder=b.decoder)
            for b in traced.buckets
        ),
        weights=traced.weights,
        inputs=tuple(tensor.name for tensor in traced.inputs),
        generation=traced.generation,
        labels=plan.labels,
        problem_type=plan.problem_type,
        samples=None if request.samples is None else str(request.samples.absolute()),
        tier=request.resolved_tier,
        tolerance=tolerance,
    )
