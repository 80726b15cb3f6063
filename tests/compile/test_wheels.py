"""The wheels for the stock container: pinned by digest, fetched once, refused when they differ."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from compile.wheels import CHECKOUT, Wheel, WheelChanged, WheelsUnfetched, contents, fetch, pinned

FILE = "nothing_of_ours-1.0-cp310-abi3-manylinux_2_17_x86_64.whl"


@pytest.fixture
def wheel(tmp_path: Path) -> Wheel:
    """One that lies in the folder."""
    with zipfile.ZipFile(tmp_path / FILE, "w") as made:
        made.writestr("nothing_of_ours/", "")
        made.writestr("nothing_of_ours/__init__.py", "x = 1\n")
    return Wheel(file=FILE, sha256=hashlib.sha256((tmp_path / FILE).read_bytes()).hexdigest())


def test_a_wheel_gives_its_files_and_no_folders(wheel: Wheel, tmp_path: Path) -> None:
    """By their names in it."""
    assert contents(wheel, tmp_path) == {"nothing_of_ours/__init__.py": b"x = 1\n"}
    assert (wheel.folder, wheel.python, wheel.requirement) == ("abi3", "310", "nothing_of_ours==1.0")


def test_a_changed_wheel_is_refused_whole(wheel: Wheel, tmp_path: Path) -> None:
    """It would run in the endpoint."""
    with (tmp_path / FILE).open("ab") as file:
        file.write(b"x")

    with pytest.raises(WheelChanged, match=FILE):
        contents(wheel, tmp_path)


def test_what_lies_there_is_not_asked_for(
    wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index that nobody answers for is never reached."""
    _offline(monkeypatch)

    fetch([wheel], tmp_path)


def test_what_pip_cannot_bring_is_named_with_its_words(
    wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing lies there as if it had come."""
    _offline(monkeypatch)

    with pytest.raises(WheelsUnfetched, match="No matching distribution found for nothing_of_ours"):
        fetch([wheel], tmp_path / "empty")

    assert list((tmp_path / "empty").iterdir()) == []


def test_the_pins_are_the_serving_images_versions_for_every_python_that_is_told() -> None:
    """So both kinds of endpoint run the same tokenizer."""
    lines = (CHECKOUT / "inference_code/requirements.txt").read_text().splitlines()
    versions = {line for line in lines if "==" in line}
    wheels = pinned(CHECKOUT)

    assert {wheel.requirement for wheel in wheels} < versions
    names = {wheel.requirement.split("==")[0] for wheel in wheels}
    assert names == {"msgspec", "tokenizers", "safetensors", "sentencepiece"}
    for python in ("cp310", "cp311", "cp312"):
        usable = {wheel.requirement for wheel in wheels if wheel.folder in {python, "abi3"}}
        assert len(usable) == len(names), python


def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    for name in ("PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
