"""A folder is trusted whole or refused whole."""

from __future__ import annotations

import copy
import errno
import gc
import hashlib
import json
import mmap
import os
import random
import resource
import shutil
import socket
import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from artifact.canonical import encode
from artifact.descriptors import TooFewDescriptors
from artifact.manifest import MANIFEST, MANIFEST_DIGEST, File, Manifest
from artifact.sealed import MemoryFileRefused, Sealed
from artifact.verify import (
    MAX_FILES,
    MAX_MANIFEST_BYTES,
    AnotherArtifact,
    ArtifactChanged,
    NotAnArtifact,
    UnknownSchema,
    nothing,
    parse_manifest,
    verify,
)
from tests.kit.folders import CONTENT, manifest_of, write_folder, write_manifest

KEPT = sorted(Path(__file__).parent.glob("manifest-v1*.json"))
OPTIONAL = {
    "adopted",
    "choices",
    "compiler",
    "decoder",
    "generation",
    "generic",
    "mask_token_id",
    "remote_code",
}
"""Keys that may be left out, which says that they have their default."""
EVERY_FILE = [*CONTENT, MANIFEST, MANIFEST_DIGEST]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_folder(tmp_path, CONTENT)
    return tmp_path


def test_an_untouched_folder_is_trusted(root: Path) -> None:
    """The digest is the manifest's SHA-256, and every file can be read."""
    artifact = verify(root)

    assert artifact.digest == hashlib.sha256((root / MANIFEST).read_bytes()).hexdigest()
    assert {path: artifact.read(path) for path in CONTENT} == CONTENT


@pytest.mark.parametrize("path", EVERY_FILE)
def test_one_flipped_bit_in_any_file_is_refused(root: Path, path: str) -> None:
    """At the first, the last and twenty seeded offsets of each file."""
    original = (root / path).read_bytes()
    offsets = {0, len(original) - 1, *random.Random(7).choices(range(len(original)), k=20)}

    for offset in sorted(offsets):
        changed = bytearray(original)
        changed[offset] ^= 1 << random.Random(offset).randrange(8)
        (root / path).write_bytes(changed)
        with pytest.raises((ArtifactChanged, UnknownSchema)):
            verify(root)

    (root / path).write_bytes(original)
    verify(root)


@pytest.mark.parametrize("path", list(CONTENT))
def test_a_changed_file_is_named(root: Path, path: str) -> None:
    """The error says which file, what was found and what was expected."""
    data = bytearray((root / path).read_bytes())
    data[1] ^= 1
    (root / path).write_bytes(data)

    with pytest.raises(ArtifactChanged) as refused:
        verify(root)

    assert refused.value.file == path
    assert refused.value.exit_code == 3


@pytest.mark.parametrize("path", [*CONTENT, MANIFEST_DIGEST])
def test_a_missing_file_is_named(root: Path, path: str) -> None:
    """A part of the artifact that is not there is a change like any other."""
    (root / path).unlink()

    with pytest.raises(ArtifactChanged) as refused:
        verify(root)

    assert refused.value.file == path


@pytest.mark.parametrize("path", ["graphs/extra.pt", ".hidden", "tokenizer/tokenizer.json~"])
def test_a_file_that_the_manifest_does_not_name_is_refused(root: Path, path: str) -> None:
    """Nothing rides along."""
    (root / path).write_text("")

    with pytest.raises(ArtifactChanged, match="does not name it") as refused:
        verify(root)

    assert refused.value.file == path


@pytest.mark.parametrize("path", ["code", "graphs/empty"])
def test_a_folder_in_which_no_file_belongs_is_refused(root: Path, path: str) -> None:
    """Empty or not, it is not looked into."""
    (root / path).mkdir()

    with pytest.raises(ArtifactChanged, match="does not name it") as refused:
        verify(root)

    assert refused.value.file == path


def test_a_renamed_file_is_named_with_its_new_name(root: Path) -> None:
    """Missing under one name, surplus under the other."""
    (root / "parity.json").rename(root / "parity.bak")

    with pytest.raises(ArtifactChanged, match=r"missing; parity\.bak") as refused:
        verify(root)

    assert refused.value.file == "parity.json"


def test_a_name_that_would_play_with_a_terminal_is_quoted(root: Path) -> None:
    """The name is the attacker's, the terminal is ours."""
    (root / "\x1b[2Jgone").touch()

    with pytest.raises(ArtifactChanged) as refused:
        verify(root)

    assert "\x1b" not in str(refused.value)
    assert "x1b[2Jgone" in str(refused.value)


def test_a_link_to_the_right_bytes_is_refused(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What a link points at can change after the check."""
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "graph.pt"
    (root / "graphs/b1_s32.pt").rename(elsewhere)
    (root / "graphs/b1_s32.pt").symlink_to(elsewhere)

    with pytest.raises(ArtifactChanged, match="it is a link"):
        verify(root)


def test_a_linked_folder_with_the_right_bytes_is_refused(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The same for a folder on the way."""
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "graphs"
    (root / "graphs").rename(elsewhere)
    (root / "graphs").symlink_to(elsewhere)

    with pytest.raises(ArtifactChanged, match="a link, not a folder"):
        verify(root)


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "folder"])
@pytest.mark.parametrize("path", ["config.json", MANIFEST, MANIFEST_DIGEST])
def test_a_special_file_is_refused_without_waiting(root: Path, kind: str, path: str) -> None:
    """It neither passes nor blocks, and the message says what it is."""
    (root / path).unlink()
    _special(root / path, kind)

    with pytest.raises(ArtifactChanged, match=f"a {kind}|plain file") as refused:
        verify(root)

    assert refused.value.file == path


def _special(path: Path, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    else:
        try:
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("only root makes device nodes")


def test_the_manifest_of_another_model_is_refused_by_the_pinned_digest(root: Path) -> None:
    """A folder that agrees with itself is still not the one that was asked for."""
    other = hashlib.sha256(b"another manifest").hexdigest()

    with pytest.raises(AnotherArtifact, match="digest asked for"):
        verify(root, digest=other)


def test_the_right_pinned_digest_is_accepted(tmp_path: Path) -> None:
    """The digest that the lock carries opens the folder."""
    digest = write_folder(tmp_path, CONTENT)

    assert verify(tmp_path, digest=digest).digest == digest


def test_bytes_changed_between_the_check_and_the_read_are_refused(root: Path) -> None:
    """What was not held is hashed again when it is asked for."""
    artifact = verify(root)
    data = bytearray(CONTENT["weights.safetensors"])
    data[100] ^= 1
    (root / "weights.safetensors").write_bytes(data)

    with pytest.raises(ArtifactChanged):
        artifact.read("weights.safetensors")
    with pytest.raises(ArtifactChanged):
        list(artifact.chunks("weights.safetensors"))


@pytest.mark.parametrize("linked", ["graphs/b1_s32.pt", "graphs"])
def test_a_link_that_came_after_the_check_is_not_followed(root: Path, tmp_path: Path, linked: str) -> None:
    """Though it leads to the right bytes; nor is a folder on the way."""
    artifact = verify(root)
    elsewhere = tmp_path.with_name(f"{tmp_path.name}-elsewhere")
    (root / linked).rename(elsewhere)
    (root / linked).symlink_to(elsewhere)

    with pytest.raises(ArtifactChanged, match="plain file"):
        artifact.read("graphs/b1_s32.pt")


def test_held_bytes_are_those_that_were_verified(root: Path) -> None:
    """Whatever happens to the file afterwards, in place or by another one of its name."""
    artifact = verify(root, hold=lambda manifest: {file.path for file in manifest.files})
    with (root / "weights.safetensors").open("r+b") as file:
        file.write(b"changed in place")
    (root / "config.json").unlink()

    found = {path: artifact.read(path) for path in CONTENT}

    assert found == CONTENT


def test_held_bytes_are_given_away_once(root: Path) -> None:
    """Then memory is free, and asking again goes to the file, which must still be right."""
    artifact = verify(root, hold=lambda _: {"config.json"})
    artifact.read("config.json")
    (root / "config.json").write_bytes(b"{}")

    with pytest.raises(ArtifactChanged):
        artifact.read("config.json")


def test_an_empty_file_can_be_held(tmp_path: Path) -> None:
    """Nothing is a content like any other."""
    content = {**CONTENT, "parity.json": b""}
    write_folder(tmp_path, content)

    artifact = verify(tmp_path, hold=lambda _: {"parity.json"})

    assert artifact.read("parity.json") == b""


def test_a_sandbox_that_gives_no_file_in_memory_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no fault of the artifact's, and nothing is loaded from where it could change."""
    write_folder(tmp_path, CONTENT)

    def refuse(*_arguments: object) -> int:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "memfd_create", refuse)

    with pytest.raises(MemoryFileRefused, match="memfd_create"):
        verify(tmp_path, hold=lambda manifest: {manifest.tokenizer})


def test_sealed_bytes_cannot_be_written_by_anybody() -> None:
    """Neither through the descriptor's path nor by a mapping; the kernel refuses."""
    with Sealed([b"as it ", b"is"]) as sealed:
        with Path(sealed.path).open("r+b", buffering=0) as file:
            for attempt in (lambda: file.write(b"no"), lambda: file.truncate(0), lambda: file.truncate(99)):
                with pytest.raises(PermissionError):
                    attempt()
            with pytest.raises(PermissionError):
                mmap.mmap(file.fileno(), 0)

        assert sealed.read() == b"as it is"
        assert sealed.sha256() == hashlib.sha256(b"as it is").hexdigest()


def test_sealed_memory_is_given_back_even_if_nobody_closes_it() -> None:
    """A refusal in the middle of a load leaves no descriptor behind."""
    gc.collect()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        Sealed([b"x"])
    with pytest.raises(ZeroDivisionError):
        Sealed(bytes(1 // zero) for zero in (0,))
    gc.collect()

    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("hold", [nothing, lambda manifest: {manifest.tokenizer}])
def test_too_many_open_files_are_not_told_as_a_changed_artifact(
    root: Path, hold: Callable[[Manifest], Collection[str]]
) -> None:
    """Whoever reads that an artifact was changed looks in the wrong place."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    refused: list[str] = []  # not the errors: their frames hold descriptors
    for limit in range(3, 100):
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
        try:
            verify(root, hold=hold)
        except TooFewDescriptors as error:
            refused.append(f"{error.why} {error.fix}")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)

    assert 0 < len(refused) < 97
    assert all("Too many open files" in words and "ulimit -n" in words for words in refused)


def test_a_folder_that_is_gone_after_the_check_is_told(root: Path) -> None:
    """Of the file that was asked for, as a changed artifact."""
    artifact = verify(root)
    shutil.rmtree(root)

    with pytest.raises(ArtifactChanged, match="folder cannot be opened any more"):
        artifact.read("config.json")


@pytest.mark.parametrize("size", [0, len(CONTENT["config.json"]) + 1])
def test_a_size_that_is_not_the_manifests_is_told(root: Path, size: int) -> None:
    """Before anything is hashed."""
    with (root / "config.json").open("r+b") as file:
        file.truncate(size)

    with pytest.raises(ArtifactChanged, match=f"has {size} bytes"):
        verify(root)


def test_a_file_outside_the_manifest_cannot_be_read(root: Path) -> None:
    """``read`` knows the manifest's files only."""
    artifact = verify(root)

    with pytest.raises(ArtifactChanged, match="does not name it"):
        artifact.read("../secret")


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../outside",
        "a/../b",
        "./a",
        "a//b",
        "a\\b",
        "a\0b",
        "",
        ".",
        "a\n",
        "\x1b[2J",
        "a" * 101,
    ],
)
def test_a_manifest_with_a_path_that_is_not_plain_is_refused(tmp_path: Path, path: str) -> None:
    """No name leads out of the folder."""
    manifest = manifest_of(CONTENT)
    files = (*manifest.files, File(path=path, size=0, sha256=hashlib.sha256(b"").hexdigest()))
    write_folder(tmp_path, CONTENT, msgspec.structs.replace(manifest, files=files))

    with pytest.raises(ArtifactChanged, match="plain relative path"):
        verify(tmp_path)


@pytest.mark.parametrize("path", [MANIFEST, MANIFEST_DIGEST, "graphs"])
def test_a_manifest_with_a_file_where_something_else_must_be_is_refused(tmp_path: Path, path: str) -> None:
    """Itself, its digest, or a folder of other files."""
    manifest = manifest_of(CONTENT)
    files = (*manifest.files, File(path=path, size=0, sha256=hashlib.sha256(b"").hexdigest()))
    write_folder(tmp_path, CONTENT, msgspec.structs.replace(manifest, files=files))

    with pytest.raises(ArtifactChanged, match="cannot be a file of its list"):
        verify(tmp_path)


def test_a_manifest_that_names_a_file_twice_is_refused(tmp_path: Path) -> None:
    """Two entries for one path could disagree."""
    manifest = manifest_of(CONTENT)
    write_folder(
        tmp_path, CONTENT, msgspec.structs.replace(manifest, files=(*manifest.files, manifest.files[0]))
    )

    with pytest.raises(ArtifactChanged, match="twice"):
        verify(tmp_path)


def test_a_manifest_with_too_many_files_is_refused(tmp_path: Path) -> None:
    """A count is checked before anything is opened for it."""
    manifest = manifest_of(CONTENT)
    many = tuple(File(path=f"f{n}", size=0, sha256="0" * 64) for n in range(MAX_FILES + 1))
    write_folder(tmp_path, {}, msgspec.structs.replace(manifest, files=many))

    with pytest.raises(ArtifactChanged, match="the limit"):
        verify(tmp_path)


def test_a_bucket_whose_graph_is_not_listed_is_refused(tmp_path: Path) -> None:
    """Everything that will be loaded has a digest."""
    content = {path: data for path, data in CONTENT.items() if path != "graphs/b1_s32.pt"}
    write_folder(tmp_path, content, manifest_of(content))

    with pytest.raises(ArtifactChanged, match=r"graphs/b1_s32\.pt"):
        verify(tmp_path)


def test_a_huge_manifest_is_refused_before_it_is_read(root: Path) -> None:
    """A sparse file of a gigabyte costs neither memory nor time."""
    with (root / MANIFEST).open("r+b") as file:
        file.truncate(1024**3)

    with pytest.raises(ArtifactChanged, match=str(MAX_MANIFEST_BYTES)):
        verify(root)


def test_a_manifest_of_another_schema_says_which_version_is_needed(tmp_path: Path) -> None:
    """A newer artifact is not half understood."""
    write_folder(tmp_path, CONTENT)
    write_manifest(tmp_path, encode({"schema": "traceship.artifact/2"}))

    with pytest.raises(UnknownSchema, match=r"traceship\.artifact/2") as refused:
        verify(tmp_path)

    assert "traceship version" in refused.value.fix


@pytest.mark.parametrize("data", [b"", b"not json\n", b"[" * 100_000, b'{"schema":"traceship.artifact/1"}\n'])
def test_a_manifest_that_is_not_one_is_refused(tmp_path: Path, data: bytes) -> None:
    """Whatever the bytes are, the answer is one of our errors."""
    write_folder(tmp_path, CONTENT)
    write_manifest(tmp_path, data)

    with pytest.raises((ArtifactChanged, UnknownSchema)):
        verify(tmp_path)


def test_a_manifest_in_another_spelling_is_refused(tmp_path: Path) -> None:
    """The digest is an identity only if a value has one spelling."""
    write_folder(tmp_path, CONTENT)
    write_manifest(tmp_path, msgspec.json.format(encode(manifest_of(CONTENT))))

    with pytest.raises(ArtifactChanged, match="canonical"):
        verify(tmp_path)


def test_a_folder_without_a_manifest_is_not_an_artifact(tmp_path: Path) -> None:
    """A wrong path is a mistake in the arguments, not a broken artifact."""
    with pytest.raises(NotAnArtifact) as refused:
        verify(tmp_path)

    assert refused.value.exit_code == 2


def test_a_path_that_is_not_there_is_not_an_artifact(tmp_path: Path) -> None:
    """Nor is nothing."""
    with pytest.raises(NotAnArtifact, match="no such folder"):
        verify(tmp_path / "nothing")


@pytest.mark.parametrize("kept", KEPT, ids=lambda path: path.stem)
def test_the_kept_manifests_of_version_1_still_read(kept: Path) -> None:
    """Whatever is added later, an artifact that was published stays loadable and keeps its digest."""
    manifest = parse_manifest(kept.read_bytes())

    assert encode(manifest) == kept.read_bytes()


def test_the_kept_manifests_hold_every_key_of_version_1() -> None:
    """One of them at least; a new optional key gets a new fixture, the old ones stay as they are."""
    found = {key for kept in KEPT for key, _ in _keys(json.loads(kept.read_bytes()))}

    assert set(Manifest.__struct_fields__) <= {key[0] for key in found if len(key) == 1}
    assert {("generation", "rule"), ("compiler", "casting"), ("coverage", "fallback")} <= found


@pytest.mark.parametrize("kept", KEPT, ids=lambda path: path.stem)
def test_version_1_is_read_strictly(kept: Path) -> None:
    """At every place of it: no key more, no key less, no value of another type."""
    plain = json.loads(kept.read_bytes())
    changes = 0
    for path, _ in _keys(plain):
        for change in (_without, _with_another, _of_another_type):
            if change is _without and path[-1] in OPTIONAL:
                continue
            data = encode(change(copy.deepcopy(plain), path))
            changes += 1
            with pytest.raises((ArtifactChanged, UnknownSchema)):
                parse_manifest(data)

    assert changes > 150


def _keys(plain: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every key of every object, with the way to it."""
    pairs = plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ()
    for key, value in pairs:
        if isinstance(plain, dict):
            yield (*path, key), value
        yield from _keys(value, (*path, key))


def _at(plain: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        plain = plain[key]
    return plain


def _without(plain: Any, path: tuple[Any, ...]) -> Any:
    del _at(plain, path[:-1])[path[-1]]
    return plain


def _with_another(plain: Any, path: tuple[Any, ...]) -> Any:
    _at(plain, path[:-1])["promise"] = True
    return plain


def _of_another_type(plain: Any, path: tuple[Any, ...]) -> Any:
    _at(plain, path[:-1])[path[-1]] = {"promise": True}
    return plain
