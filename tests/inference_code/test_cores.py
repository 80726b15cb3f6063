"""How many workers there are, and what each may use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from artifact.machine import Machine
from artifact.manifest import Compiler, Manifest, Requires
from inference_code.graphs import Graphs
from inference_code.load import LoadedModel
from inference_code.option_values import OptionInvalid
from inference_code.workers import threads
from inference_code.workers.cores import (
    Share,
    TooFewCores,
    allotted,
    neuron_cores,
    shares,
    threads_asked,
    visible,
)
from inference_code.workers.threads import best_threads
from tests.kit.folders import manifest_of

GIGABYTE = 1 << 30


def _manifest(*, target: str = "inf1", pipeline: int = 1, memory: int = GIGABYTE) -> Manifest:
    plain = manifest_of({})
    requires = msgspec.structs.replace(plain.requires, target=target, memory_bytes=memory)
    assert isinstance(requires, Requires)
    compiler = Compiler(
        casting="matmult-fp16",
        fast_relayout=False,
        optimization=None,
        pipeline_cores=pipeline,
        dynamic_batch=False,
        separate_weights=False,
        min_coverage=90.0,
        max_partitions=None,
        allowed_fallback=(),
    )
    return msgspec.structs.replace(plain, requires=requires, compiler=compiler)


class _Machine(Machine):
    def __init__(self, cores: int, memory: int) -> None:
        super().__init__()
        object.__setattr__(self, "_found", (cores, memory))

    def cores(self) -> int:
        return int(self._found[0])  # type: ignore[attr-defined]

    def available_memory(self) -> int:
        return int(self._found[1])  # type: ignore[attr-defined]


def _cores(share: Share) -> list[int]:
    return [int(core) for core in share.cores.split(",")]


@given(st.integers(1, 16), st.integers(1, 64))
def test_each_worker_gets_neuron_cores_of_its_own(pipeline: int, cores: int) -> None:
    """As many whole groups as there are, each core in one of them at most."""
    if cores < pipeline:
        with pytest.raises(TooFewCores) as refused:
            shares(_manifest(pipeline=pipeline), cores=range(cores), here=_Machine(8, 1000 * GIGABYTE))
        assert refused.value.exit_code == 2
        return
    found = shares(_manifest(pipeline=pipeline), cores=range(cores), here=_Machine(8, 1000 * GIGABYTE))

    given_out = [core for share in found for core in _cores(share)]
    assert len(found) == cores // pipeline
    assert len(set(given_out)) == len(given_out) == len(found) * pipeline
    assert set(given_out) <= set(range(cores))
    assert {share.environ["NEURON_RT_NUM_CORES"] for share in found} == {str(pipeline)}


def test_the_hosts_memory_limits_the_workers_on_neuron_cores() -> None:
    """Each holds a copy of the graphs in the host, too; one is tried in any case."""
    for memory, expected in ((100, 4), (3, 2), (0, 1)):
        here = _Machine(8, memory * GIGABYTE)
        assert len(shares(_manifest(), cores=range(4), here=here)) == expected


def test_more_workers_than_cores_are_refused() -> None:
    """Two processes on one core end in a runtime error that names neither."""
    with pytest.raises(TooFewCores, match="5 workers"):
        shares(_manifest(), 5, cores=range(4), here=Machine())


def test_without_a_device_there_is_nothing_to_serve_on(tmp_path: Path) -> None:
    """A container that was given no /dev/neuron."""
    with pytest.raises(TooFewCores, match="0 may be used"):
        shares(_manifest(), cores=neuron_cores({}, tmp_path), here=Machine())


def test_a_device_is_a_chip_of_four_cores(tmp_path: Path) -> None:
    """Other names in the folder are no chips."""
    for name in ("neuron0", "neuron1", "neuron10", "neuron_x", "null"):
        (tmp_path / name).touch()

    assert neuron_cores({}, tmp_path) == tuple(range(12))


def test_the_runtimes_own_variables_limit_what_is_used(tmp_path: Path) -> None:
    """Somebody else may have the other cores."""
    assert neuron_cores({"NEURON_RT_NUM_CORES": "2"}, tmp_path) == (0, 1)
    assert neuron_cores({"NEURON_RT_VISIBLE_CORES": "4-6,9", "NEURON_RT_NUM_CORES": "1"}, tmp_path) == (
        4,
        5,
        6,
        9,
    )


@given(st.sets(st.integers(0, 63), min_size=1))
def test_lists_of_cores_are_read_as_they_are_written(cores: set[int]) -> None:
    """Also what we write for a worker ourselves."""
    assert visible(",".join(map(str, sorted(cores)))) == tuple(sorted(cores))


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "3-1", "64", "1,,2", "٣", "1-2-3", "0-999999999"])
def test_what_is_no_list_of_cores_is_refused(text: str) -> None:
    """Naming the variable."""
    with pytest.raises(OptionInvalid, match="NEURON_RT_VISIBLE_CORES"):
        visible(text)


def test_a_number_of_cores_must_be_one() -> None:
    """The older variable."""
    with pytest.raises(OptionInvalid, match="NEURON_RT_NUM_CORES"):
        neuron_cores({"NEURON_RT_NUM_CORES": "many"})


@pytest.mark.parametrize(
    ("cores", "memory", "asked", "expected"),
    [
        (2, 100, None, [1, 1]),
        (8, 100, None, [1] * 8),
        (8, 3, None, [4, 4]),
        (8, 0, None, [8]),
        (8, 100, 2, [4, 4]),
        (2, 100, 4, [1] * 4),
    ],
)
def test_processors_are_shared_out_as_far_as_memory_allows(
    cores: int, memory: int, asked: int | None, expected: list[int]
) -> None:
    """Threads of each worker; memory in gigabytes, of which a copy of the model takes one."""
    here = _Machine(cores, memory * GIGABYTE)

    found = shares(_manifest(target="cpu"), asked, cores=(), here=here)

    assert [share.threads for share in found] == expected
    assert all(share.pack and not share.cores for share in found)


def test_the_number_of_threads_may_be_given() -> None:
    """By the variable that torch itself goes by."""
    assert threads_asked({}) is None
    asked = threads_asked({"OMP_NUM_THREADS": "3"})
    found = shares(_manifest(target="cpu"), 1, cores=(), here=_Machine(8, GIGABYTE), threads=asked)
    assert [share.threads for share in found] == [3]
    with pytest.raises(OptionInvalid, match="OMP_NUM_THREADS"):
        threads_asked({"OMP_NUM_THREADS": "all"})


@pytest.mark.parametrize(
    ("seconds", "chosen"), [({1: 1.0, 4: 0.5}, 4), ({1: 1.0, 4: 0.95}, 1), ({1: 1.0, 4: 3.0}, 1)]
)
def test_more_threads_are_used_where_they_are_faster(
    models: Callable[..., LoadedModel],
    monkeypatch: pytest.MonkeyPatch,
    seconds: dict[int, float],
    chosen: int,
) -> None:
    """By a tenth at least; torch is left with what was chosen."""
    model = models()
    monkeypatch.setattr(threads, "_seconds", lambda *_: seconds[torch.get_num_threads()])
    try:
        assert best_threads(Graphs(model.manifest, model.graphs), 4) == chosen
        assert torch.get_num_threads() == chosen
    finally:
        torch.set_num_threads(1)


def test_a_graph_that_raises_keeps_one_thread(models: Callable[..., LoadedModel]) -> None:
    """It is the self-check that says why."""

    def raising(*_inputs: object) -> None:
        raise RuntimeError

    model = models()
    broken: Any = dict.fromkeys(model.graphs, raising)

    assert best_threads(Graphs(model.manifest, broken), 4) == 1


def test_only_an_accelerator_gets_its_next_batch_early() -> None:
    """On the CPU a later batch is a better one, and the host's work is not saved."""
    (on_cpu,) = shares(_manifest(target="cpu"), 1, cores=(), here=Machine())
    (on_inf1,) = shares(_manifest(), 1, cores=(0,), here=Machine())

    assert (on_cpu.slots, on_inf1.slots) == (1, 2)


def test_several_artifacts_never_share_a_neuron_core() -> None:
    """Those that ask get what they ask for, the others divide the rest; the CPU takes none."""
    wanted = [
        (_manifest(pipeline=2), 1),
        (_manifest(), None),
        (_manifest(target="cpu"), None),
        (_manifest(), None),
    ]

    found = allotted(wanted, cores=range(8), here=_Machine(4, 8 * GIGABYTE))

    assert [[_cores(share) for share in mine if share.cores] for mine in found] == [
        [[0, 1]],
        [[2], [3], [4]],
        [],
        [[5], [6], [7]],
    ]
    assert found[2]


def test_more_cores_than_there_are_cannot_be_allotted() -> None:
    """Neither by those that name a number nor by those that take the rest."""
    for wanted in ([(_manifest(), 5)], [(_manifest(), 4), (_manifest(), None)]):
        with pytest.raises(TooFewCores):
            allotted(wanted, cores=range(4), here=Machine())


def test_processors_and_memory_are_divided_by_the_artifacts() -> None:
    """Each as if it had a part of the machine."""
    found = allotted([(_manifest(target="cpu"), None)] * 2, cores=(), here=_Machine(8, 100 * GIGABYTE))

    assert [len(mine) for mine in found] == [4, 4]
