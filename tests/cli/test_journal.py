"""What was recorded is remembered; what was torn or damaged was never recorded."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from cli.journal import Journal

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["package", "sign"]),
        st.text(max_size=5),
        st.dictionaries(st.text(max_size=3), st.integers()),
    ),
    min_size=1,
    max_size=6,
)


def _written(folder: str, steps: list[tuple[str, str, dict[str, int]]]) -> Journal:
    journal = Journal(Path(folder))
    for step, of, outcome in steps:
        journal.record(step, of, outcome)
    return journal


def test_the_last_outcome_of_the_same_inputs_counts(tmp_path: Path) -> None:
    """Other inputs have outcomes of their own."""
    journal = Journal(tmp_path / "state")
    journal.record("package", "a", {"bytes": 1})
    journal.record("package", "b", {"bytes": 2})
    journal.record("package", "a", {"bytes": 3})

    again = Journal(tmp_path / "state")

    assert again.outcome("package", "a") == {"bytes": 3}
    assert again.outcome("package", "b") == {"bytes": 2}
    assert again.outcome("sign", "a") is None


def test_the_same_outcome_is_not_written_twice(tmp_path: Path) -> None:
    """A ship without changes leaves the file as it is."""
    journal = Journal(tmp_path)
    journal.record("package", "a", {"bytes": 1})
    before = journal.path.read_bytes()

    journal.record("package", "a", {"bytes": 1})

    assert journal.path.read_bytes() == before


@settings(max_examples=40, deadline=None)
@given(steps=STEPS, data=st.data())
def test_a_journal_that_was_cut_anywhere_holds_its_whole_lines_and_goes_on(
    steps: list[tuple[str, str, dict[str, int]]], data: st.DataObject
) -> None:
    """A torn last line is dropped, and what is recorded next is not spoilt by it."""
    with tempfile.TemporaryDirectory() as folder:
        journal = _written(folder, steps)
        whole, records = journal.path.read_bytes(), list(journal.records())
        cut = data.draw(st.integers(0, len(whole)))
        journal.path.write_bytes(whole[:cut])

        left = list(journal.records())
        journal.record("lock", "next", {"sha256": "x"})

        # a line whose newline alone is missing has all that was recorded
        assert left in (records[: whole[:cut].count(b"\n")], records[: whole[:cut].count(b"\n") + 1])
        kept = records[: whole[:cut].count(b"\n")]
        assert list(journal.records()) == [*kept, {"step": "lock", "of": "next", "outcome": {"sha256": "x"}}]


@settings(max_examples=40, deadline=None)
@given(steps=STEPS, data=st.data())
def test_a_damaged_byte_takes_no_more_than_its_lines_with_it(
    steps: list[tuple[str, str, dict[str, int]]], data: st.DataObject
) -> None:
    """No record is ever read as something that was not written."""
    with tempfile.TemporaryDirectory() as folder:
        journal = _written(folder, steps)
        whole, records = bytearray(journal.path.read_bytes()), list(journal.records())
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
        journal.path.write_bytes(whole)

        left = list(journal.records())

        assert len(records) - 2 <= len(left) <= len(records)
        assert [record for record in records if record in left] == left
