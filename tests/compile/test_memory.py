"""As many buckets at once as cores and memory allow, whoever limits the memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifact.machine import Machine
from artifact.manifest import Task
from compile.jobs import ModelJob
from compile.memory import Sizes, parameters, tracing_bytes, tracing_width
from compile.request import parse_shape

GIB = 1024**3


def machine(
    base: Path, *, available: int = 32 * GIB, group: str = "0::/", files: dict[str, str] | None = None
) -> Machine:
    """A machine whose /proc and control groups are folders."""
    proc, groups = base / "proc", base / "groups"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable:  {available // 1024} kB\n")
    (proc / "self/cgroup").write_text(group + "\n")
    groups.mkdir()
    for name, text in (files or {}).items():
        (groups / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / name).write_text(text)
    return Machine(proc=proc, groups=groups)


def test_without_a_limit_the_machines_own_memory_counts(tmp_path: Path) -> None:
    """MemAvailable, not MemTotal."""
    assert machine(tmp_path).available_memory() == 32 * GIB


def test_a_containers_limit_counts_less_what_it_uses_and_not_its_page_cache(tmp_path: Path) -> None:
    """Version 2: the root of the mount is the container's own group."""
    files = {
        "memory.max": f"{8 * GIB}\n",
        "memory.current": f"{5 * GIB}\n",
        "memory.stat": f"anon 1\ninactive_file {2 * GIB}\n",
    }

    assert machine(tmp_path, files=files).available_memory() == 5 * GIB


def test_the_narrowest_of_nested_groups_decides(tmp_path: Path) -> None:
    """A slice may be limited while the unit in it is not."""
    files = {
        "a.slice/memory.max": str(4 * GIB),
        "a.slice/memory.current": str(GIB),
        "a.slice/b.service/memory.max": "max",
        "a.slice/b.service/memory.current": str(GIB),
    }

    assert machine(tmp_path, group="0::/a.slice/b.service", files=files).available_memory() == 3 * GIB


def test_version_1_groups_are_read_and_their_unlimited_value_is_none(tmp_path: Path) -> None:
    """Docker on an older host."""
    group = "5:memory:/job\n2:cpu,cpuacct:/job"
    files = {
        "memory/memory.limit_in_bytes": "9223372036854771712",
        "memory/memory.usage_in_bytes": "1",
        "memory/job/memory.limit_in_bytes": str(6 * GIB),
        "memory/job/memory.usage_in_bytes": str(GIB),
        "cpu/job/cpu.cfs_quota_us": "50000",
        "cpu/job/cpu.cfs_period_us": "100000",
    }
    limited = machine(tmp_path, group=group, files=files)

    assert limited.available_memory() == 5 * GIB
    assert limited.cores() == 1


def test_a_quota_limits_the_cores(tmp_path: Path) -> None:
    """Version 2: half a processor is still one child."""
    assert machine(tmp_path, files={"cpu.max": "50000 100000"}).cores() == 1
    assert machine(tmp_path / "free", files={"cpu.max": "max 100000"}).cores() >= 1


def test_where_nothing_is_known_memory_does_not_limit(tmp_path: Path) -> None:
    """Another system than Linux."""
    unknown = Machine(proc=tmp_path, groups=tmp_path)

    assert unknown.available_memory() is None
    assert tracing_width(10**15, 3, 3, unknown).buckets == 3


def test_memory_narrows_the_pool_and_says_so(tmp_path: Path) -> None:
    """Four wanted, three fit."""
    width = tracing_width(10 * GIB, 8, 4, machine(tmp_path))

    assert width.buckets == 3
    assert width.told == "tracing 3 of 8 buckets at a time: about 10.0 GiB each, 32.0 GiB available"


def test_one_bucket_is_tried_even_where_the_estimate_says_no(tmp_path: Path) -> None:
    """An estimate is no reason to refuse; the line explains the death that may follow."""
    width = tracing_width(64 * GIB, 8, 4, machine(tmp_path))

    assert width.buckets == 1
    assert width.told is not None
    assert "may not suffice" in width.told


@given(each=st.integers(1, 2**40), count=st.integers(1, 50), jobs=st.integers(1, 50))
def test_the_pool_is_never_wider_than_asked_needed_or_affordable(each: int, count: int, jobs: int) -> None:
    """And never empty."""
    here = Machine()
    width = tracing_width(each, count, jobs, here).buckets

    assert 1 <= width <= min(count, jobs)


def test_the_estimate_grows_with_weights_and_bucket_and_knows_half_precision(tmp_path: Path) -> None:
    """A float16 checkpoint has twice the parameters a byte."""
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model.safetensors").write_bytes(b"0" * 1000)
    model = make_job(tmp_path)
    small = tracing_bytes("inf1", model, parse_shape("1x16"))
    (tmp_path / "model.safetensors").write_bytes(b"0" * 5000)

    assert tracing_bytes("inf1", model, parse_shape("1x16")) == small + 12 * 4000
    assert tracing_bytes("inf1", model, parse_shape("8x128")) > small
    assert tracing_bytes("cpu", model, parse_shape("1x16")) < small
    assert parameters({"torch_dtype": "float16"}, 4000) == 2 * parameters({}, 4000)
    assert parameters({"dtype": "bfloat16"}, 4000) == 2000


def make_job(folder: Path) -> ModelJob:
    """A model in ``folder``, as far as memory is concerned."""
    return ModelJob(
        folder=str(folder),
        task="feature-extraction",
        auto_class="AutoModel",
        fields=("last_hidden_state",),
        outputs=("last_hidden_state",),
        token_level=True,
        choices=None,
        without_pooler=True,
        pooling="none",
        normalize=False,
        pad_token_id=0,
        seq2seq=False,
        max_target_length=None,
        num_beams=None,
    )


def _bytes(task: Task = "feature-extraction", choices: int | None = None, **config: int) -> int:
    sizes = Sizes.of({"model_type": "bert", **config}, task, choices)
    return sizes.activation_bytes(parse_shape("1x128"))


def test_the_activations_are_the_documented_sum() -> None:
    """BERT base, one row of 128 tokens."""
    assert _bytes() == 4 * 128 * (8 * 768 + 2 * 3072 + 2 * 12 * 128)


def test_candidates_and_a_vocabulary_count_where_the_task_has_them() -> None:
    """A row of multiple-choice is as many rows as it has candidates."""
    assert _bytes("multiple-choice", 4) == 4 * _bytes()
    assert _bytes("fill-mask", vocab_size=1000) == _bytes() + 4 * 128 * 1000
    assert _bytes(vocab_size=1000) == _bytes()


@pytest.mark.parametrize("key", ["hidden_size", "intermediate_size", "num_attention_heads"])
def test_the_configs_own_sizes_count(key: str) -> None:
    """The table's defaults are for what the config leaves unsaid."""
    assert _bytes(**{key: 9999}) > _bytes()  # type: ignore[arg-type]
