"""Whatever state the cache is in, the artifact is right and is compiled no more often than needed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from artifact.errors import ProofFailed
from artifact.verify import verify
from compile.cache.entry import ARTIFACT, RESULT
from compile.cache.local import LocalCache
from compile.cache.through import Caches, Explanation, compile_through
from compile.drafts import OutputNotWritable
from compile.package import OutputExists
from compile.request import CompiledArtifact, CompileRequest
from compile.source import ModelNotFound
from tests.compile.cache.world import HERE, Compiler, World, changed, key_for

_ROOT = Path(__file__).resolve().parents[3]


class Run:
    """Compiles through one cache, noting what was said."""

    def __init__(self, world: World) -> None:
        self.caches = Caches(world.local)
        self.compiler = Compiler()
        self.said: list[str] = []
        self.explained: list[Explanation] = []

    def __call__(self, request: CompileRequest) -> CompiledArtifact:
        return compile_through(
            self.caches, request, HERE, self.compiler, report=self.said.append, explain=self.explained.append
        )


@pytest.fixture
def run(world: World) -> Run:
    return Run(world)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_second_compile_is_the_first_ones_artifact(world: World, run: Run) -> None:
    """The same bytes at another place, the same figures, and nothing was compiled."""
    first = run(world.request("one"))
    second = run(world.request("two"))

    assert run.compiler.runs == [world.base / "one"]
    assert _files(world.base / "one") == _files(world.base / "two")
    assert (first.cached, second.cached) == (False, True)
    assert (second.digest, second.parity, second.buckets) == (first.digest, first.parity, first.buckets)
    assert second.path == world.base / "two"
    assert second.seconds < first.seconds
    assert "nothing to compile" in run.said[-1]
    assert [explanation.hit for explanation in run.explained] == [False, True]


def test_the_artifact_may_be_there_already(world: World, run: Run) -> None:
    """The same one is left as it is; another one is never overwritten."""
    run(world.request())

    run.compiler.answer = b'{"cases": [1]}\n'
    other = run(world.request("other", pooling="mean"))

    same = run(world.request())
    with pytest.raises(OutputExists):
        run(world.request(pooling="mean"))

    assert same.cached
    assert verify(world.base / "out").digest == same.digest != other.digest


def test_an_edit_of_the_artifact_does_not_reach_the_cache(world: World, run: Run) -> None:
    """They share no bytes on the disk."""
    run(world.request("one"))
    for path in (world.base / "one").rglob("*"):
        if path.is_file():
            path.write_bytes(b"edited")

    assert run(world.request("two")).cached
    verify(world.base / "two")


@pytest.mark.parametrize(
    "name", [RESULT, f"{ARTIFACT}/weights.safetensors", f"{ARTIFACT}/manifest.json", ARTIFACT]
)
@pytest.mark.parametrize("damage", ["cut", "removed"])
def test_a_damaged_entry_is_removed_said_and_made_again(
    world: World, run: Run, name: str, damage: str
) -> None:
    """It is never used, and the next one finds a whole entry."""
    run(world.request("one"))
    path = world.entry(run.explained[0].key) / name
    if path.is_dir():
        shutil.rmtree(path)
    elif damage == "removed":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])

    second = run(world.request("two"))
    third = run(world.request("three"))

    assert (second.cached, third.cached) == (False, True)
    assert any("is damaged" in line and "removed" in line for line in run.said)
    assert len(run.compiler.runs) == 2


def test_a_failed_compile_leaves_no_entry(world: World, run: Run) -> None:
    """Neither an artifact nor a reason to believe in one; the failure is the compile's own."""

    class Refused(ProofFailed):
        id = "refused-in-a-test"

    def refuse(_request: CompileRequest) -> CompiledArtifact:
        raise Refused(what="a gate failed", why="it had to", fix="none")

    with pytest.raises(Refused):
        compile_through(run.caches, world.request(), HERE, refuse, report=run.said.append)

    assert world.entries() == set()
    assert not run(world.request()).cached


def test_a_cache_that_cannot_be_used_costs_time_and_no_compile(world: World, run: Run) -> None:
    """It is said, and the artifact is there."""
    (world.base / "file").write_text("")
    run.caches = Caches(LocalCache(world.base / "file"))

    compiled = run(world.request())

    assert not compiled.cached
    assert verify(compiled.path)
    assert "cannot be used" in run.said[0]
    assert "going on without" in run.said[0]


def test_an_artifact_that_cannot_be_kept_is_still_delivered(world: World, run: Run) -> None:
    """Too large for the cache: said."""
    world.local.limit = 10

    compiled = run(world.request())

    assert verify(compiled.path)
    assert "not kept" in run.said[-1]


def test_a_model_that_changes_during_the_compile_is_not_kept(world: World, run: Run) -> None:
    """The artifact is what the compiler saw; the key is what was there before."""

    def slowly(request: CompileRequest) -> CompiledArtifact:
        (world.model / "tokenizer.json").write_text('{"version": "2.0"}')
        return Compiler()(request)

    compile_through(run.caches, world.request("one"), HERE, slowly, report=run.said.append)

    assert world.entries() == set()
    assert "another model" in run.said[-1]


def test_a_miss_names_what_differs_from_the_nearest_entry(world: World, run: Run) -> None:
    """In one line for everybody, in fields for whoever asks."""
    run(world.request("one"))
    run(world.request("two", pooling="mean"))
    environment = changed(HERE, "versions", "torch", "2.14.0")
    compile_through(
        run.caches,
        world.request("three"),
        environment,
        run.compiler,
        report=run.said.append,
        explain=run.explained.append,
    )

    first, second, third = run.explained
    assert first.nearest is None
    assert second.nearest is not None
    assert third.nearest is not None
    assert [d.field for d in second.nearest.differences] == ["pooling"]
    assert (third.nearest.key, [d.field for d in third.nearest.differences]) == (
        first.key.digest,
        ["versions.torch"],
    )
    assert [line for line in run.said if "differs in versions.torch" in line]


def test_a_place_that_cannot_be_written_is_named_and_the_entry_stays(world: World, run: Run) -> None:
    """A full or forbidden disk is no damage of the cache."""
    run(world.request("one"))
    (world.base / "a file").write_text("")

    with pytest.raises(OutputNotWritable):
        run(world.request("a file/out"))

    assert run(world.request("two")).cached
    assert sorted(path.name for path in world.base.iterdir() if path.name.startswith(".")) == []


def test_a_model_that_is_not_there_is_the_sources_error(world: World, run: Run) -> None:
    """The cache has no words of its own for it."""
    shutil.rmtree(world.model)

    with pytest.raises(ModelNotFound):
        run(world.request())


def _racer(world: World, out: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.compile.cache.racer"]
    return subprocess.Popen(
        [*command, str(world.local.folder), str(world.model), str(world.base / out)],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _let_go_on(racer: subprocess.Popen[str]) -> None:
    assert racer.stdin is not None
    racer.stdin.write("go\n")
    racer.stdin.flush()


def _rest(racer: subprocess.Popen[str]) -> str:
    """What the process still says, once it has ended."""
    assert racer.stdin is not None
    assert racer.stdout is not None
    said = racer.stdout.read()
    racer.wait(timeout=120)
    racer.stdin.close()
    racer.stdout.close()
    return said


def test_eight_processes_that_want_the_same_compile_it_once(world: World) -> None:
    """All have asked before the one that builds is let go on; seven get what it made."""
    racers = [_racer(world, f"out{number}") for number in range(8)]
    talk = [racer.stdout.readline() for racer in racers if racer.stdout is not None]

    for racer in racers:
        _let_go_on(racer)
    for number, racer in enumerate(racers):
        talk[number] += _rest(racer)

    digest = verify(world.base / "out0").digest
    assert [racer.returncode for racer in racers] == [0] * 8
    assert sum("building" in lines for lines in talk) == 1
    assert sum("waiting" in lines for lines in talk) >= 7
    assert sorted(lines.splitlines()[-1] for lines in talk) == sorted(
        f"digest {digest} cached {number > 0}" for number in range(8)
    )
    assert world.entries() == {key_for(world.request(), world.base / "notes").digest}


def test_a_builder_that_is_killed_does_not_block_the_next(world: World) -> None:
    """Who waited compiles in its place; no half entry is left."""
    first = _racer(world, "one")
    assert first.stdout is not None
    while "building" not in first.stdout.readline():
        pass
    second = _racer(world, "two")
    assert second.stdout is not None
    assert "waiting" in second.stdout.readline()

    first.kill()
    _rest(first)
    _let_go_on(second)

    assert "building" in _rest(second)
    assert second.returncode == 0
    verify(world.base / "two")
