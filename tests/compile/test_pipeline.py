"""The whole stage with its real processes: reproducible, interruptible, nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from artifact.verify import verify
from compile import pipeline, runners
from compile.__main__ import BadArguments, main, parse
from compile.archive import artifact_members, write_archive
from compile.source import ModelChanged
from tests.compile.world import make_request
from tests.kit.models import tiny_model

_ROOT = Path(__file__).resolve().parents[2]


def _command(model: Path, out: Path, *options: str) -> list[str]:
    words = ["--model", str(model), "--task", "feature-extraction", "--target", "cpu", "--out", str(out)]
    return [sys.executable, "-m", "compile", *words, *options]


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


_ANOTHER_MACHINE = """
import os, socket, time
from functools import partial
def reversed_order(function):
    return lambda *args: sorted(function(*args), reverse=True)
class Entries(list):
    __enter__ = lambda self: self
    __exit__ = lambda self, *_: None
scandir = os.scandir
def listed(path="."):
    with scandir(path) as entries:
        return Entries(sorted(entries, key=lambda entry: entry.name, reverse=True))
# partial objects: Python 3.10 keeps both in a class, where a function would become a method
os.scandir, os.listdir = partial(listed), partial(reversed_order(os.listdir))
os.cpu_count = lambda: 8
socket.gethostname = lambda: "another-host"
now, now_ns = time.time, time.time_ns
time.time, time.time_ns = lambda: now() + 1e9, lambda: now_ns() + 10**18
open(os.path.join(os.environ["HOME"], f"process-{os.getpid()}"), "w").close()
"""
"""As sitecustomize.py on the path: it is in every process before anything of ours is."""


def _another_user(home: Path) -> dict[str, str]:
    return {
        "HOME": str(home),
        "USER": "somebody",
        "LOGNAME": "somebody",
        "HOSTNAME": "another-host",
        "LC_ALL": "C",
        "LANG": "tr_TR.UTF-8",
        "TZ": "Asia/Tokyo",
        "PYTHONHASHSEED": "2",
        "PYTHONPATH": f"{_ROOT}{os.pathsep}{home}",
    }


def _archive(root: Path) -> str:
    archive = write_archive(artifact_members(verify(root)), root.with_suffix(".tar.gz"))
    archive.path.unlink()
    return archive.sha256


def test_the_same_model_gives_the_same_bytes_anywhere(tiny_bert: Path, tmp_path: Path) -> None:
    """Another folder, user, home, umask, time, zone, locale, hash seed, order of files, host and cores."""
    twin = Path(shutil.copytree(tiny_bert, tmp_path / "elsewhere" / "a name"))
    (tmp_path / "elsewhere" / "sitecustomize.py").write_text(_ANOTHER_MACHINE, encoding="utf-8")
    options = ("--bucket", "1x16", "--bucket", "2x24", "--pooling", "mean", "--json")
    first = subprocess.run(
        _command(tiny_bert, tmp_path / "one", *options),
        cwd=_ROOT,
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    second = subprocess.run(
        _command(twin, tmp_path / "deeper" / "two", *options),
        cwd=tmp_path,
        env={**os.environ, **_another_user(tmp_path / "elsewhere")},
        umask=0o077,
        capture_output=True,
        text=True,
        check=True,
    )

    printed = json.loads(first.stdout)
    assert _files(tmp_path / "one") == _files(tmp_path / "deeper" / "two")
    assert _archive(tmp_path / "one") == _archive(tmp_path / "deeper" / "two")
    assert len(list((tmp_path / "elsewhere").glob("process-*"))) >= 4
    assert printed["digest"] == json.loads(second.stdout)["digest"]
    assert verify(tmp_path / "one", digest=printed["digest"]).manifest.weights == "weights.safetensors"
    assert [(b["batch"], b["length"]) for b in printed["buckets"]] == [(1, 16), (2, 24)]
    assert all(figure["max_abs"] <= 1e-5 and figure["min_cosine"] > 0.999 for figure in printed["parity"])
    assert len(first.stderr.splitlines()) >= 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deeper", "elsewhere", "one"]


def test_the_bytes_do_not_depend_on_how_many_buckets_are_traced_at_once(
    tiny_bert: Path, tmp_path: Path
) -> None:
    """Nor does their order; the shared weights are written once."""
    digests = []
    for jobs in ("1", "3"):
        options = ("--bucket", "2x24", "--bucket", "1x16", "--bucket", "1x24", "--jobs", jobs, "--json")
        finished = subprocess.run(
            _command(tiny_bert, tmp_path / jobs, *options),
            cwd=_ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        printed = json.loads(finished.stdout)
        digests.append(printed["digest"])
        assert [(b["batch"], b["length"]) for b in printed["buckets"]] == [(1, 16), (1, 24), (2, 24)]
        assert sum(line.startswith("traced ") for line in finished.stderr.splitlines()) == 3

    assert digests[0] == digests[1]
    assert _files(tmp_path / "1") == _files(tmp_path / "3")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_compile_leaves_nothing_behind(tiny_bert: Path, tmp_path: Path, number: int) -> None:
    """Exit code 130, no folder, no child still running."""
    place = tmp_path / "place"
    # So many that it is far from done when the first is traced and told.
    buckets = [word for length in range(2, 26, 2) for word in ("--bucket", f"1x{length}")]
    running = subprocess.Popen(
        _command(tiny_bert, place / "out", *buckets),
        cwd=_ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stderr is not None
    lines = [running.stderr.readline(), running.stderr.readline()]
    assert lines[1].startswith("traced 1x")

    running.send_signal(number)
    rest = running.communicate(timeout=60)[1]

    assert running.returncode == 130
    assert "nothing was written" in rest
    assert list(place.iterdir()) == []
    assert _processes_naming(str(place)) == []


def _processes_naming(text: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if entry.name.isdigit() and text in words:
            found.append(words)
    return found


def test_a_failed_gate_leaves_nothing_in_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 3; a model whose answers are not finite cannot be published."""
    model = tiny_model(tmp_path / "m", scale=1e30)

    code = main(_command(model, tmp_path / "out", "--bucket", "1x16", "--json")[3:])

    printed = capsys.readouterr()
    assert code == 3
    assert printed.out == ""
    assert json.loads(printed.err.splitlines()[-1])["id"] == "model-not-finite"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m"]


def test_errors_are_three_lines_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What, why, fix; no traceback."""
    code = main(_command(tmp_path / "absent", tmp_path / "out", "--bucket", "1x16")[3:])

    assert code == 2
    assert [line.split(":")[0].strip() for line in capsys.readouterr().err.splitlines()] == [
        "error",
        "why",
        "fix",
    ]


@pytest.mark.parametrize(
    "words",
    [["--bucket"], ["--target", "tpu"], ["--waive", "padding"], ["--no-such-option"]],
)
def test_arguments_that_make_no_sense_end_with_exit_code_2(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """argparse's own usage dump is not our error form."""
    code = main(_command(tmp_path, tmp_path / "out", "--bucket", "1x16", *words)[3:])

    assert code == 2
    assert capsys.readouterr().err.startswith("error: ")
    with pytest.raises(BadArguments):
        parse(["--model"])


def test_the_runners_words_are_parsed_to_the_same_request(tmp_path: Path) -> None:
    """A runner passes every option on; none gets lost on the way into the container."""
    from artifact.manifest import Waiver
    from compile.request import CompilerOptions, Work

    request = make_request(
        "/models/m",
        tmp_path / "out",
        "1x16",
        "8x128",
        target="inf1",
        revision="r1",
        pooling="mean",
        normalize=True,
        tier="neuron-no-cast",
        truncate=True,
        waivers=(Waiver(gate="padding", reason="reads = padding"),),
        identity="pypi:m",
        allow_pickle=True,
        trust_remote_code=True,
        debug=True,
        compiler=CompilerOptions(
            arguments=("--enable-saturate-infinity",),
            casting="matmult-bf16",
            fast_relayout=True,
            optimization=2,
            pipeline_cores=4,
            dynamic_batch=True,
            timeout_seconds=77,
            min_coverage=12.5,
            max_partitions=2,
            allowed_fallback=("aten::embedding", "aten::Int"),
            minimum_segment_size=3,
            single_fusion_ratio=0.4,
            separate_weights=True,
        ),
        work=Work(jobs=3, repro=tmp_path / "repro", repro_weights=True),
    )

    assert parse(runners.arguments(request)) == request


def test_a_model_that_is_swapped_during_the_compile_is_not_packaged(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest would give one model's digest and the graphs of another."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_bert, folder)
    honest = pipeline.prove

    def swapped_meanwhile(*arguments: Any) -> Any:
        proven = honest(*arguments)
        (folder / "model.safetensors").write_bytes((tiny_bert / "model.safetensors").read_bytes())
        return proven

    monkeypatch.setattr(pipeline, "prove", swapped_meanwhile)

    with pytest.raises(ModelChanged):
        pipeline.compile_model(make_request(folder, tmp_path / "out", "1x16"), [].append)

    assert not (tmp_path / "out").exists()
