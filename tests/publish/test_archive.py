"""model.tar.gz: the same bytes everywhere, and an archive that every tool opens."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifact.golden import largest_difference
from artifact.verify import ArtifactChanged, verify
from compile.archive import Member, artifact_members, write_archive
from compile.stock import stock_members
from tests.kit.folders import CONTENT, write_folder
from tests.kit.handmade import build
from tests.kit.wheels import wheels

CHECKOUT = Path(__file__).resolve().parents[2]
BLOCK = 65535
"""Bytes of a stored deflate block: the edges around its multiples are where framing breaks."""
SIZE = 5_000_000
_PACKED_AND_VERIFIED = """
import os, sys, threading
from pathlib import Path
from artifact.folder import chunks
from artifact.manifest import File
from artifact.packed import _content
from compile.archive import Member, write_archive
folder, size = Path(sys.argv[1]), int(sys.argv[2])
with (folder / "big").open("wb") as file:
    file.truncate(size)
entry, pipe = File(path="big", size=size, sha256="0" * 64), folder / f"pipe{size}"
os.mkfifo(pipe)
member = Member("big", size, lambda: chunks(folder, entry))
writing = threading.Thread(target=write_archive, args=([member], pipe))
writing.start()
with pipe.open("rb") as file:
    found = sum(len(block) for block in _content(file))
writing.join()
assert found > size
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


def _members(contents: dict[str, bytes]) -> list[Member]:
    return [Member(name=n, size=len(d), chunks=lambda d=d: [d]) for n, d in contents.items()]  # type: ignore[misc]


def _read_back(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]


SIZES = st.integers(0, 3000) | st.sampled_from([BLOCK - 512, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK - 1024])


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8})?", fullmatch=True), SIZES, max_size=4))
def test_whatever_goes_in_comes_out(sizes: dict[str, int]) -> None:
    """Any names and any sizes, the edges of a block included."""
    contents = {name: os.urandom(size) for name, size in sizes.items()}
    with tempfile.TemporaryDirectory() as folder:
        archive = write_archive(_members(contents), Path(folder) / "a.tar.gz")

        assert _read_back(archive.path) == contents
        assert archive.size == archive.path.stat().st_size
        assert archive.sha256 == hashlib.sha256(archive.path.read_bytes()).hexdigest()


def test_the_systems_tools_open_it(tmp_path: Path) -> None:
    """GNU tar and gzip read what the platform's will read."""
    archive = write_archive(_members({"a/b": b"x" * 200_000, "c": b""}), tmp_path / "a.tar.gz")

    subprocess.run(["gzip", "--test", archive.path], check=True)
    listed = subprocess.run(["tar", "tzf", archive.path], check=True, capture_output=True, text=True)

    assert listed.stdout.split() == ["a/b", "c"]


def test_a_flipped_bit_breaks_the_gzip_checksum(tmp_path: Path) -> None:
    """The stream's CRC is the one of the content."""
    archive = write_archive(_members({"a": b"x" * 100_000}), tmp_path / "a.tar.gz")
    data = bytearray(archive.path.read_bytes())
    data[50_000] ^= 1

    with pytest.raises(gzip.BadGzipFile):
        gzip.decompress(data)


def test_place_time_mode_owner_and_order_leave_the_bytes_alone(tmp_path: Path) -> None:
    """A copy of the artifact, made elsewhere and later with other rights, gives the same archive."""
    first, second = tmp_path / "first", tmp_path / "deeper/second"
    write_folder(first, CONTENT)
    write_folder(second, dict(reversed(CONTENT.items())))
    for path in second.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700 if path.is_dir() else 0o600)

    one = write_archive(artifact_members(verify(first)), tmp_path / "1.tar.gz")
    two = write_archive(artifact_members(verify(second)), tmp_path / "2.tar.gz")

    assert one.sha256 == two.sha256


def test_the_unpacked_archive_is_the_artifact(tmp_path: Path) -> None:
    """What the platform unpacks verifies against the same digest."""
    digest = write_folder(tmp_path / "artifact", CONTENT)
    archive = write_archive(artifact_members(verify(tmp_path / "artifact")), tmp_path / "a.tar.gz")

    with tarfile.open(archive.path) as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")

    assert verify(tmp_path / "unpacked", digest=digest).digest == digest


def test_a_file_changed_while_packing_is_refused(tmp_path: Path) -> None:
    """Members are hashed again as they are read."""
    write_folder(tmp_path / "artifact", CONTENT)
    members = artifact_members(verify(tmp_path / "artifact"))
    (tmp_path / "artifact/weights.safetensors").write_bytes(b"\0" * len(CONTENT["weights.safetensors"]))

    with pytest.raises(ArtifactChanged):
        write_archive(members, tmp_path / "a.tar.gz")

    assert not (tmp_path / "a.tar.gz").exists()


@pytest.mark.parametrize(("change", "size"), [("flipped", SIZE), ("cut", SIZE - 1), ("longer", SIZE + 1)])
def test_a_file_changed_in_mid_stream_leaves_no_archive_behind(
    tmp_path: Path, change: str, size: int
) -> None:
    """Its beginning is in the archive already when the rest changes."""
    path = tmp_path / "artifact/weights.safetensors"
    write_folder(tmp_path / "artifact", {**CONTENT, "weights.safetensors": bytes(SIZE)})
    members = artifact_members(verify(tmp_path / "artifact"))

    def changing() -> Iterator[bytes]:
        for at, chunk in enumerate(members[-1].chunks()):
            if at == 1:
                with path.open("r+b") as file:
                    file.seek(SIZE - 2)
                    file.write(b"x" if change == "flipped" else b"\0")
                    file.truncate(size)
            yield chunk

    with pytest.raises(ArtifactChanged, match="weights"):
        write_archive([*members[:-1], replace(members[-1], chunks=changing)], tmp_path / "a.tar.gz")

    assert not (tmp_path / "a.tar.gz").exists()


def test_a_full_disk_is_told_and_leaves_no_archive_behind(tmp_path: Path) -> None:
    """The thread that writes hands its error to the one that reads."""
    out = tmp_path / "a.tar.gz"
    out.symlink_to("/dev/full")

    with pytest.raises(OSError, match="No space left"):
        write_archive(_members({"a": bytes(SIZE)}), out)

    assert not out.is_symlink()


def test_memory_does_not_grow_with_the_size(tmp_path: Path) -> None:
    """A file that is much larger than what the process may take is written and read back like a small one."""
    small, large = (_peak(tmp_path, size) for size in (SIZE, 256 * 1024**2 + 5))

    assert large - small < 16 * 1024 * 1024


def _peak(folder: Path, size: int) -> int:
    """Bytes of memory that a process took at most which packs a file of ``size`` and verifies it."""
    ended = subprocess.run(
        [sys.executable, "-c", _PACKED_AND_VERIFIED, folder, str(size)],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        check=True,
        capture_output=True,
        text=True,
    )
    return int(ended.stdout) * 1024


def test_the_archive_for_the_stock_container_keeps_code_and_artifact_apart(tmp_path: Path) -> None:
    """The artifact verifies in its own folder; the handler and its packages lie in ``code``."""
    digest = write_folder(tmp_path / "artifact", CONTENT)
    members = stock_members(verify(tmp_path / "artifact"), checkout=CHECKOUT, wheels=wheels())
    archive = write_archive(members, tmp_path / "a.tar.gz")

    with tarfile.open(archive.path) as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")

    assert verify(tmp_path / "unpacked/artifact").digest == digest
    code = tmp_path / "unpacked/code"
    present = {path.relative_to(code).as_posix() for path in code.rglob("*")}
    assert {
        "inference.py",
        "packages/abi3/tokenizers/__init__.py",
        "packages/cp310/msgspec/__init__.py",
        "artifact/verify.py",
        "inference_code/inference.py",
    } <= present
    assert "requirements.txt" not in present


def test_the_stock_archive_answers_with_nothing_but_what_it_carries(tmp_path: Path) -> None:
    """Unpacked, its ``code`` on the path and ours off it, the four hooks give the artifact's answers."""
    world = build(tmp_path / "artifact")
    members = stock_members(verify(world.root), checkout=CHECKOUT, wheels=wheels())
    archive = write_archive(members, tmp_path / "a.tar.gz")
    with tarfile.open(archive.path) as tar:
        tar.extractall(tmp_path / "model", filter="data")
    toolkit = tmp_path / "toolkit/sagemaker_inference"
    toolkit.mkdir(parents=True)
    (toolkit / "content_types.py").write_text("UTF8_TYPES = ['application/json']\n")
    (toolkit / "transformer.py").write_text("class Transformer:\n    handle_error = staticmethod(print)\n")
    program = (
        "import json, sys; sys.path[:0] = [sys.argv[1] + '/code', sys.argv[3]]; import inference as i\n"
        "import inference_code, msgspec, tokenizers, safetensors, sentencepiece\n"
        "for used in (inference_code, msgspec, tokenizers, safetensors, sentencepiece):\n"
        "    assert used.__file__.startswith(sys.argv[1]), used.__file__\n"
        "data = i.input_fn(sys.argv[2].encode(), 'application/json')\n"
        "body, kind = i.output_fn(i.predict_fn(data, i.model_fn(sys.argv[1])), 'application/json')\n"
        "print(body.decode())"
    )
    body = json.dumps({"inputs": ["w1 w2 w3"]})

    ran = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "model"), body, str(toolkit.parent)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    assert largest_difference([world.answer("w1 w2 w3")], json.loads(ran.stdout)) <= 1e-5
