"""How many copies an instance holds, and what is refused before hours of compiling."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compile.capacity import (
    BucketsDoNotFitDevice,
    Footprint,
    Host,
    NoDeviceNeeded,
    capacity,
    check_device,
    chip,
    device_bytes,
    footprint,
)
from compile.memory import Sizes
from compile.request import CompilerOptions, parse_shape
from compile.source import resolve
from tests.compile.world import make_request

GIB = 1024**3
BERT = 110_000_000
XLARGE = Host(name="inf1.xlarge", chips=1, memory_bytes=6 * GIB)
LARGEST = Host(name="inf1.24xlarge", chips=16, memory_bytes=144 * GIB)


def _needs(*, cores: int = 1, device: int = GIB, host: int = GIB) -> Footprint:
    return Footprint(cores=cores, device_bytes=device, host_bytes=host)


def _activations(length: int) -> int:
    return Sizes.of({"model_type": "bert"}, "feature-extraction", None).activation_bytes(
        parse_shape(f"1x{length}")
    )


def test_a_small_model_takes_every_core() -> None:
    """One copy a NeuronCore."""
    found = capacity(_needs(), XLARGE)

    assert (found.replicas, found.cores_used, found.neuron_cores) == (4, 4, 4)
    assert found.reason == "limited by its 4 NeuronCores"


def test_device_memory_leaves_cores_idle() -> None:
    """The chip's 8 GiB are shared by its four cores."""
    found = capacity(_needs(device=3 * GIB), XLARGE)

    assert (found.replicas, found.cores_used) == (2, 2)
    assert found.reason == "limited by device memory"


def test_host_memory_limits_where_it_is_scarce() -> None:
    """Each copy is a process with its own memory."""
    found = capacity(_needs(host=2 * GIB), XLARGE)

    assert found.replicas == 3
    assert found.host_bytes == 6 * GIB
    assert found.reason == "limited by host memory"


def test_a_pipeline_over_several_chips_takes_them_whole() -> None:
    """Six cores are two chips; eight copies on sixteen chips."""
    found = capacity(_needs(cores=6, device=12 * GIB), LARGEST)

    assert (found.replicas, found.cores_used, found.device_bytes_per_core) == (8, 48, 2 * GIB)


def test_what_does_not_fit_says_everything_that_is_lacking() -> None:
    """Not only the first."""
    found = capacity(_needs(cores=8, device=20 * GIB, host=9 * GIB), XLARGE)

    assert not found.fits
    assert found.replicas == 0
    assert "needs 8 NeuronCores, there are 4" in found.reason
    assert "20.0 GiB of device memory" in found.reason
    assert "9.0 GiB of host memory" in found.reason


@given(
    cores=st.integers(1, 64),
    device=st.integers(1, 200 * GIB),
    host=st.integers(1, 200 * GIB),
    chips=st.integers(1, 16),
    memory=st.integers(1, 200 * GIB),
)
def test_no_plan_uses_more_than_there_is(cores: int, device: int, host: int, chips: int, memory: int) -> None:
    """Cores, device memory and host memory, of any model on any instance."""
    found = capacity(_needs(cores=cores, device=device, host=host), Host("x", chips, memory))

    assert found.cores_used <= 4 * chips
    assert found.replicas * host <= memory
    assert found.replicas * device <= chips * chip().memory_bytes
    assert found.fits == (found.replicas > 0)


def test_the_estimate_agrees_with_the_vendors_rule_of_thumb() -> None:
    """About 1e9 / parameters buckets a core of 2 GiB: nine for BERT base."""
    each = device_bytes(BERT, [_activations(128)])

    assert 2 * GIB // each in (8, 9)


def test_buckets_that_no_chip_can_hold_are_refused_with_the_pipeline_that_could() -> None:
    """Before anything is compiled."""
    activations = [_activations(length) for length in range(16, 512, 8)]

    with pytest.raises(BucketsDoNotFitDevice) as refused:
        check_device(BERT, activations, cores=1)

    assert "`traceship compile --pipeline-cores 8`" in refused.value.fix
    check_device(BERT, activations, cores=8)


def test_preflight_asks_for_inf1_only(tiny_bert: Path, tmp_path: Path) -> None:
    """The host's memory is the cpu target's only limit, and that is the stacks' question."""
    from compile.preflight import plan

    config = json.loads((tiny_bert / "config.json").read_text())
    folder = tmp_path / "wide"
    folder.mkdir()
    for file in tiny_bert.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 2**28}))

    with pytest.raises(BucketsDoNotFitDevice):
        plan(make_request(folder, tmp_path / "out", "8x64", target="inf1"), resolve(str(folder)))
    plan(make_request(folder, tmp_path / "out", "8x64"), resolve(str(folder)))


def test_preflight_refuses_impossible_compiler_options(tiny_bert: Path, tmp_path: Path) -> None:
    """They are checked where every other option is."""
    from compile.compiler_options import CompilerOptionImpossible
    from compile.preflight import plan

    request = make_request(
        tiny_bert, tmp_path / "out", target="inf1", compiler=CompilerOptions(pipeline_cores=0)
    )

    with pytest.raises(CompilerOptionImpossible):
        plan(request, resolve(str(tiny_bert)))


def test_an_artifact_for_the_cpu_has_no_footprint_on_the_device(tmp_path: Path) -> None:
    """The command says which target it is for."""
    from artifact.verify import verify
    from tests.kit.folders import CONTENT, write_folder

    write_folder(tmp_path, CONTENT)

    with pytest.raises(NoDeviceNeeded, match="cpu"):
        footprint(verify(tmp_path))
