"""A Java for TorchServe is found, or brought without root."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stock.java import java_home, new_enough, relink


@pytest.mark.parametrize(
    ("told", "enough"),
    [
        ('openjdk version "17.0.15" 2025-04-15', True),
        ('openjdk version "11.0.2" 2019-01-15', True),
        ('openjdk version "25" 2025-09-16', True),
        ('openjdk version "1.8.0_392"', False),
        ('java version "10.0.1"', False),
        ("Error: could not open jvm.cfg", False),
        ("", False),
    ],
)
def test_javas_own_words_decide(told: str, enough: bool) -> None:
    """TorchServe wants 11."""
    assert new_enough(told) is enough


def test_without_java_a_test_fails_and_says_what_brings_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never skipped: a skipped proof looks like one."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(RuntimeError, match="make test"):
        java_home(tmp_path)


def test_an_unpacked_java_is_used_where_path_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By JAVA_HOME, which TorchServe's launcher reads."""
    java = tmp_path / "usr/lib/jvm/java-17/bin/java"
    java.parent.mkdir(parents=True)
    java.write_text("#!/bin/sh\necho 'openjdk version \"17.0.1\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert java_home(tmp_path) == str(tmp_path / "usr/lib/jvm/java-17")


def test_links_into_the_file_systems_root_are_turned_to_the_folder(tmp_path: Path) -> None:
    """Debian's jvm.cfg is one; without it Java does not start."""
    (tmp_path / "etc/java").mkdir(parents=True)
    (tmp_path / "etc/java/jvm.cfg").write_text("x")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/jvm.cfg").symlink_to("/etc/java/jvm.cfg")
    (tmp_path / "lib/elsewhere").symlink_to("/nowhere/at/all")
    (tmp_path / "lib/near").symlink_to("jvm.cfg")

    relink(tmp_path)

    assert (tmp_path / "lib/jvm.cfg").read_text() == "x"
    assert (tmp_path / "lib/elsewhere").readlink() == Path("/nowhere/at/all")
    assert (tmp_path / "lib/near").readlink() == Path("jvm.cfg")
