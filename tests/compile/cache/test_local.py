"""Entries on this machine: whole or not there, and no more bytes than allowed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from artifact.manifest import Waiver
from artifact.verify import verify
from compile.cache.entry import ARTIFACT, KEY, RESULT, EntryDamaged
from compile.cache.key import CacheKey
from compile.cache.local import CacheUnusable, EntryTooLarge, LocalCache, default_folder
from compile.request import CompileRequest
from tests.compile.cache.world import Compiler, World, key_for, make_world


def _requests(world: World, number: int) -> list[CompileRequest]:
    """Requests of different keys and equally large artifacts."""
    return [
        world.request(f"out{n}", waivers=(Waiver(gate="padding", reason=f"reason {n}"),))
        for n in range(number)
    ]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _ages(world: World, keys: list[CacheKey]) -> None:
    """The first was used longest ago."""
    for number, key in enumerate(keys):
        os.utime(world.entry(key), (1000 + number, 1000 + number))


def test_what_was_kept_is_found_whole(world: World) -> None:
    """The artifact verifies and the figures are those of the compile that made it."""
    (key,) = world.kept(world.request())

    entry = world.local.find(key)

    assert entry is not None
    entry.check(entry.folder / ARTIFACT)
    assert verify(entry.folder / ARTIFACT).digest == entry.result.digest
    assert entry.result.cached
    assert entry.result.parity[0].max_abs == 2e-7
    assert str(world.base / "out") not in (entry.folder / RESULT).read_text()


def test_nothing_else_is_found(world: World) -> None:
    """Another key, or an empty cache."""
    world.local.prepare()
    key = key_for(world.request(), world.base / "notes")

    assert world.local.find(key) is None


@pytest.mark.parametrize("name", [KEY, RESULT, ARTIFACT])
def test_an_entry_without_one_of_its_parts_is_damaged(world: World, name: str) -> None:
    """A folder half removed is not half an entry."""
    (key,) = world.kept(world.request())
    (world.entry(key) / name).rename(world.base / "away")

    with pytest.raises(EntryDamaged) as refused:
        world.local.find(key)

    assert refused.value.exit_code == 3


@pytest.mark.parametrize(
    ("name", "text"), [(KEY, "{}\n"), (RESULT, "{"), (RESULT, "[]"), (RESULT, '{"digest": "x"}')]
)
def test_texts_that_are_not_ours_are_damage(world: World, name: str, text: str) -> None:
    """Cut off, another schema, another key."""
    (key,) = world.kept(world.request())
    (world.entry(key) / name).write_text(text)

    with pytest.raises(EntryDamaged):
        world.local.find(key)


def test_one_flipped_bit_in_any_file_of_the_artifact_is_damage(world: World) -> None:
    """Each file in turn."""
    (key,) = world.kept(world.request())
    entry = world.local.find(key)
    assert entry is not None
    for path in sorted(p for p in (entry.folder / ARTIFACT).rglob("*") if p.is_file()):
        original = path.read_bytes()
        path.write_bytes(bytes([original[0] ^ 1]) + original[1:])
        with pytest.raises(EntryDamaged):
            entry.check(entry.folder / ARTIFACT)
        path.write_bytes(original)

    entry.check(entry.folder / ARTIFACT)


def test_an_artifact_of_another_model_is_not_kept(world: World) -> None:
    """The model changed between the key and the compile."""
    world.local.prepare()
    request = world.request()
    key = key_for(request, world.base / "notes")
    (world.model / "tokenizer.json").write_text('{"version": "2.0"}')

    with pytest.raises(EntryDamaged, match="another model"):
        world.local.keep(key, Compiler()(request))

    assert world.entries() == set()


def test_what_was_not_used_for_longest_goes_first(world: World) -> None:
    """Reading an entry is using it."""
    first, second, third, fourth = _requests(world, 4)
    keys = world.kept(first, second, third)
    _ages(world, keys)
    world.local.limit = 3 * _size(world.entry(keys[0])) + 500
    entry = world.local.find(keys[0])
    assert entry is not None
    world.local.use(entry)

    (newest,) = world.kept(fourth)

    assert world.entries() == {keys[0].digest, keys[2].digest, newest.digest}
    assert not (world.local.folder / "locks" / f"{keys[1].digest}.lock").exists()


def test_an_entry_in_use_is_spared(world: World) -> None:
    """Somebody reads it in this moment: the next one goes."""
    first, second, third = _requests(world, 3)
    keys = world.kept(first, second)
    _ages(world, keys)
    world.local.limit = 2 * _size(world.entry(keys[0])) + 500

    with world.local.locked(keys[0], exclusive=False, waiting=pytest.fail):
        (newest,) = world.kept(third)

    assert world.entries() == {keys[0].digest, newest.digest}


def test_an_artifact_larger_than_the_cache_is_not_kept(tmp_path: Path) -> None:
    """And what is there is not thrown out for it."""
    world = make_world(tmp_path, limit=100)
    request = world.request()
    world.local.prepare()

    with pytest.raises(EntryTooLarge, match="GB"):
        world.local.keep(key_for(request, tmp_path / "notes"), Compiler()(request))

    assert world.entries() == set()


def test_a_draft_that_a_dead_process_left_is_removed(world: World) -> None:
    """Not one that somebody may be writing."""
    world.local.prepare()
    entries = world.local.folder / "entries"
    (entries / ".draft-old").mkdir()
    (entries / ".draft-new").mkdir()
    os.utime(entries / ".draft-old", (1000, 1000))

    (key,) = world.kept(world.request())

    assert world.entries() == {".draft-new", key.digest}


def test_keys_are_listed_most_recently_used_first(world: World) -> None:
    """Whatever cannot be read is left out."""
    keys = world.kept(*_requests(world, 3))
    _ages(world, keys)
    (world.entry(keys[1]) / KEY).write_text("{")

    listed = list(world.local.documents())

    assert [digest for digest, _ in listed] == [keys[2].digest, keys[0].digest]
    assert listed[0][1] == json.loads(keys[2].data)


def test_a_folder_that_cannot_be_used_says_what_to_set(tmp_path: Path) -> None:
    """The fix names the variable."""
    (tmp_path / "cache").write_text("a file in its place")

    with pytest.raises(CacheUnusable) as refused:
        LocalCache(tmp_path / "cache").prepare()

    assert "TRACESHIP_CACHE" in refused.value.fix


def test_the_folder_is_the_named_one_or_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """$TRACESHIP_CACHE, then XDG, then ~/.cache; a relative XDG path is invalid."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TRACESHIP_CACHE", "~/mine")
    assert default_folder() == tmp_path / "mine"

    monkeypatch.delenv("TRACESHIP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert default_folder() == Path("/xdg/traceship/compile")

    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_folder() == tmp_path / ".cache/traceship/compile"
