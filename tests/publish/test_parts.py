"""A file has one cut, which its size decides."""

from __future__ import annotations

import hashlib
import os
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from compile.cut import (
    MAX_OBJECT_BYTES,
    MAX_PARTS,
    MIN_PART_BYTES,
    Part,
    PartHash,
    composite,
    encoded,
    in_one_piece,
    part_size,
    parts_of,
)
from compile.publish.parts import FilePart

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


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 2 * MIN_PART_BYTES), max_size=4), st.sampled_from([0, 1, 5]))
def test_the_digests_of_parts_do_not_depend_on_the_pieces_that_come_by(ends: list[int], more: int) -> None:
    """Against the definition, spelt out; for a file that ends where a part does, too."""
    size = MIN_PART_BYTES + more
    data = (os.urandom(997) * (size // 997 + 1))[:size]
    edges = sorted({0, size, *(end for end in ends if end < size)})

    cut = PartHash(size)
    for start, end in pairwise(edges):
        cut.update(memoryview(data)[start:end])

    parts = [data[at : at + MIN_PART_BYTES] for at in range(0, size, MIN_PART_BYTES)]
    digests = tuple(hashlib.sha256(part).digest() for part in parts)
    assert cut.digests() == digests
    assert composite(digests) == f"{encoded(hashlib.sha256(b''.join(digests)).digest())}-{len(parts)}"


@given(st.binary(min_size=1, max_size=9))
def test_a_file_that_grew_or_shrank_has_other_digests(more: bytes) -> None:
    """What lies beyond the size counts, and what is missing too."""
    right, longer, shorter = PartHash(len(more)), PartHash(len(more)), PartHash(len(more))
    right.update(more)
    longer.update(more + b"x")
    shorter.update(more[1:])

    assert len({right.digests(), longer.digests(), shorter.digests()}) == 3
    assert PartHash(0).digests() == (hashlib.sha256().digest(),)


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
