"""A digest is remembered only while the file is the one that was hashed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from compile.cache import remembered
from compile.cache.remembered import Remembered
from compile.source import SourceUnreadable
from tests.compile.cache.world import TENSORS, write_model


@pytest.fixture
def aged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model whose files count as settled although they were written just now."""
    monkeypatch.setattr(remembered, "_SETTLED_SECONDS", -1.0)
    return write_model(tmp_path / "model")


def _notes(folder: Path) -> list[Path]:
    return sorted((folder / "notes").glob("*.json"))


def test_a_file_is_hashed_once(aged: Path, tmp_path: Path) -> None:
    """The second answer is the note's, not the file's."""
    notes = Remembered(tmp_path / "notes")
    first = notes.file(aged, "tokenizer.json")
    (note,) = _notes(tmp_path)
    note.write_text(note.read_text().replace(first.sha256, "0" * 64))

    second = notes.file(aged, "tokenizer.json")

    assert first.sha256 == hashlib.sha256((aged / "tokenizer.json").read_bytes()).hexdigest()
    assert second.sha256 == "0" * 64
    assert set(notes.tensors(aged / "model.safetensors").tensors) == set(TENSORS)
    assert notes.tensors(aged / "model.safetensors") == Remembered(tmp_path / "x").tensors(
        aged / "model.safetensors"
    )


def test_a_file_rewritten_with_its_old_size_and_date_is_hashed_again(aged: Path, tmp_path: Path) -> None:
    """The change time gives it away."""
    notes, path = Remembered(tmp_path / "notes"), aged / "tokenizer.json"
    before, status = notes.file(aged, path.name), path.stat()

    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert notes.file(aged, path.name).size == before.size
    assert notes.file(aged, path.name).sha256 != before.sha256


def test_a_file_written_just_now_is_not_remembered(tmp_path: Path) -> None:
    """It may change again within the same tick of the file system's clock."""
    Remembered(tmp_path / "notes").file(write_model(tmp_path / "model"), "config.json")

    assert _notes(tmp_path) == []


@pytest.mark.parametrize("text", ["", "[]", '{"state": 1}', "\0"])
def test_a_note_that_cannot_be_read_costs_a_hash(aged: Path, tmp_path: Path, text: str) -> None:
    """It is written again."""
    notes = Remembered(tmp_path / "notes")
    before = notes.file(aged, "config.json")
    (note,) = _notes(tmp_path)
    note.write_text(text)

    assert notes.file(aged, "config.json") == before
    assert notes.file(aged, "config.json") == before
    assert before.sha256 in note.read_text()


def test_a_folder_that_cannot_be_written_costs_a_hash(aged: Path, tmp_path: Path) -> None:
    """Never an error."""
    (tmp_path / "notes").write_text("a file in its place")
    notes = Remembered(tmp_path / "notes")

    assert notes.file(aged, "config.json") == notes.file(aged, "config.json")
    notes.prune()


def test_the_oldest_notes_go_first(aged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder does not grow for ever."""
    monkeypatch.setattr(remembered, "MOST", 1)
    notes = Remembered(tmp_path / "notes")
    notes.file(aged, "config.json")
    (old,) = _notes(tmp_path)
    os.utime(old, (1, 1))
    notes.file(aged, "tokenizer.json")

    notes.prune()

    assert old not in _notes(tmp_path)
    assert len(_notes(tmp_path)) == 1


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """The error is the source's own."""
    with pytest.raises(SourceUnreadable, match=r"absent\.json"):
        Remembered(tmp_path / "notes").file(tmp_path, "absent.json")
