"""The report as the commands write it, and what it may be drawn from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cli.reporting import NoResultKept, NotAResult, keep_result, kept_result, load_result
from compile.result import result_data
from tests.compile.results import compiled_example
from tests.kit.command import traceship
from tests.kit.handmade import build
from tests.kit.models import tiny_model


def test_compile_writes_the_page_that_report_draws_from_its_json(tmp_path: Path) -> None:
    """One run of the real thing: gates, figures and padding reach the page through every process."""
    tiny_model(tmp_path / "model")
    words = ["--model", "model", "--task", "feature-extraction", "--target", "cpu", "--bucket", "2x16"]

    made = traceship(
        "compile", *words, "--no-cache", "--out", "made", "--report", "1.html", "--json", cwd=tmp_path
    )
    (tmp_path / "result.json").write_text(made.stdout)
    drawn = traceship("report", "result.json", "--out", "2.html", "--json", cwd=tmp_path).json

    page = (tmp_path / "1.html").read_text(encoding="utf-8")
    assert made.code == 0, made.stderr
    assert drawn == {"path": "2.html", "digest": made.json["digest"]}
    assert (tmp_path / "2.html").read_text(encoding="utf-8") == page
    assert made.json["digest"] in page
    for words_of_a_gate in ("sensitivity", "same token ids", "% wasted", "2x16 last_hidden_state"):
        assert words_of_a_gate in page


def test_a_report_that_would_replace_a_file_is_refused_before_the_compile(tmp_path: Path) -> None:
    """Exit code 5, the file as it was, and no artifact."""
    (tmp_path / "notes.md").write_text("mine")
    words = ["--model", "absent", "--task", "feature-extraction", "--target", "cpu", "--bucket", "2x16"]

    answer = traceship("compile", *words, "--out", "made", "--report", "notes.md", "--json", cwd=tmp_path)

    assert (answer.code, answer.error["id"]) == (5, "report-in-the-way")
    assert (tmp_path / "notes.md").read_text() == "mine"
    assert not (tmp_path / "made").exists()


def test_ship_reports_only_what_it_knows(tmp_path: Path) -> None:
    """An artifact from elsewhere has no figures beside it; nothing is published in silence."""
    traceship("init", "--target", "cpu", "--name", "search", cwd=tmp_path)
    build(tmp_path / "made")

    answer = traceship("ship", "--artifact", "made", "--report", "r.html", "--json", cwd=tmp_path)

    assert (answer.code, answer.error["id"]) == (2, "no-result-kept")
    assert not (tmp_path / "r.html").exists()


def test_a_result_is_kept_beside_its_artifact(tmp_path: Path) -> None:
    """Not in it: its figures differ from machine to machine."""
    compiled = replace(compiled_example(), path=tmp_path / "artifact")
    with pytest.raises(NoResultKept):
        kept_result(compiled.path)

    keep_result(compiled)

    assert kept_result(compiled.path) == compiled
    assert [path.name for path in tmp_path.iterdir()] == ["artifact.result.json"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "no such file"),
        ("<html>", "Expecting value"),
        ("[]", "list"),
        ("{}", "'path'"),
        (json.dumps({**result_data(compiled_example()), "parity": [{"bucket": 7}]}), "Expected `str`"),
    ],
)
def test_what_is_no_result_is_refused_with_the_reason(tmp_path: Path, text: str | None, why: str) -> None:
    """Missing, no JSON, or JSON of another form."""
    path = tmp_path / "result.json"
    if text is not None:
        path.write_text(text)

    with pytest.raises(NotAResult, match=why):
        load_result(path)
