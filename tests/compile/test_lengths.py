"""Every kind of file is told from its content, and whatever is wrong is named with its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compile.lengths import (
    MOST,
    Found,
    Kind,
    LengthRefused,
    LengthsAmbiguous,
    LengthsEmpty,
    LengthsUnreadable,
    read_lengths,
)

histograms = st.dictionaries(st.integers(1, 5000), st.integers(1, 20), min_size=1, max_size=30)


def _read(folder: Path, content: str | bytes, kind: Kind | None = None) -> Found:
    path = folder / "lengths"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_lengths(path, kind)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    histogram=histograms, newline=st.sampled_from(["\n", "\r\n"]), separator=st.sampled_from([",", ";", "\t"])
)
def test_the_same_rows_in_any_form_are_the_same_histogram(
    histogram: dict[int, int], newline: str, separator: str, tmp_path: Path
) -> None:
    """CSV with and without header and in either order, JSON, and one length a line."""
    pairs = list(histogram.items())
    forms = {
        "plain": [f"{length}{separator}{count}" for length, count in pairs],
        "header": [f"length{separator}count", *(f"{length}{separator} {count}" for length, count in pairs)],
        "turned": [f"Count{separator}Length", *(f"{count}{separator}{length}" for length, count in pairs)],
        "lengths": [str(length) for length, count in pairs for _ in range(count)],
        "named": ["length", *(f" {length} " for length, count in pairs for _ in range(count))],
        "json": [json.dumps(histogram)],
        "pretty": json.dumps(histogram, indent=1).split("\n"),
    }

    for lines in forms.values():
        found = _read(tmp_path, newline.join([*lines, "", ""]))
        assert found.histogram == histogram


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("12\n40\n", "lengths"),
        ("\ufeff12\n", "lengths"),
        ("\n\n  12\n", "lengths"),
        ("12,40\n", "histogram"),
        ('{"12": 40}', "histogram"),
        ("A text.\nAnother, with 12 in it\n", "texts"),
        ("3 apples, 4 pears\n", "texts"),
        ("in 1984\n1984\n2001 odyssey\n", "texts"),
        ('{"text": "a"}\n{"text": "b", "text_pair": "c"}\n', "json-lines"),
        ('{"text": "only one"}', "json-lines"),
        ('"a"\n"b"\n', "json-lines"),
    ],
)
def test_the_kind_is_told_from_the_content(content: str, kind: str, tmp_path: Path) -> None:
    """The file's name plays no part."""
    assert _read(tmp_path, content).kind == kind


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("12,40,17\n", "3 numbers"),
        ("tokens\n12\n40\n", "neither `length`"),
        ("tokens,rows\n12,40\n", "neither `length`"),
        ("[12, 40]\n", "array"),
        ('{"12": 40\n', "begins like JSON"),
        ('"Hello," she said.\n', "begins like JSON"),
        ('{"a": 1}\n', "keys that are no lengths"),
        ('{"12": 40}\n{"13": 2}\n', "keys that are no lengths"),
    ],
)
def test_what_could_be_two_things_is_refused_and_the_option_named(
    content: str, why: str, tmp_path: Path
) -> None:
    """Nothing is guessed; saying the kind settles it."""
    with pytest.raises(LengthsAmbiguous) as refused:
        _read(tmp_path, content)

    assert why in refused.value.why
    assert "--kind" in refused.value.fix
    assert _read(tmp_path, content, "texts") == Found(kind="texts", histogram=None)


@pytest.mark.parametrize(
    ("content", "place", "why"),
    [
        ("12\n0\n", "line 2", "not from 1"),
        ("12\n\n-5\n", "line 3", "not from 1"),
        ("-5\n", "line 1", "not from 1"),
        ("12.5\n", "line 1", "not a whole number"),
        ("nan\n", "line 1", "not a whole number"),
        ("1e3\n", "line 1", "not a whole number"),
        (f"12\n{MOST + 1}\n", "line 2", "not from 1"),
        ("9" * 5000, "line 1", "not from 1"),
        ("12\nnot a number\n", "line 2", "not a whole number"),
        ("12\n13,4\n", "line 2", "not one length"),
        ("12,40\n13\n", "line 2", "not a length and a count"),
        ("12,-1\n", "line 1", "not from 0"),
        ("0,5\n", "line 1", "not from 1"),
        ("length,count\n12,x\n", "line 2", "not a whole number"),
        ('{"0": 5}', "'0'", "not from 1"),
        ('{"-3": 5}', "'-3'", "not from 1"),
        ('{"12": -5}', "'12'", "not from 0"),
        ('{"12": 1.5}', "'12'", "not a whole number"),
        ('{"12": true}', "'12'", "not a whole number"),
        ('{"12": "40"}', "'12'", "not a whole number"),
        ('{"12": [1]}', "'12'", "not a whole number"),
    ],
)
def test_a_value_that_is_no_length_or_count_is_named_with_its_line(
    content: str, place: str, why: str, tmp_path: Path
) -> None:
    """Zero, negative, broken, absurd, or of another kind than the first line."""
    with pytest.raises(LengthRefused) as refused:
        _read(tmp_path, content)

    assert place in refused.value.what
    assert why in refused.value.why
    assert refused.value.exit_code == 2


def test_json_that_is_no_object_is_refused_where_a_histogram_was_promised(tmp_path: Path) -> None:
    """With the parser's own words."""
    with pytest.raises(LengthRefused, match="JSON"):
        _read(tmp_path, '{"12": 40', "histogram")


@pytest.mark.parametrize("content", ["", "\n \n", "length\n", "length,count\n", "12,0\n", "{}", '{"12": 0}'])
def test_a_file_without_rows_is_refused(content: str, tmp_path: Path) -> None:
    """Nothing to plan for."""
    with pytest.raises(LengthsEmpty):
        _read(tmp_path, content)


def test_a_length_that_is_listed_twice_is_added_up(tmp_path: Path) -> None:
    """Histograms of several days can simply follow each other."""
    assert _read(tmp_path, "length,count\n12,40\n9,0\nlength,count\n12,2\n").histogram == {12: 42}
    assert _read(tmp_path, '{"12": 40, "12": 2}').histogram == {12: 42}


@pytest.mark.parametrize("content", [b"\xff\xfe1\x002\x00", b"12\n\x80\n"])
def test_bytes_that_are_no_text_are_refused(content: bytes, tmp_path: Path) -> None:
    """Not UTF-8."""
    with pytest.raises(LengthsUnreadable, match="UTF-8"):
        _read(tmp_path, content)


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    """Missing, or a folder."""
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(LengthsUnreadable, match=path.name):
            read_lengths(path)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.text() | st.binary())
def test_any_content_is_read_or_refused_and_never_a_crash(content: str | bytes, tmp_path: Path) -> None:
    """One of our errors, or rows above 0, or texts."""
    try:
        found = _read(tmp_path, content if isinstance(content, bytes) else content.encode(errors="replace"))
    except (LengthRefused, LengthsAmbiguous, LengthsEmpty, LengthsUnreadable):
        return
    assert found.histogram is None or all(n > 0 and count > 0 for n, count in found.histogram.items())
