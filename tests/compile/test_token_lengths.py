"""Texts become lengths with the model's own tokenizer, special tokens included."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compile.lengths import Kind, LengthsEmpty
from compile.source import ModelSource, resolve
from compile.token_lengths import CountJob, TextRefused, count_here, count_tokens, read_texts

TEXTS = ["the cat", "it was in the mill", "a", "the " * 200, "", "é ü"]


@pytest.fixture
def source(tiny_bert: Path) -> ModelSource:
    return resolve(str(tiny_bert))


def _write(folder: Path, lines: list[str]) -> Path:
    path = folder / "texts"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _count(path: Path, kind: Kind, source: ModelSource, folder: Path) -> dict[int, int]:
    exposed = source.expose(folder / "exposed")
    return dict(count_here(CountJob(model=str(exposed), file=str(path), kind=kind)).counts)


def test_the_lengths_are_those_of_transformers_own_tokenizer(
    source: ModelSource, tiny_bert: Path, tmp_path: Path
) -> None:
    """Whole, without padding or truncation, in a child process as the command runs it."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_bert)
    expected: dict[int, int] = {}
    for text in TEXTS:
        length = len(tokenizer(text)["input_ids"])
        expected[length] = expected.get(length, 0) + 1

    found = count_tokens(_write(tmp_path, [json.dumps(text) for text in TEXTS]), "json-lines", source)

    assert found == expected
    assert max(found) == 202


def test_a_pair_is_counted_as_the_model_reads_it(source: ModelSource, tmp_path: Path) -> None:
    """[CLS] the cat [SEP] a mill [SEP]: one separator more than a text."""
    lines = ['{"text": "the cat", "text_pair": "a mill"}', '{"text": "the cat", "text_pair": null}']

    assert _count(_write(tmp_path, lines), "json-lines", source, tmp_path) == {7: 1, 4: 1}


def test_blank_lines_are_no_texts(tmp_path: Path) -> None:
    """Neither between texts nor at the end."""
    path = _write(tmp_path, ["the cat", "", "  ", " 12 "])

    assert list(read_texts(path, "texts")) == ["the cat", "12"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("the cat", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("12", "neither a string"),
        ('{"txt": "a"}', "neither a string"),
        ('{"text": 5}', "neither a string"),
        ('{"text": "a", "text_pair": 5}', "text_pair"),
    ],
)
def test_a_json_line_without_a_text_is_named(line: str, why: str, tmp_path: Path) -> None:
    """With its number; a text that is not counted would bend the plan."""
    with pytest.raises(TextRefused) as refused:
        list(read_texts(_write(tmp_path, ['"fine"', "", line]), "json-lines"))

    assert "line 3" in refused.value.what
    assert why in refused.value.why


def test_the_childs_refusal_is_the_commands(source: ModelSource, tmp_path: Path) -> None:
    """The same class, over the process boundary."""
    with pytest.raises(TextRefused, match="line 1"):
        count_tokens(_write(tmp_path, ["5"]), "json-lines", source)


def test_a_file_of_blank_lines_has_no_texts(source: ModelSource, tmp_path: Path) -> None:
    """As a file without numbers."""
    with pytest.raises(LengthsEmpty):
        _count(_write(tmp_path, ["", " "]), "texts", source, tmp_path)
