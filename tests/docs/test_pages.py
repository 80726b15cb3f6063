"""What pages and error messages tell people to type exists, and what they point at is there."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cli.__main__ import _COMMANDS
from cli.__main__ import traceship as group
from tests.kit.command import CHECKOUT

PAGES = sorted([CHECKOUT / "README.md", *(CHECKOUT / "docs").rglob("*.md")])
PACKAGES = ("artifact", "cli", "compile", "fleet", "inference_code", "infra", "local_aws", "settings")
SOURCES = sorted(path for package in PACKAGES for path in (CHECKOUT / package).rglob("*.py"))
TYPED = re.compile(r"(?:`|bin/|^ {4}|\$\()traceship((?: +[^`\n#)]+)?)", flags=re.MULTILINE)


def _typed(path: Path) -> Iterator[list[str]]:
    """Every command line of ours that the file shows, as words after ``traceship``."""
    for match in TYPED.finditer(path.read_text(encoding="utf-8")):
        words = match[1].split()
        while words and words[0].startswith("--"):  # options of the group and their values
            takes_value = words[0] in {"--settings", "--stage", "--service"}
            words = words[2:] if takes_value else words[1:]
        if words and re.fullmatch(r"[a-z]+", words[0]):
            yield words


def _command(words: list[str]) -> click.Command:
    assert words[0] in _COMMANDS, f"there is no command {words[0]!r}"
    command: click.Command = importlib.import_module(f"cli.commands.{words[0]}").command
    if isinstance(command, click.Group) and len(words) > 1 and re.fullmatch(r"[a-z]+", words[1]):
        assert words[1] in command.commands, f"there is no command {' '.join(words[:2])!r}"
        return command.commands[words[1]]
    return command


@pytest.mark.parametrize("path", [*PAGES, *SOURCES], ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_command_and_option_that_people_are_told_to_type_exists(path: Path) -> None:
    """Pages, docstrings and the fixes of errors name nothing that is not there."""
    for words in _typed(path):
        command = _command(words)
        known = {name for option in [*command.params, *group.params] for name in getattr(option, "opts", [])}
        for option in [word.split("=")[0].rstrip(".,;:") for word in words if word.startswith("--")]:
            assert option in known | {"--help"}, f"`traceship {' '.join(words)}` has no {option}"


def test_the_pages_show_commands_at_all() -> None:
    """The search finds what it is for; an empty search would prove nothing."""
    found = {words[0] for path in PAGES for words in _typed(path)}

    assert {"init", "ship", "deploy", "status", "invoke", "demo", "local"} <= found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_every_relative_link_of_a_page_leads_somewhere(page: Path) -> None:
    """Files and folders that a page points at are in the repository."""
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target


def test_every_page_that_an_error_points_at_exists() -> None:
    """`docs/….md` in a message is a page."""
    for path in SOURCES:
        for page in re.findall(r"docs/[a-z0-9/-]+\.md", path.read_text(encoding="utf-8")):
            assert (CHECKOUT / page).exists(), f"{path.relative_to(CHECKOUT)} names {page}"


def test_make_has_the_two_targets_of_the_readme() -> None:
    """The two commands of the first page."""
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")

    for target in ("demo", "test", "setup", "check"):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
