"""``traceship capacity``: a table for people, figures for scripts."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from artifact.manifest import Compiler
from tests.kit.command import traceship
from tests.kit.folders import CONTENT, manifest_of, write_folder


@pytest.fixture
def inf1_artifact(tmp_path: Path) -> Path:
    """An artifact by the book that says it was compiled for Inf1, spread over two cores."""
    manifest = manifest_of(CONTENT)
    requires = msgspec.structs.replace(
        manifest.requires, target="inf1", instance_families=("inf1",), memory_bytes=2 * 1024**3
    )
    compiler = Compiler(
        casting="matmult-fp16",
        fast_relayout=False,
        optimization=None,
        pipeline_cores=2,
        dynamic_batch=False,
        separate_weights=False,
        min_coverage=90.0,
        max_partitions=None,
        allowed_fallback=(),
    )
    changed = msgspec.structs.replace(manifest, requires=requires, compiler=compiler)
    write_folder(tmp_path / "artifact", CONTENT, changed)
    return tmp_path / "artifact"


def test_every_inf1_type_has_a_row(inf1_artifact: Path) -> None:
    """Copies, cores in use, memory and what limits them."""
    answer = traceship("capacity", inf1_artifact, "--json", cwd=inf1_artifact.parent)

    found = {row["instance_type"]: row for row in answer.json["instances"]}
    assert list(found) == ["inf1.xlarge", "inf1.2xlarge", "inf1.6xlarge", "inf1.24xlarge"]
    assert [row["replicas"] for row in found.values()] == [2, 2, 8, 32]
    assert [row["neuron_cores"] for row in found.values()] == [4, 4, 16, 64]
    assert found["inf1.24xlarge"]["cores_used"] == 64
    assert found["inf1.xlarge"]["host_bytes_usable"] == 6 * 1024**3


def test_one_type_can_be_asked_for_by_either_name(inf1_artifact: Path) -> None:
    """SageMaker calls it ml.TYPE."""
    for name in ("inf1.xlarge", "ml.inf1.xlarge"):
        answer = traceship("capacity", inf1_artifact, "--instance-type", name, cwd=inf1_artifact.parent)

        assert answer.code == 0
        assert "inf1.xlarge" in answer.stdout
        assert "limited by its 4 NeuronCores" in answer.stdout
        assert "inf1.24xlarge" not in answer.stdout


def test_a_type_without_neuron_cores_is_refused(inf1_artifact: Path) -> None:
    """With the ones that have them."""
    answer = traceship("capacity", inf1_artifact, "--instance-type", "c5.large", cwd=inf1_artifact.parent)

    assert answer.code == 2
    assert "inf1.6xlarge" in answer.stderr


def test_a_cpu_artifact_has_no_capacity(tmp_path: Path) -> None:
    """It runs anywhere with memory."""
    write_folder(tmp_path / "artifact", CONTENT)

    answer = traceship("capacity", tmp_path / "artifact", cwd=tmp_path)

    assert answer.code == 2
    assert "--target inf1" in answer.stderr
