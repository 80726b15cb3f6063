"""The coverage gate: is enough of a bucket on the device? torch_neuron itself only warns.

Asked twice with one answer: while tracing, to stop early, and by ``parity.prove``, which records
the verdict and knows the waivers.
"""

from __future__ import annotations

from artifact.errors import ProofFailed
from artifact.manifest import Coverage
from compile.request import CompilerOptions


class CoverageTooLow(ProofFailed):
    """Fewer operators than the policy asks for would run on the device."""

    id = "coverage-too-low"

    def __init__(self, *, bucket: str, coverage: Coverage, minimum: float) -> None:
        super().__init__(
            what=f"only {coverage.percent:.1f} % of the operators of bucket {bucket} run on the device",
            why=f"at least {minimum:g} % must; on the CPU instead: {_named(coverage.fallback)}",
            fix=f"lower it with `traceship compile --min-coverage {int(coverage.percent)}`, "
            'or accept it with `traceship compile --waive coverage="why"`',
        )


class TooManyPartitions(ProofFailed):
    """The model was cut into more pieces than the policy allows; each border is a copy to the host."""

    id = "too-many-partitions"

    def __init__(self, *, bucket: str, coverage: Coverage, maximum: int) -> None:
        super().__init__(
            what=f"the compiler cut bucket {bucket} into {coverage.partitions} subgraphs",
            why=f"at most {maximum} are allowed; cut at operators on the CPU: {_named(coverage.fallback)}",
            fix=f"allow them with `traceship compile --max-partitions {coverage.partitions}`, "
            'or accept it with `traceship compile --waive coverage="why"`',
        )


class FallbackNotAllowed(ProofFailed):
    """An operator would run on the CPU that the policy does not name."""

    id = "fallback-not-allowed"

    def __init__(self, *, bucket: str, operators: tuple[str, ...], allowed: tuple[str, ...]) -> None:
        super().__init__(
            what=f"in bucket {bucket} operators run on the CPU that must not: {', '.join(operators)}",
            why=f"the policy allows {', '.join(allowed)} there and nothing else",
            fix=f"allow them with `traceship compile --allow-fallback {operators[0]}`, "
            'or accept it with `traceship compile --waive coverage="why"`',
        )


def shortfall(coverage: Coverage, policy: CompilerOptions, bucket: str) -> ProofFailed | None:
    """The first rule of the policy that the bucket breaks, as the error to be raised."""
    if coverage.percent < policy.min_coverage:
        return CoverageTooLow(bucket=bucket, coverage=coverage, minimum=policy.min_coverage)
    if policy.max_partitions is not None and coverage.partitions > policy.max_partitions:
        return TooManyPartitions(bucket=bucket, coverage=coverage, maximum=policy.max_partitions)
    others = tuple(name for name in coverage.fallback if name not in policy.allowed_fallback)
    if policy.allowed_fallback and others:
        return FallbackNotAllowed(bucket=bucket, operators=others, allowed=policy.allowed_fallback)
    return None


def _named(operators: tuple[str, ...]) -> str:
    return ", ".join(operators) or "not named"
