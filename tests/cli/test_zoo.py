"""A file of rows becomes requests, and each row gets a line of its own whatever becomes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from artifact.manifest import Waiver
from artifact.verify import verify
from cli.zoo import ZooIncomplete, ZooInvalid, ZooRow, read_zoo, tell
from compile.request import Shape
from compile.source import ModelNotFound
from tests.compile.results import compiled_example
from tests.kit.command import traceship
from tests.kit.models import tiny_model

ROWS = """
[defaults]
task = "feature-extraction"
target = "cpu"
bucket = ["1x16", "2x8"]
truncate = true

[row.first]
model = "pypi:one"

[row.second]
model = "hub:org/two"
task = "text-classification"
bucket = "1x24"
truncate = false
max-target-length = 12
single-fusion-ratio = 0.5
waive = { padding = "it reads = the last position", parity = "a looser tier" }
compiler-arg = ["--verbose=1", "-O2"]
"""
WHOLE = "[row.a]\ntask = 'fill-mask'\ntarget = 'cpu'"


def _zoo(folder: Path, text: str) -> Path:
    path = folder / "zoo.toml"
    path.write_text(text)
    return path


def test_rows_are_requests_with_the_defaults_under_them(tmp_path: Path) -> None:
    """A row's own word wins; switches, lists and tables are what they are on the command line."""
    requests = read_zoo(_zoo(tmp_path, ROWS), tmp_path / "out")

    assert list(requests) == ["first", "second"]
    first, second = requests.values()
    assert (first.model, first.out) == ("pypi:one", tmp_path / "out/first")
    assert first.shapes == (Shape(batch=1, length=16), Shape(batch=2, length=8))
    assert (first.truncate, second.truncate) == (True, False)
    assert second.shapes == (Shape(batch=1, length=24),)
    assert second.max_target_length == 12
    assert second.compiler.single_fusion_ratio == 0.5
    assert second.compiler.arguments == ("--verbose=1", "-O2")
    assert second.waivers == (
        Waiver(gate="padding", reason="it reads = the last position"),
        Waiver(gate="parity", reason="a looser tier"),
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("row = 1", "has no rows"),
        ("", "has no rows"),
        ("defaults = 1\n[row.a]\nmodel = 'm'", "has no rows"),
        ("[row.a", "is not TOML"),
        ("[rows.a]\nmodel = 'm'", "unknown table `rows`"),
        ("[row.'a b']\nmodel = 'm'", "cannot be called 'a b'"),
        ("[row.'../a']\nmodel = 'm'", "cannot be called"),
        ("[row.a]\nmodel = 'm'\nout = 'elsewhere'", "unknown key `out`"),
        ("[row.a]\nmodel = 'm'", "arguments are required"),
        ("[row.a]\nmodel = 'm'\ntask = 'fill-mask'\ntarget = 'cpu'\nbucket = '0x1'", "positive"),
        (
            "[row.a]\nmodel = true\ntask = 'fill-mask'\ntarget = 'cpu'\nbucket = '1x8'",
            "expected one argument",
        ),
    ],
)
def test_what_cannot_be_compiled_is_refused_before_anything_runs(
    tmp_path: Path, text: str, told: str
) -> None:
    """With the file, the row and the reason; exit code 2."""
    with pytest.raises(ZooInvalid) as refused:
        read_zoo(_zoo(tmp_path, text), tmp_path / "out")

    assert told in f"{refused.value.what} {refused.value.why}"
    assert refused.value.exit_code == 2


def test_a_misspelt_key_gets_the_nearest_valid_one(tmp_path: Path) -> None:
    """The command line's own names."""
    with pytest.raises(ZooInvalid) as refused:
        read_zoo(_zoo(tmp_path, "[row.a]\nbuckets = ['1x8']"), tmp_path / "out")

    assert refused.value.fix == "did you mean `bucket`?"


def test_the_table_has_a_line_for_each_row_and_a_failure_is_exit_code_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What failed says why; the others are told all the same."""
    rows = [
        ZooRow("good", compiled_example(), was_there=True),
        ZooRow("bad", ModelNotFound(source="nowhere", why="there is no such folder")),
    ]

    with pytest.raises(ZooIncomplete, match="bad") as failed:
        tell(rows, as_json=False)

    assert failed.value.exit_code == 1
    _, good, bad = capsys.readouterr().out.splitlines()
    assert good.split()[:4] == ["good", "was", "there", "ab" * 6]
    assert "there is no such folder" in bad


def test_a_zoo_compiles_here_too_and_a_rerun_does_only_what_is_left(tmp_path: Path) -> None:
    """One row after the other through the cache; one that fails does not stop the next."""
    model = tiny_model(tmp_path / "model")
    text = f"[defaults]\ntask = 'feature-extraction'\ntarget = 'cpu'\nmodel = '{model}'\n"
    zoo = _zoo(tmp_path, f"{text}[row.bad]\nbucket = '1x999'\n[row.good]\nbucket = '1x8'\n")
    env = {"TRACESHIP_CACHE": str(tmp_path / "cache")}
    command = ("compile", "--zoo", zoo, "--out", tmp_path / "out", "--json")

    first = traceship(*command, cwd=tmp_path, env=env)
    second = traceship(*command, cwd=tmp_path, env=env)

    assert (first.code, first.error["id"]) == (1, "zoo-incomplete")
    assert [(row["name"], row["status"]) for row in first.json] == [("bad", "failed"), ("good", "compiled")]
    assert [(row["name"], row["status"]) for row in second.json] == [("bad", "failed"), ("good", "was there")]
    assert first.json[0]["error"]["id"] == "bucket-too-long"
    assert verify(tmp_path / "out/good", digest=first.json[1]["result"]["digest"])
    assert not (tmp_path / "out/bad").exists()


def test_an_option_of_a_row_does_not_go_on_the_command_line_of_a_zoo(tmp_path: Path) -> None:
    """It would be unclear which of the two holds."""
    zoo = _zoo(tmp_path, ROWS)

    answer = traceship("compile", "--zoo", zoo, "--out", "o", "--tier", "cpu", "--json", cwd=tmp_path)
    nowhere = traceship("compile", "--zoo", zoo, "--json", cwd=tmp_path)

    assert (answer.code, answer.error["what"]) == (2, "--tier does not go with --zoo")
    assert nowhere.code == 2
    assert "--out" in nowhere.error["why"]
