"""An archive is the one that traceship writes for its manifest, or it is refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import random
import re
import resource
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifact.canonical import encode
from artifact.errors import TraceshipError
from artifact.listing import MAX_MANIFEST_BYTES, digest_file
from artifact.manifest import MANIFEST, MANIFEST_DIGEST, File
from artifact.packed import (
    BLOCK_HEADER,
    GZIP_HEADER,
    STORED_MAX,
    TRAILER,
    ArchiveChanged,
    MemberUnpackable,
    _content,
    ending,
    header,
    padding,
    verify_packed,
)
from artifact.verify import AnotherArtifact, ArtifactChanged, UnknownSchema, verify
from compile.archive import Member, artifact_members, write_archive
from compile.stock import code_files, stock_members
from tests.kit.command import CHECKOUT
from tests.kit.folders import CONTENT, manifest_of, write_folder
from tests.kit.wheels import wheels

_FLIPS = 1000
_BOMB_BYTES = 64 * 1024 * 1024
_BOMB_SECONDS = 1.0
Parts = list[tuple[str, bytes]]


@dataclass(frozen=True)
class World:
    """An artifact and its archive."""

    root: Path
    digest: str
    packed: bytes

    @property
    def parts(self) -> Parts:
        """The archive's files in their order."""
        names = [MANIFEST, MANIFEST_DIGEST, *sorted(CONTENT)]
        return [(name, (self.root / name).read_bytes()) for name in names]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two gzip blocks long."""
    base = tmp_path_factory.mktemp("packed")
    digest = write_folder(base / "artifact", {**CONTENT, "weights.safetensors": bytes(range(256)) * 400})
    write_archive(artifact_members(verify(base / "artifact")), base / "a.tar.gz")
    return World(root=base / "artifact", digest=digest, packed=(base / "a.tar.gz").read_bytes())


def _check(packed: bytes, digest: str | None = None) -> str:
    return verify_packed(io.BytesIO(packed), digest=digest).digest


def _tar(parts: Parts) -> bytes:
    body = b"".join(header(name, len(data)) + data + padding(len(data)) for name, data in parts)
    return body + ending(len(body))


def _stored(content: bytes) -> bytes:
    """Framed as traceship frames."""
    blocks = [content[at : at + STORED_MAX] for at in range(0, len(content), STORED_MAX)]
    framed = [
        BLOCK_HEADER.pack(at == len(blocks) - 1, len(block), len(block) ^ 0xFFFF) + block
        for at, block in enumerate(blocks)
    ]
    return GZIP_HEADER + b"".join(framed) + TRAILER.pack(zlib.crc32(content), len(content))


def _foreign(
    kind: bytes, name: bytes = b"config.json", *, size: int = 0, link: bytes = b"/etc/passwd"
) -> bytes:
    """A header of another kind with a checksum that is right."""
    made = tarfile.TarInfo(name.decode())
    made.type, made.size, made.linkname = kind, size, link.decode()
    return made.tobuf(tarfile.GNU_FORMAT)


def test_what_the_writer_writes_is_trusted(world: World) -> None:
    """By its own digest and by the pinned one; the helpers of this file frame as the writer does."""
    assert _check(world.packed) == world.digest
    assert _check(world.packed, world.digest) == world.digest
    assert _stored(_tar(world.parts)) == world.packed


def test_a_flipped_bit_anywhere_is_refused(world: World) -> None:
    """A thousand offsets, those of the gzip header, the tar's padding and the trailer among them."""
    chance = random.Random(5)
    size = len(world.packed)
    offsets = [*range(600), *range(size - 40, size), *chance.choices(range(size), k=_FLIPS - 640)]
    for offset in offsets:
        changed = bytearray(world.packed)
        changed[offset] ^= 1 << chance.randrange(8)

        with pytest.raises((ArchiveChanged, ArtifactChanged, UnknownSchema)):
            _check(bytes(changed))


@pytest.mark.parametrize("kept", [0, 1, 9, 10, 14, 15, 600, 70_000, -9, -8, -1])
def test_a_cut_archive_is_refused(world: World, kept: int) -> None:
    """Wherever it ends."""
    with pytest.raises(ArchiveChanged, match="ends in the middle"):
        _check(world.packed[:kept])


@given(st.binary(max_size=2000))
def test_whatever_the_bytes_are_the_answer_is_one_of_our_errors(data: bytes) -> None:
    """Also where they begin as an archive does."""
    for start in (b"", GZIP_HEADER):
        with pytest.raises(TraceshipError):
            _check(start + data)


@given(st.binary(max_size=1500))
def test_whatever_the_content_is_the_answer_is_one_of_our_errors(data: bytes) -> None:
    """Well framed and still not ours."""
    with pytest.raises(TraceshipError):
        _check(_stored(data + bytes(512)))


def _without(parts: Parts, name: str) -> Parts:
    return [part for part in parts if part[0] != name]


def _swapped(parts: Parts) -> Parts:
    return [*parts[:2], parts[3], parts[2], *parts[4:]]


CHANGES: dict[str, tuple[Callable[[Parts], Parts], str]] = {
    "a file missing": (lambda p: _without(p, "parity.json"), "parity.json.*missing"),
    "the last file missing": (lambda p: p[:-1], "weights.*missing, the archive ends"),
    "the manifest missing": (lambda p: p[1:], "manifest.json.*missing"),
    "a file too many in the middle": (lambda p: [*p[:3], ("f.py", b""), *p[3:]], "f.py.*not name it"),
    "a file too many at the end": (lambda p: [*p, ("z.py", b"x")], "z.py.*does not name it"),
    "a file renamed": (lambda p: [*p[:2], ("config.bak", p[2][1]), *p[3:]], "config.bak.*not name it"),
    "a file twice": (lambda p: [*p, p[2]], "config.json twice"),
    "a file twice in a row": (lambda p: [*p[:3], p[2], *p[3:]], "config.json twice"),
    "two files swapped": (_swapped, "config.json.*missing, golden.json is in its place"),
    "a file longer": (lambda p: [*p[:2], (p[2][0], p[2][1] + b"x"), *p[3:]], "has 24 bytes"),
    "a file changed": (lambda p: [*p[:2], (p[2][0], p[2][1][::-1]), *p[3:]], "config.json.*sha256"),
    "an absolute path": (lambda p: [*p, ("/etc/cron.d/x", b"x")], "'/etc/cron.d/x'.*plain relative"),
    "a path that leads out": (lambda p: [*p, ("../x", b"x")], "'../x'.*plain relative"),
    "a terminal's command": (lambda p: [*p, ("\x1b[2J", b"x")], r"x1b\[2J'.*plain relative"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_files_other_than_the_manifests_are_refused_by_name(world: World, case: str) -> None:
    """Each says what is wrong with which file."""
    change, words = CHANGES[case]

    with pytest.raises((ArchiveChanged, ArtifactChanged)) as refused:
        _check(_stored(_tar(change(world.parts))))

    assert _matches(words, refused.value)


def _matches(words: str, error: TraceshipError) -> bool:
    return re.search(words, f"{error.what}: {error.why}") is not None


SPECIAL = {
    "a link": b"2",
    "a hard link": b"1",
    "a device": b"3",
    "a pipe": b"6",
    "a folder": b"5",
    "a sparse file": b"S",
    "a long name": b"L",
    "an extended header": b"x",
}


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("place", ["first", "between", "last"])
def test_whatever_is_no_plain_file_is_refused_by_its_kind(world: World, kind: str, place: str) -> None:
    """Even where its name is the one that is expected."""
    at = {"first": 0, "between": 4, "last": len(world.parts)}[place]
    after = _tar(world.parts[at:])
    before = b"".join(header(n, len(d)) + d + padding(len(d)) for n, d in world.parts[:at])

    with pytest.raises(ArchiveChanged, match=f"it holds {kind}, config.json"):
        _check(_stored(before + _foreign(SPECIAL[kind]) + after))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (slice(100, 108), b"0004755\0"),
        (slice(108, 116), b"0001750\0"),
        (slice(136, 148), b"14000000000\0"),
        (slice(157, 168), b"/etc/passwd"),
        (slice(265, 269), b"root"),
        (slice(329, 337), b"0000001\0"),
        (slice(345, 349), b"/etc"),
        (slice(508, 512), b"more"),
        (slice(257, 262), b"sutar"),
    ],
    ids=["mode", "owner", "time", "link", "owner's name", "device", "folder", "rest", "same checksum"],
)
@pytest.mark.parametrize("nth", [0, 1, 2, len(CONTENT) + 1])
def test_a_header_with_another_mode_owner_or_time_is_refused(
    world: World, field: slice, value: bytes, nth: int
) -> None:
    """An archive has one spelling, so that its bytes say where it comes from; every header is held to it."""
    tar = bytearray(_tar(world.parts))
    at = sum(512 + len(data) + len(padding(len(data))) for _, data in world.parts[:nth])
    block = tar[at : at + 512]
    block[field] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    tar[at : at + 512] = block

    with pytest.raises((ArchiveChanged, ArtifactChanged)):
        _check(_stored(bytes(tar)))


def test_data_between_two_files_is_refused(world: World) -> None:
    """A tar fills each file's last block with zeros, in which something could hide."""
    tar = bytearray(_tar(world.parts))
    size = len(world.parts[0][1])
    tar[512 + size] = 1
    assert size % 512

    with pytest.raises(ArchiveChanged, match="between its files"):
        _check(_stored(bytes(tar)))


@pytest.mark.parametrize("sizes", [[100, STORED_MAX - 100], [STORED_MAX - 1, 1], [STORED_MAX, 0]])
def test_the_same_content_in_other_blocks_is_refused(sizes: list[int]) -> None:
    """Short ones, or an empty one at the end: any tool reads them, and the bytes would be others."""
    content = bytes(STORED_MAX)
    framed = GZIP_HEADER
    for at, size in enumerate(sizes):
        framed += BLOCK_HEADER.pack(at == len(sizes) - 1, size, size ^ 0xFFFF) + bytes(size)
    framed += TRAILER.pack(zlib.crc32(content), len(content))
    assert gzip.decompress(framed) == content
    assert list(_content(io.BytesIO(_stored(content)))) == [content]

    with pytest.raises(ArchiveChanged, match="block"):
        list(_content(io.BytesIO(framed)))


def test_a_manifest_over_the_limit_is_refused_before_it_is_read() -> None:
    """Its size is in its header."""
    data = b"{" + b" " * MAX_MANIFEST_BYTES

    with pytest.raises(ArtifactChanged, match="the limit is"):
        _check(_stored(_tar([(MANIFEST, data)])))


@pytest.mark.parametrize(
    ("packed", "words"),
    [
        (lambda w: w.packed + b"\0", "something follows its end"),
        (lambda w: w.packed + w.packed, "something follows its end"),
        (lambda w: _stored(_tar(w.parts) + bytes(512)), "data follows its last file"),
        (lambda w: _stored(_tar(w.parts) + b"x"), "data follows its last file"),
        (lambda w: _stored(_tar(w.parts)[:-1] + b"x"), "data follows its last file"),
        (lambda w: _stored(_tar(w.parts)[:-512]), "cut off"),
        (lambda w: gzip.compress(_tar(w.parts)), "gzip header"),
        (lambda w: GZIP_HEADER + gzip.compress(_tar(w.parts))[10:], "compressed"),
        (lambda w: _tar(w.parts), "gzip header"),
        (lambda w: w.packed[:-8] + bytes(4) + w.packed[-4:], "checksum"),
    ],
)
def test_what_is_around_the_files_is_refused_too(
    world: World, packed: Callable[[World], bytes], words: str
) -> None:
    """Nothing hides before, between or behind."""
    with pytest.raises(ArchiveChanged, match=words):
        _check(packed(world))


def test_the_archive_of_another_model_is_refused_by_the_pinned_digest(world: World, tmp_path: Path) -> None:
    """Whole and in order, and still not the one that was asked for."""
    write_folder(tmp_path / "other", {**CONTENT, "config.json": b"{}\n"})
    write_archive(artifact_members(verify(tmp_path / "other")), tmp_path / "other.tar.gz")

    with pytest.raises(AnotherArtifact, match="digest asked for"):
        _check((tmp_path / "other.tar.gz").read_bytes(), world.digest)


def test_the_archive_for_the_stock_container_is_held_to_this_checkouts_handler(tmp_path: Path) -> None:
    """Its code runs, and no manifest names it."""
    digest = write_folder(tmp_path / "artifact", CONTENT)
    members = stock_members(verify(tmp_path / "artifact"), checkout=CHECKOUT, wheels=wheels())
    packed = write_archive(members, tmp_path / "a.tar.gz").path.read_bytes()
    evil = [m if m.name != "code/inference.py" else Member(m.name, 4, lambda: [b"evil"]) for m in members]
    tampered = write_archive(evil, tmp_path / "b.tar.gz").path.read_bytes()

    def code() -> list[File]:
        return code_files(CHECKOUT, wheels())

    assert verify_packed(io.BytesIO(packed), code=code).digest == digest
    with pytest.raises(ArtifactChanged, match=r"code/inference\.py"):
        verify_packed(io.BytesIO(tampered), code=code)
    with pytest.raises(ArtifactChanged, match="does not name it"):
        verify_packed(io.BytesIO(packed))


def test_a_file_of_eight_gibibytes_has_a_header_that_the_systems_tar_reads(tmp_path: Path) -> None:
    """From there on the octal field is too short."""
    size = 8 * 1024**3 + 5
    with (tmp_path / "a.tar").open("wb") as file:
        file.write(header("weights.safetensors", size))
        file.truncate(512 + size + len(padding(size)))
        file.seek(0, os.SEEK_END)
        file.write(ending(512 + size + len(padding(size))))

    with tarfile.open(tmp_path / "a.tar") as tar:
        assert tar.next().size == size  # type: ignore[union-attr]
    listed = subprocess.run(["tar", "tvf", tmp_path / "a.tar"], check=True, capture_output=True, text=True)
    assert str(size) in listed.stdout


def test_a_long_name_has_a_header_that_the_systems_tar_reads(tmp_path: Path) -> None:
    """A manifest's longest path, below the folder of the stock container's archive."""
    name = "artifact/" + "a" * 60 + "/" + "b" * 39
    (tmp_path / "a.tar").write_bytes(_tar([(name, b"x")]))

    listed = subprocess.run(["tar", "tf", tmp_path / "a.tar"], check=True, capture_output=True, text=True)

    assert listed.stdout.strip() == name


def _gzip_of_zeros(path: Path) -> None:
    with path.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=1, mtime=0) as file:
        for _ in range(256):
            file.write(bytes(1024 * 1024))


def _zeros_behind_our_header(path: Path) -> None:
    _gzip_of_zeros(path)
    path.write_bytes(GZIP_HEADER + path.read_bytes()[10:])


def _sparse(path: Path) -> None:
    """A member that claims a terabyte and holds nothing."""
    path.write_bytes(_stored(_foreign(b"S", b"manifest.json", size=1024**4 % 8**11)))


def _huge_manifest(path: Path) -> None:
    path.write_bytes(_stored(header(MANIFEST, 1024**4) + bytes(1024)))


def _many(path: Path) -> None:
    """A million empty files, well framed, half a gigabyte of headers that are never read."""
    one = header("f", 0)
    with path.open("wb") as file:
        file.write(GZIP_HEADER)
        block = (one * 128)[:STORED_MAX].ljust(STORED_MAX, b"\0")
        for _ in range(512):
            file.write(BLOCK_HEADER.pack(0, STORED_MAX, 0) + block)


def _claiming(path: Path) -> None:
    """A manifest that is canonical and names as many files as it may, each of a terabyte."""
    manifest = manifest_of(CONTENT)
    many = tuple(File(path=f"f{n}", size=1024**4, sha256="0" * 64) for n in range(4000))
    _write_with_manifest(path, encode(msgspec.structs.replace(manifest, files=(*manifest.files, *many))))


def _nested_manifest(path: Path) -> None:
    """As many small objects as fit into the largest manifest."""
    filler = b"[" + b",".join([b"{}"] * ((4 * 1024 * 1024 - 100) // 3)) + b"]"
    _write_with_manifest(path, b'{"schema":"traceship.artifact/1","x":' + filler + b"}")


def _deep_manifest(path: Path) -> None:
    _write_with_manifest(path, b'{"schema":' + b"[" * 1_000_000)


def _write_with_manifest(path: Path, data: bytes) -> None:
    written = digest_file(hashlib.sha256(data).hexdigest())
    path.write_bytes(_stored(_tar([(MANIFEST, data), (MANIFEST_DIGEST, written)])))


BOMBS = [
    _gzip_of_zeros,
    _zeros_behind_our_header,
    _sparse,
    _huge_manifest,
    _many,
    _claiming,
    _nested_manifest,
    _deep_manifest,
]
_BOUNDED = """
import sys, time
from pathlib import Path
from artifact.errors import ProofFailed
from artifact.packed import verify_packed
def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
before, started = peak(), time.process_time()
try:
    with open(sys.argv[1], "rb") as file:
        verify_packed(file)
except ProofFailed as error:
    seconds = time.process_time() - started
    print(peak() - before, seconds, error.id, error.why)
"""


@given(
    st.lists(st.text(alphabet="aä漢-", min_size=1, max_size=120), min_size=1, max_size=4).map("/".join),
    st.integers(min_value=0, max_value=2**70),
)
def test_a_header_says_what_it_was_given_or_is_refused(name: str, size: int) -> None:
    """A name's length counts in bytes, as the field does; what Python's tarfile reads is what was meant."""
    whole = name.encode()
    splits = [at for at in range(1, len(whole)) if whole[at : at + 1] == b"/"]
    fits = len(whole) <= 100 or any(len(whole) - at <= 101 and at <= 155 for at in splits)
    if size >= 2**63 or not fits:
        with pytest.raises(MemberUnpackable):
            header(name, size)
        return

    block = header(name, size)

    found = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    assert len(block) == 512
    assert (found.name, found.size) == (name, size)


def test_a_manifest_with_a_size_that_no_header_holds_is_refused() -> None:
    """The number is JSON and canonical, and there is no such file."""
    manifest = manifest_of(CONTENT)
    huge = tuple(msgspec.structs.replace(file, size=10**40) for file in manifest.files)
    data = encode(msgspec.structs.replace(manifest, files=huge))
    parts = [(MANIFEST, data), (MANIFEST_DIGEST, digest_file(hashlib.sha256(data).hexdigest()))]

    with pytest.raises(ArtifactChanged, match="a tar holds less"):
        _check(_stored(_tar([*parts, (sorted(CONTENT)[0], b"x")])))


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb.__name__.strip("_"))
def test_a_bomb_costs_little_memory_and_little_time(tmp_path: Path, bomb: Callable[[Path], None]) -> None:
    """At most 64 MiB above the interpreter, which could not have more, and one second of a core."""
    bomb(tmp_path / "bomb.tar.gz")

    ended = subprocess.run(
        [sys.executable, "-c", _BOUNDED, tmp_path / "bomb.tar.gz"],
        cwd=CHECKOUT,
        env={"PYTHONPATH": str(CHECKOUT)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (256 * 1024**2, 256 * 1024**2)),
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    kibibytes, seconds, *_ = ended.stdout.split()
    assert int(kibibytes) * 1024 <= _BOMB_BYTES, ended.stdout
    assert float(seconds) <= _BOMB_SECONDS, ended.stdout
