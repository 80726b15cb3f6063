"""A file has one cut, which its size decides."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from compile.publish.parts import (
    MAX_OBJECT_BYTES,
    MAX_PARTS,
    MIN_PART_BYTES,
    FilePart,
    Part,
    composite,
    encoded,
    hash_file,
    in_one_piece,
    part_size,
    parts_of,
)

SIZES = st.integers(0, MAX_OBJECT_BYTES)


@given(SIZES)
def test_the_parts_of_any_file_are_the_file_and_are_what_s3_takes(size: int) -> None:
    """No gap, no overlap, at most 10,000, each but the last of one size of at least 8 MiB."""
    each = part_size(size)
    cut = parts_of(size)

    assert each >= MIN_PART_BYTES
    assert each % 1024**2 == 0
    assert 1 <= len(cut) <= MAX_PARTS
    assert [part.number for part in cut] == list(range(1, len(cut) + 1))
    assert [part.offset for part in cut] == [i * each for i in range(len(cut))]
    assert all(part.size == each for part in cut[:-1])
    assert sum(part.size for part in cut) == size
    assert size == 0 or 0 < cut[-1].size <= each


@given(SIZES, SIZES)
def test_a_larger_file_never_has_smaller_parts(one: int, other: int) -> None:
    """So that the limits hold everywhere between two sizes at which they hold."""
    assert (part_size(one) <= part_size(other)) or one > other


def test_a_file_goes_in_one_piece_where_one_part_holds_it() -> None:
    """The two ways meet: no size has neither, none has both."""
    assert in_one_piece(MIN_PART_BYTES)
    assert len(parts_of(MIN_PART_BYTES)) == 1
    assert not in_one_piece(MIN_PART_BYTES + 1)
    assert len(parts_of(MIN_PART_BYTES + 1)) == 2


def test_both_checksums_of_a_file_come_from_one_reading(tmp_path: Path) -> None:
    """Against the definition, spelt out."""
    data = os.urandom(1 << 16) * (MIN_PART_BYTES // (1 << 16)) + b"the last part"
    path = tmp_path / "file"
    path.write_bytes(data)

    with path.open("rb") as file:
        hashed = hash_file(file, len(data))

    digests = [hashlib.sha256(data[:MIN_PART_BYTES]).digest(), hashlib.sha256(b"the last part").digest()]
    assert hashed.sha256 == hashlib.sha256(data).hexdigest()
    assert hashed.composite == composite(digests)
    assert hashed.composite == encoded(hashlib.sha256(b"".join(digests)).digest()) + "-2"


@settings(max_examples=50)
@given(st.binary(max_size=200), st.data())
def test_a_part_of_a_file_reads_like_a_file_of_its_own(content: bytes, data: st.DataObject) -> None:
    """Whatever is read and sought, it gives the bytes of its range and no others."""
    import io
    import tempfile

    offset = data.draw(st.integers(0, len(content)))
    size = data.draw(st.integers(0, len(content) - offset))
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        part, like = FilePart(file, Part(1, offset, size)), io.BytesIO(content[offset : offset + size])
        for _ in range(data.draw(st.integers(1, 5))):
            to = data.draw(st.integers(0, size))
            assert part.seek(to) == like.seek(to)
            wanted = data.draw(st.integers(-1, 50))
            assert part.read(wanted) == like.read(wanted)
            assert part.tell() == like.tell()
        assert part.seek(0, os.SEEK_END) == size
