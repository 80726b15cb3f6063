"""A pickle checkpoint becomes safetensors, and nothing it names is ever called.

Three walls, because a checkpoint may come from anybody and the container's torch 1.13 is old:

- ``scan`` reads the pickle's instructions without executing one and refuses every name that a
  state dict does not need. It also refuses what torch before 2.6 would load by other means in
  spite of ``weights_only``: TorchScript archives, and tar files, which are no pickle at all;
- ``torch.load(weights_only=True)``, which has a list of its own;
- a process of its own (``unpickle.py``), whose only result is a file of tensors.
"""

from __future__ import annotations

import pickletools
import tempfile
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import IO

from artifact.manifest import Record
from compile.children import run
from compile.sources.errors import PickleUnsafe, SourceUnreadable, WeightsCorrupted

_STORAGES = ("BFloat16", "Bool", "Byte", "Char", "Double", "Float", "Half", "Int", "Long", "Short")
_NAMES = {
    "collections OrderedDict",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_tensor_v2",
    *(f"torch {kind}Storage" for kind in _STORAGES),
}
"""All that ``torch.save(model.state_dict())`` writes, in pickletools' spelling."""
_OTHER_WAYS = {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"}
"""Instructions that name or make objects in ways that pickle protocol 2, torch's own, has no use for."""
_ZIP = b"PK\x03\x04"
_LEGACY_PICKLES = 5
"""magic number, protocol version, machine, the state dict, keys of the storages; tensors follow."""


class UnpickleJob(Record, frozen=True, kw_only=True):
    """Read ``pickles``, each a state dict, and write safetensors and their index below ``into``."""

    pickles: tuple[str, ...]
    into: str


class UnpickleResult(Record, frozen=True, kw_only=True):
    """Names of the files that were written."""

    files: tuple[str, ...]


def scan(path: Path) -> None:
    """Refuse a checkpoint that names anything but tensors. Nothing of it is executed.

    Raises:
        PickleUnsafe: it names a function or class that weights have no use for.
        WeightsCorrupted: it is no torch checkpoint, or cut.
        SourceUnreadable: it cannot be opened.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(len(_ZIP)) == _ZIP
            file.seek(0)
            if zipped:
                _scan_pickle(BytesIO(_zipped_pickle(path)), path)
                return
            for _ in range(_LEGACY_PICKLES):
                _scan_pickle(file, path)
    except OSError as error:
        raise SourceUnreadable(file=str(path), why=error.strerror or str(error)) from error


def convert(folder: Path, names: tuple[str, ...], into: Path) -> None:
    """Write the tensors of the pickles ``names`` of ``folder`` to ``into`` as safetensors.

    Raises:
        PickleUnsafe, WeightsCorrupted: see ``scan``; torch's own reader may refuse too.
        ChildFailed: the process ended without an answer, most often for memory.
    """
    job = UnpickleJob(pickles=tuple(str((folder / name).resolve()) for name in names), into=str(into))
    with tempfile.TemporaryDirectory(prefix="unpickle-", dir=into.parent) as work:
        run("compile.sources.unpickle", job, UnpickleResult, folder=Path(work), name="unpickle", timeout=None)


def _zipped_pickle(path: Path) -> bytes:
    """The one pickle of an archive that ``torch.save`` wrote."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            names = [member.filename for member in members]
            if any(name.endswith("/constants.pkl") for name in names):
                raise PickleUnsafe(file=str(path), why="it is a TorchScript archive, which is code")
            found = [member for member in members if member.filename.endswith("/data.pkl")]
            if (
                len(found) != 1
                or len(set(names)) != len(names)
                or found[0].compress_type != zipfile.ZIP_STORED
            ):
                raise WeightsCorrupted(file=str(path), why="it is not an archive that torch.save wrote")
            return archive.read(found[0])
    except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError) as error:
        raise WeightsCorrupted(file=str(path), why=f"its archive cannot be read ({error})") from None


def _scan_pickle(file: IO[bytes], path: Path) -> None:
    """Look at one pickle's instructions; leaves ``file`` behind its end."""
    for instruction, argument in _instructions(file, path):
        if instruction in _OTHER_WAYS:
            raise PickleUnsafe(
                file=str(path), why=f"it makes objects by {instruction}, which tensors never need"
            )
        if instruction == "GLOBAL" and argument not in _NAMES:
            named = str(argument).replace(" ", ".")
            raise PickleUnsafe(file=str(path), why=f"it names {named}, which is no part of a tensor")


def _instructions(file: IO[bytes], path: Path) -> Iterator[tuple[str, object]]:
    try:
        for opcode, argument, _position in pickletools.genops(file):
            yield opcode.name, argument
    except (ValueError, IndexError, OverflowError, MemoryError) as error:  # a length that nobody has
        raise WeightsCorrupted(file=str(path), why=f"it is no torch checkpoint ({error})") from None
