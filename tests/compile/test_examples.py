"""What the proof asks: our own texts as each task's inputs, and the user's file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compile.examples import MAX_SAMPLES, SamplesUnusable, built_in, read_samples
from compile.tasks import TASKS


def _read(tmp_path: Path, content: str, task: str, name: str = "samples.jsonl", **options: Any) -> Any:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    settings = {"choices": 2, "mask_token": "[MASK]", **options}
    return read_samples(path, TASKS[task], **settings)


@pytest.mark.parametrize("task", sorted(TASKS))
def test_every_task_has_short_and_long_examples(task: str) -> None:
    """Short ones for small buckets, long ones that every bucket must cut."""
    examples = built_in(TASKS[task], choices=3, mask_token="[MASK]")
    sizes = [len(str(example.parts)) for example in examples if example.full]

    assert min(sizes) < 80 < 400 < max(sizes)
    assert all(len(example.parts) == (3 if task == "multiple-choice" else 1) for example in examples)


def test_a_masked_example_has_exactly_one_mask() -> None:
    """The word in the middle, whatever the script."""
    examples = built_in(TASKS["fill-mask"], choices=None, mask_token="<mask>")

    assert all(str(example.parts[0]).count("<mask>") == 1 for example in examples)


def test_a_question_never_lacks_its_context() -> None:
    """To transformers a pair with an empty half is a single text."""
    assert all(
        example.full for example in built_in(TASKS["question-answering"], choices=None, mask_token=None)
    )


@pytest.mark.parametrize(
    ("task", "line", "parts", "label"),
    [
        ("feature-extraction", "plain text", ("plain text",), None),
        ("feature-extraction", '"quoted"', ("quoted",), None),
        ("text-classification", {"text": "a", "label": "yes"}, ("a",), "yes"),
        ("text-classification", {"text": "a", "text_pair": "b"}, (("a", "b"),), None),
        ("text-classification", {"inputs": {"text": "a", "text_pair": "b"}, "label": 1}, (("a", "b"),), 1),
        ("token-classification", {"text": "a b", "label": ["x", "y"]}, ("a b",), ["x", "y"]),
        ("question-answering", {"question": "q", "context": "c", "answer": "c"}, (("q", "c"),), "c"),
        ("fill-mask", {"text": "a [MASK]", "label": "b"}, ("a [MASK]",), "b"),
        ("multiple-choice", {"text": "t", "choices": ["a", "b"], "label": 1}, (("t", "a"), ("t", "b")), 1),
    ],
)
def test_the_users_examples_are_inputs_of_the_task(
    task: str, line: Any, parts: tuple[Any, ...], label: Any, tmp_path: Path
) -> None:
    """One a line, with or without what is right."""
    text = line if isinstance(line, str) else json.dumps(line)

    (example,) = _read(tmp_path, text + "\n\n", task)

    assert (example.parts, example.label) == (parts, label)


@pytest.mark.parametrize("line", ["[MASK] is it", '"Yes," he said', "[" * 100_000, "a\u2028b\x0cc"])
def test_a_plain_line_may_begin_or_go_on_like_json(line: str, tmp_path: Path) -> None:
    """A bracket, a quotation mark, and what other tools take for the end of a line."""
    examples = _read(
        tmp_path, f"{line}\r\nanother [MASK]", "fill-mask" if "MASK" in line else "feature-extraction"
    )

    assert [example.parts[0] for example in examples] == [line, "another [MASK]"]


def test_a_json_array_is_read_like_its_lines(tmp_path: Path) -> None:
    """The other form that data sets have."""
    items = [{"text": "a"}, "b"]

    assert [e.request for e in _read(tmp_path, json.dumps(items), "feature-extraction")] == ["a", "b"]


@pytest.mark.parametrize(
    ("task", "content", "why"),
    [
        ("feature-extraction", "", "empty"),
        ("feature-extraction", "{broken", "line 1 is not JSON"),
        ("feature-extraction", '{"text": "\\ud83d"}', "half of a surrogate pair"),
        ("feature-extraction", "{" * 100_000, "line 1 is not JSON"),
        ("text-classification", '{"text": "a", "text_pair": ""}', "text_pair is empty"),
        ("feature-extraction", '{"words": 3}', "no text"),
        ("feature-extraction", '{"text": 3}', "text is not a text"),
        ("feature-extraction", "[3]", "neither a text nor an object"),
        ("question-answering", '{"question": "q"}', "no context"),
        ("fill-mask", '{"text": "no gap here"}', r"no \[MASK\]"),
        ("multiple-choice", '{"text": "t", "choices": ["a"]}', "must have 2 choices"),
        ("multiple-choice", '{"text": "t", "choices": ["a", 1]}', "choice is not a text"),
        ("text-classification", "a\n" * (MAX_SAMPLES + 1), "at most 10000"),
    ],
)
def test_a_file_that_does_not_fit_the_task_is_refused_with_the_line(
    task: str, content: str, why: str, tmp_path: Path
) -> None:
    """And with the form that is wanted."""
    with pytest.raises(SamplesUnusable, match=why) as refused:
        _read(tmp_path, content, task)

    assert "one example a line" in refused.value.fix


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    """Before anything is traced."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")

    for name in ("missing", "binary"):
        with pytest.raises(SamplesUnusable, match="cannot be read"):
            read_samples(tmp_path / name, TASKS["feature-extraction"], choices=None, mask_token=None)


@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=5))
def test_any_text_survives_the_file(texts: list[str]) -> None:
    """Quotes, line separators, other scripts: as JSON Lines nothing changes."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        content = "\n".join(json.dumps({"text": text}) for text in texts)
        examples = _read(Path(folder), content, "feature-extraction")

    assert [example.parts[0] for example in examples] == texts
