"""The options of the inf1 target as neuron-cc spells them, and what contradicts them.

Source of flags and values: aws-neuron/aws-neuron-sdk, compiler/neuron-cc/command-line-reference.rst.
``--fast-math none`` is not offered: it means ``fp32-cast-matmult-bf16 no-fast-relayout``, which
keeps three bits less than the default here (aws-neuron/aws-neuron-sdk#765). ``-O`` is not in that
reference; the vendor's own tutorials pass ``-O2`` (aws-neuron/aws-neuron-sdk#134).
"""

from __future__ import annotations

from artifact.errors import UsageError
from artifact.manifest import Compiler
from compile.request import CompileRequest, CompilerOptions

MAX_PIPELINE_CORES = 64
"""The NeuronCores of the largest Inf1 instance type. Source: neuroncore-pipeline.rst."""

OWNED = {
    "--fast-math": "--casting",
    "--fp32-cast": "--casting",
    "--neuroncore-pipeline-cores": "--pipeline-cores",
    "-O1": "--optimization",
    "-O2": "--optimization",
}
"""Flags of neuron-cc that have an option of their own. Said twice, the compiler picks one silently:
``--fp32-cast`` wins over ``--fast-math``."""


class ArgumentHasAnOption(UsageError):
    """A raw compiler argument says what a typed option says."""

    id = "argument-has-an-option"

    def __init__(self, *, argument: str, option: str) -> None:
        super().__init__(
            what=f"--compiler-arg {argument} cannot be used",
            why=f"`{option}` decides that, and the compiler would follow one of the two without a word",
            fix=f"leave the argument out and give `traceship compile {option}`",
        )


class CompilerOptionImpossible(UsageError):
    """A typed option has a value that no device or compiler takes."""

    id = "compiler-option-impossible"

    def __init__(self, *, option: str, value: str, allowed: str) -> None:
        super().__init__(
            what=f"{option} {value} cannot be used",
            why=f"it must be {allowed}",
            fix=f"give `traceship compile {option}` such a value, or leave it out",
        )


def check_options(options: CompilerOptions) -> None:
    """Refuse what contradicts itself or cannot be.

    Raises:
        ArgumentHasAnOption, CompilerOptionImpossible: see there.
    """
    for argument in options.arguments:
        option = OWNED.get(argument.partition("=")[0])
        if option is not None:
            raise ArgumentHasAnOption(argument=argument, option=option)
    if not 1 <= options.pipeline_cores <= MAX_PIPELINE_CORES:
        raise CompilerOptionImpossible(
            option="--pipeline-cores",
            value=str(options.pipeline_cores),
            allowed=f"from 1 to {MAX_PIPELINE_CORES}",
        )
    if options.max_partitions is not None and options.max_partitions < 1:
        raise CompilerOptionImpossible(
            option="--max-partitions", value=str(options.max_partitions), allowed="at least 1"
        )
    for operator in options.allowed_fallback:
        if not operator.replace("::", "", 1).isidentifier() or "::" not in operator:
            raise CompilerOptionImpossible(
                option="--allow-fallback", value=operator, allowed="an operator such as aten::embedding"
            )


def neuron_arguments(request: CompileRequest) -> tuple[str, ...]:
    """neuron-cc's arguments, raw ones last; none for the cpu target."""
    if request.target != "inf1":
        return ()
    options = request.compiler
    relayout = "fast-relayout" if options.fast_relayout else "no-fast-relayout"
    words = ["--fast-math", f"fp32-cast-{options.casting}", relayout]
    if options.pipeline_cores > 1:
        words += ["--neuroncore-pipeline-cores", str(options.pipeline_cores)]
    if options.optimization is not None:
        words.append(f"-O{options.optimization}")
    return (*words, *options.arguments)


def recorded(request: CompileRequest) -> Compiler | None:
    """The options as the manifest keeps them; ``None`` for the cpu target."""
    if request.target != "inf1":
        return None
    options = request.compiler
    return Compiler(
        casting=options.casting,
        fast_relayout=options.fast_relayout,
        optimization=options.optimization,
        pipeline_cores=options.pipeline_cores,
        dynamic_batch=options.dynamic_batch,
        separate_weights=options.separate_weights,
        min_coverage=options.min_coverage,
        max_partitions=options.max_partitions,
        allowed_fallback=tuple(sorted(options.allowed_fallback)),
    )
