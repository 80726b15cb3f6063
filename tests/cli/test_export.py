"""``traceship export`` as people and scripts use it."""

from __future__ import annotations

import ast
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.command import CHECKOUT, traceship
from tests.kit.handmade import Recipe, World, build


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    """An artifact with the buckets 1x8 and 4x16."""
    return build(tmp_path_factory.mktemp("export") / "artifact", Recipe(buckets=((1, 8), (4, 16))))


def test_one_bucket_is_told_with_everything_that_a_caller_needs(made: World, tmp_path: Path) -> None:
    """Place, digest and size of the file; names, types and shapes by position."""
    answer = traceship(
        "export", made.root, "--bucket", "4x16", "--out", "traced_bert.pt", "--json", cwd=tmp_path
    )

    told, written = answer.json, (tmp_path / "traced_bert.pt").read_bytes()
    assert answer.code == 0
    assert (told["path"], told["bucket"], told["digest"]) == ("traced_bert.pt", "4x16", made.digest)
    assert (told["size"], told["sha256"]) == (len(written), hashlib.sha256(written).hexdigest())
    assert told["inputs"] == [
        {"name": name, "dtype": "int64", "shape": [4, 16]}
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    assert told["outputs"] == [{"name": "embedding", "dtype": "float32", "shape": [4, 8]}]


def test_without_a_bucket_every_one_is_written_to_a_folder(made: World, tmp_path: Path) -> None:
    """One entry a file; people see the order of the inputs."""
    told = traceship("export", made.root, "--out", "all", "--json", cwd=tmp_path).json
    plain = traceship("export", made.root, "--out", "again", cwd=tmp_path)

    assert [(file["bucket"], file["path"]) for file in told["files"]] == [
        ("1x8", "all/b1_s8.pt"),
        ("4x16", "all/b4_s16.pt"),
    ]
    assert "input_ids int64, attention_mask int64, token_type_ids int64" in plain.stdout


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["--bucket", "8x128", "--out", "x.pt"], 2, "bucket-not-in-artifact"),
        (["--bucket", "8", "--out", "x.pt"], 2, "bad-bucket"),
        (["--bucket", "1x8", "--out", "taken.pt"], 5, "output-exists"),
    ],
)
def test_what_cannot_be_exported_is_refused_by_name(
    made: World, tmp_path: Path, words: list[str], code: int, error: str
) -> None:
    """With the exit code of its kind, and nothing written."""
    (tmp_path / "taken.pt").write_text("mine")

    answer = traceship("export", made.root, *words, "--json", cwd=tmp_path)

    assert (answer.code, answer.error["id"]) == (code, error)
    assert [path.name for path in tmp_path.iterdir()] == ["taken.pt"]


def test_the_command_itself_never_imports_torch(made: World, tmp_path: Path) -> None:
    """A child does; what kills it leaves the command alive to say so."""
    out = tmp_path / "x.pt"
    words = ["export", str(made.root), "--bucket", "1x8", "--out", str(out)]
    code = f"import sys; from cli.__main__ import main; main({words!r}); print(sorted(sys.modules))"

    result = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )

    assert out.exists()
    assert "torch" not in ast.literal_eval(result.stdout.splitlines()[-1])
