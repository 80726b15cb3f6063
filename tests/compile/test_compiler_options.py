"""The typed options reach neuron-cc in its own words, and the arithmetic chooses the tier."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifact.manifest import Casting, Tier
from compile.compiler_options import (
    ArgumentHasAnOption,
    CompilerOptionImpossible,
    check_options,
    neuron_arguments,
    recorded,
)
from compile.request import CompileRequest, CompilerOptions
from tests.compile.world import make_request

_OPTIONS = st.builds(
    CompilerOptions,
    casting=st.sampled_from(get_args(Casting)),
    fast_relayout=st.booleans(),
    optimization=st.sampled_from([None, 2]),
    pipeline_cores=st.integers(1, 64),
    dynamic_batch=st.booleans(),
)


def _request(compiler: CompilerOptions, target: str = "inf1") -> CompileRequest:
    return make_request("m", Path("out"), "1x16", target=target, compiler=compiler)


def test_the_defaults_are_the_most_accurate_that_the_compiler_has() -> None:
    """Its own default rounds everything to bfloat16 and transposes with loss."""
    assert neuron_arguments(_request(CompilerOptions())) == (
        "--fast-math",
        "fp32-cast-matmult-fp16",
        "no-fast-relayout",
    )


def test_every_option_is_spelt_as_the_compilers_reference_spells_it() -> None:
    """Raw arguments come last."""
    options = CompilerOptions(
        arguments=("--enable-saturate-infinity",),
        casting="all",
        fast_relayout=True,
        optimization=2,
        pipeline_cores=4,
    )

    words = " ".join(neuron_arguments(_request(options)))

    assert words == (
        "--fast-math fp32-cast-all fast-relayout --neuroncore-pipeline-cores 4 -O2 --enable-saturate-infinity"
    )


def test_a_cpu_compile_has_no_compiler() -> None:
    """No argument, and nothing in the manifest."""
    request = _request(CompilerOptions(casting="all", dynamic_batch=True), target="cpu")

    assert neuron_arguments(request) == ()
    assert recorded(request) is None
    assert request.resolved_tier == "cpu"


@pytest.mark.parametrize(
    ("options", "tier"),
    [
        (CompilerOptions(), "neuron-no-cast"),
        (CompilerOptions(fast_relayout=True), "neuron-default"),
        (CompilerOptions(casting="matmult"), "neuron-default"),
        (CompilerOptions(casting="matmult-bf16"), "neuron-default"),
        (CompilerOptions(casting="all-fp16"), "neuron-default"),
        (CompilerOptions(casting="all"), "neuron-default"),
    ],
)
def test_the_tier_follows_the_casting(options: CompilerOptions, tier: Tier) -> None:
    """Strict only where the matrices alone are rounded, and those to float16."""
    assert _request(options).resolved_tier == tier


@pytest.mark.parametrize(
    "argument", ["--fast-math", "--fast-math=none", "--fp32-cast", "--neuroncore-pipeline-cores=2", "-O2"]
)
def test_a_raw_argument_that_an_option_owns_is_refused_with_that_option(argument: str) -> None:
    """The compiler would follow one of the two silently."""
    with pytest.raises(ArgumentHasAnOption) as refused:
        check_options(CompilerOptions(arguments=(argument,)))

    assert "`traceship compile --" in refused.value.fix


@pytest.mark.parametrize(
    "options",
    [
        CompilerOptions(pipeline_cores=0),
        CompilerOptions(pipeline_cores=65),
        CompilerOptions(max_partitions=0),
        CompilerOptions(allowed_fallback=("embedding",)),
        CompilerOptions(allowed_fallback=("aten::embedding", "aten::a b")),
    ],
)
def test_a_value_that_cannot_be_is_refused(options: CompilerOptions) -> None:
    """Before anything is compiled."""
    with pytest.raises(CompilerOptionImpossible):
        check_options(options)


@given(_OPTIONS)
def test_the_arguments_never_contradict_each_other(options: CompilerOptions) -> None:
    """One casting, one relayout, and the manifest says the same."""
    words = neuron_arguments(_request(options))
    kept = recorded(_request(options))

    check_options(options)
    assert sum(word.startswith("fp32-cast-") for word in words) == 1
    assert sum(word.endswith("fast-relayout") for word in words) == 1
    assert kept is not None
    assert f"fp32-cast-{kept.casting}" in words
    assert ("--neuroncore-pipeline-cores" in words) == (kept.pipeline_cores > 1)
