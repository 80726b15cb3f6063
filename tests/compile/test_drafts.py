"""A half-made folder is gone however the work ends, also when the interrupt comes at the worst moment."""

from __future__ import annotations

import contextlib
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compile.drafts import OutputNotWritable, beside, draft_in


def _interrupted_after(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, and a Ctrl-C that came while it ran."""

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        signal.raise_signal(signal.SIGINT)
        return result

    return interrupted


def test_an_interrupt_while_the_folder_is_made_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knew its name yet."""
    monkeypatch.setattr(tempfile, "mkdtemp", _interrupted_after(tempfile.mkdtemp))
    begun = []

    with pytest.raises(KeyboardInterrupt), draft_in(tmp_path, prefix=".out."):
        begun.append("the work")

    assert not begun
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_while_the_folder_is_removed_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The removal is ended first."""
    remove = shutil.rmtree

    def interrupted(path: Path, **options: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        remove(path, **options)

    monkeypatch.setattr(shutil, "rmtree", interrupted)

    with pytest.raises(KeyboardInterrupt), draft_in(tmp_path, prefix=".out.") as folder:
        (folder / "weights").write_bytes(b"w")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", [None, ValueError, KeyboardInterrupt])
def test_a_draft_is_beside_its_output_and_gone_with_the_work(
    ending: type[BaseException] | None, tmp_path: Path
) -> None:
    """Whether it was finished, failed or was interrupted; what got its name stays."""
    out = tmp_path / "new" / "out"
    with contextlib.suppress(ValueError, KeyboardInterrupt), beside(out) as folder:
        assert folder.parent == out.parent
        assert folder.name.startswith(".out.")
        assert folder.name.endswith(".partial")
        (folder / "rest").mkdir()
        (folder / "artifact").mkdir()
        (folder / "artifact").rename(out)
        if ending is not None:
            raise ending

    assert list(out.parent.iterdir()) == [out]


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    """The work's own errors are not taken for it."""
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(OutputNotWritable, match="file") as refused, beside(tmp_path / "file" / "out"):
        pass
    with pytest.raises(IsADirectoryError), beside(tmp_path / "out"):
        raise IsADirectoryError

    assert "--out" in refused.value.fix
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
