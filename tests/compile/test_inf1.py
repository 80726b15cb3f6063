"""The inf1 target against a double of torch_neuron: its own process, its own failures."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from artifact.graphs import GraphUnreadable, load_graph
from artifact.verify import verify
from compile.backends.inf1 import SEPARATE_WEIGHTS_ABOVE, trace_keywords
from compile.backends.protocol import TraceOptions
from tests.neuron_double import FOLDER

_ROOT = Path(__file__).resolve().parents[2]


def _compile(model: Path, out: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    words = ["--model", str(model), "--task", "text-classification", "--target", "inf1", "--out", str(out)]
    path = os.pathsep.join([str(FOLDER), str(_ROOT)])
    return subprocess.run(
        [sys.executable, "-m", "compile", *words, "--bucket", "2x16", "--json", *options],
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def _error(finished: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(finished.stderr.splitlines()[-1])
    return told


def test_an_inf1_artifact_passes_its_tier_and_says_what_it_requires(
    tiny_classifier: Path, tmp_path: Path
) -> None:
    """Half-precision differences, coverage, versions; and only the vendor's torch loads its graphs."""
    finished = _compile(tiny_classifier, tmp_path / "out")

    assert finished.returncode == 0, finished.stderr
    printed = json.loads(finished.stdout)
    found = verify(tmp_path / "out", digest=printed["digest"])
    assert 1e-5 < printed["parity"][0]["max_abs"] <= 1e-3
    assert found.manifest.parity.tier == "neuron-no-cast"
    assert found.manifest.compiler_args == ("--fast-math", "fp32-cast-matmult-fp16", "no-fast-relayout")
    assert printed["coverage"]["fallback"] == ["aten::embedding"]
    assert found.manifest.coverage is not None
    assert 90 < found.manifest.coverage.percent < 100
    assert found.manifest.weights is None
    requires = found.manifest.requires
    assert requires.instance_families == ("inf1",)
    assert (requires.torch, requires.torch_neuron) == ("1.13.1", "1.13.1.2.11.13.0")
    assert requires.neuron_driver == "2.24"
    assert found.manifest.built_with.neuron_cc == "1.24.0.0"
    with pytest.raises(GraphUnreadable, match="neuron::forward_1"):
        load_graph(found.take("graphs/b2_s16.pt"), None)


def test_bfloat16_is_held_to_its_own_tier_and_the_manifest_says_what_was_asked(
    tiny_classifier: Path, tmp_path: Path
) -> None:
    """Casting, pipeline and policy are part of what the artifact is."""
    options = ("--casting", "matmult-bf16", "--pipeline-cores", "2", "--max-partitions", "3")
    finished = _compile(tiny_classifier, tmp_path / "out", *options, "--allow-fallback", "aten::embedding")

    assert finished.returncode == 0, finished.stderr
    manifest = verify(tmp_path / "out").manifest
    assert manifest.parity.tier == "neuron-default"
    assert json.loads(finished.stdout)["parity"][0]["max_abs"] > 1e-4
    assert manifest.compiler is not None
    assert (manifest.compiler.casting, manifest.compiler.pipeline_cores) == ("matmult-bf16", 2)
    assert manifest.compiler.allowed_fallback == ("aten::embedding",)
    assert (manifest.compiler.min_coverage, manifest.compiler.max_partitions) == (90.0, 3)
    assert manifest.compiler_args[-2:] == ("--neuroncore-pipeline-cores", "2")


@pytest.mark.parametrize(
    ("policy", "error"),
    [
        (("--allow-fallback", "aten::Int"), "fallback-not-allowed"),
        (("--compiler-arg=--fp32-cast",), "argument-has-an-option"),
    ],
)
def test_the_policy_and_the_options_are_checked_by_the_command(
    tiny_classifier: Path, tmp_path: Path, policy: tuple[str, ...], error: str
) -> None:
    """Nothing is written."""
    finished = _compile(tiny_classifier, tmp_path / "out", *policy)

    assert _error(finished)["id"] == error
    assert list(tmp_path.iterdir()) == []


def test_a_waiver_of_coverage_covers_the_whole_policy(tiny_classifier: Path, tmp_path: Path) -> None:
    """And is needed: the recorded verdict is that of the rule that failed."""
    finished = _compile(
        tiny_classifier, tmp_path / "out", "--allow-fallback", "aten::Int", "--waive", "coverage=known"
    )

    assert finished.returncode == 0, finished.stderr
    assert [waiver.gate for waiver in verify(tmp_path / "out").manifest.waivers] == ["coverage"]


def test_a_dynamic_batch_takes_any_number_of_rows_and_gives_the_same_answers(
    tiny_classifier: Path, tmp_path: Path
) -> None:
    """Five rows in one call are the five rows one by one; without the option they are refused."""
    for name, options in (("dynamic", ("--dynamic-batch",)), ("static", ())):
        finished = _compile(tiny_classifier, tmp_path / name, *options)
        assert finished.returncode == 0, finished.stderr

    found = verify(tmp_path / "dynamic").manifest
    assert found.compiler is not None
    assert found.compiler.dynamic_batch
    answers = _rows_of(tmp_path / "dynamic/graphs/b2_s16.pt")
    assert answers.returncode == 0, answers.stderr
    assert float(answers.stdout) < 1e-5
    assert "RuntimeError" in _rows_of(tmp_path / "static/graphs/b2_s16.pt").stderr


def _rows_of(graph: Path) -> subprocess.CompletedProcess[str]:
    """Print the largest difference between five rows at once and two at a time."""
    code = (
        "import sys, torch, torch_neuron\n"
        "graph = torch.jit.load(sys.argv[1])\n"
        "ids = torch.arange(96).reshape(6, 16)\n"
        "rows = (ids, torch.zeros_like(ids), torch.ones_like(ids))\n"
        "pairs = torch.cat([graph(*(t[i : i + 2] for t in rows))[0] for i in (0, 2, 4)])\n"
        "print((graph(*(t[:5] for t in rows))[0] - pairs[:5]).abs().max().item())\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code, str(graph)],
        env={**os.environ, "PYTHONPATH": str(FOLDER)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_half_precision_does_not_pass_the_cpu_tier(tiny_classifier: Path, tmp_path: Path) -> None:
    """The tiers mean something."""
    finished = _compile(tiny_classifier, tmp_path / "out", "--tier", "cpu")

    assert finished.returncode == 3
    assert _error(finished)["id"] == "parity-failed"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("failure", "code", "error"),
    [
        ("zero", 3, "nothing-compiled"),
        ("timeout", 1, "compiler-timed-out"),
        ("protobuf", 1, "graph-too-large"),
        ("killed", 1, "compiler-out-of-memory"),
        ("killed-compiler", 1, "compiler-out-of-memory"),
        ("killed-running", 1, "child-failed"),
        ("unsupported", 1, "operator-not-supported"),
    ],
)
def test_every_failure_of_the_compiler_gets_its_name(
    tiny_classifier: Path, tmp_path: Path, failure: str, code: int, error: str
) -> None:
    """And leaves nothing behind."""
    finished = _compile(tiny_classifier, tmp_path / "out", NEURON_DOUBLE_FAIL=failure)

    assert finished.returncode == code
    assert _error(finished)["id"] == error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("failure", "last", "code", "error"),
    [
        ("killed", "false", 137, "compiler-out-of-memory"),
        ("killed-compiler", "true", 137, "compiler-out-of-memory"),
        ("killed-running", "false", 137, "child-failed"),
        ("unsupported", "false", 1, "operator-not-supported"),
        ("zero", "false", 3, "nothing-compiled"),
    ],
)
def test_in_a_job_a_child_that_was_killed_is_a_job_that_was_killed(
    tiny_classifier: Path, tmp_path: Path, failure: str, last: str, code: int, error: str
) -> None:
    """Tracing, compiling and proving; the words stay, with the size before them. Others do not climb."""
    rung = {"TRACESHIP_MEMORY_GIB": "64", "TRACESHIP_LAST_MEMORY": last}

    finished = _compile(tiny_classifier, tmp_path / "out", NEURON_DOUBLE_FAIL=failure, **rung)

    assert finished.returncode == code, finished.stderr
    assert _error(finished)["id"] == error
    told = "the most there is" if last == "true" else "exit code 137 asks for more"
    assert (f"64 GiB of memory were too little, {told}" in finished.stderr) is (code == 137)
    assert list(tmp_path.iterdir()) == []


def test_low_coverage_stops_the_compile(tiny_classifier: Path, tmp_path: Path) -> None:
    """torch_neuron itself only warns."""
    finished = _compile(tiny_classifier, tmp_path / "out", NEURON_DOUBLE_COVERAGE="60")

    assert finished.returncode == 3
    assert _error(finished)["id"] == "coverage-too-low"
    assert re.search(r"only (59|60)\.\d %", _error(finished)["what"])


def test_low_coverage_can_be_waived_and_stays_on_record(tiny_classifier: Path, tmp_path: Path) -> None:
    """With the reason, in the manifest."""
    finished = _compile(
        tiny_classifier, tmp_path / "out", "--waive", "coverage=a trial", NEURON_DOUBLE_COVERAGE="60"
    )

    assert finished.returncode == 0, finished.stderr
    assert [(w.gate, w.reason) for w in verify(tmp_path / "out").manifest.waivers] == [
        ("coverage", "a trial")
    ]


def test_without_the_vendors_package_the_container_is_named(tiny_classifier: Path, tmp_path: Path) -> None:
    """Not an ImportError."""
    finished = _compile(tiny_classifier, tmp_path / "out", PYTHONPATH=str(_ROOT))

    assert finished.returncode == 2
    assert "--runner docker" in _error(finished)["fix"]


def test_graphs_of_the_double_take_one_shape_only(tmp_path: Path) -> None:
    """As on the device; so a test that passes here cannot have used another shape."""
    code = (
        "import torch, torch_neuron, io\n"
        "g = torch.neuron.trace(torch.nn.Linear(4, 2).eval(), (torch.ones(2, 4),))\n"
        "b = io.BytesIO(); torch.jit.save(g, b); b.seek(0); g = torch.jit.load(b)\n"
        "print(g(torch.ones(2, 4)).shape)\n"
        "g(torch.ones(3, 4))\n"
    )

    finished = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(FOLDER)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert "torch.Size([2, 2])" in finished.stdout
    assert finished.returncode == 1
    assert "RuntimeError" in finished.stderr  # torch 1.13 loses the words that name the shape


def _options(**changes: Any) -> TraceOptions:
    settings: dict[str, Any] = {
        "arguments": ("--fp32-cast", "matmult-fp16"),
        "timeout_seconds": 60,
        "workdir": Path("w"),
        "weight_bytes": 1000,
        "minimum_segment_size": None,
        "single_fusion_ratio": None,
        "separate_weights": False,
        "dynamic_batch": False,
    }
    return TraceOptions(**{**settings, **changes})


def test_weights_are_separated_above_the_protobuf_limit_or_on_request() -> None:
    """Not below it: a graph with its weights is one file less to lose."""
    assert "separate_weights" not in trace_keywords(_options())
    assert trace_keywords(_options(weight_bytes=SEPARATE_WEIGHTS_ABOVE + 1))["separate_weights"] is True
    assert trace_keywords(_options(separate_weights=True))["separate_weights"] is True


def test_the_compilers_options_reach_it_and_defaults_stay_its_own() -> None:
    """Only what was asked for is passed."""
    plain = trace_keywords(_options())
    asked = trace_keywords(_options(minimum_segment_size=3, single_fusion_ratio=0.4))

    assert plain["compiler_args"] == ["--fp32-cast", "matmult-fp16"]
    assert (plain["fallback"], plain["dynamic_batch_size"], plain["compiler_timeout"]) == (True, False, 60)
    assert trace_keywords(_options(dynamic_batch=True))["dynamic_batch_size"] is True
    assert not {"minimum_segment_size", "single_fusion_ratio_threshold"} & set(plain)
    assert (asked["minimum_segment_size"], asked["single_fusion_ratio_threshold"]) == (3, 0.4)


def test_production_code_cannot_reach_the_double() -> None:
    """It is importable only where a test put its folder on PYTHONPATH."""
    assert not hasattr(torch, "neuron")
    assert str(FOLDER) not in sys.path
