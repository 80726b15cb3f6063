"""Bytes that nobody can change any more, this process included.

A file of the kernel's memory (memfd_create(2)), written once and then sealed against writing,
growing and shrinking. It has a path as long as it is open, so loaders that want a file (torch,
safetensors) map or read these very bytes: no copy in Python, and nothing on a disk that could be
written to between the check and the use.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import weakref
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from artifact.descriptors import check_descriptors
from artifact.errors import TraceshipError

_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


class MemoryFileRefused(TraceshipError):
    """The kernel, or a sandbox around this process, gives no file in memory."""

    id = "memory-file-refused"

    def __init__(self, *, why: str) -> None:
        super().__init__(
            what="the artifact cannot be held where nobody can change it, so it is not loaded",
            why=f"memfd_create(2): {why}",
            fix="allow that call to the container (Docker's own profile does)",
        )


class Sealed:
    """Open until ``close``; whoever has it closes it, for as long as it is open it takes memory."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        """
        Raises:
            MemoryFileRefused: see there.
        """
        try:
            self._descriptor = os.memfd_create("sealed", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except OSError as error:
            check_descriptors(error, doing="hold the artifact where nobody can change it")
            raise MemoryFileRefused(why=error.strerror or str(error)) from error
        self._close = weakref.finalize(self, os.close, self._descriptor)
        with os.fdopen(self._descriptor, "wb", closefd=False) as file:
            for chunk in chunks:
                file.write(chunk)
        fcntl.fcntl(self._descriptor, fcntl.F_ADD_SEALS, _SEALS)

    @classmethod
    def inherited(cls, descriptor: int) -> Sealed:
        """What another process sealed and handed to this one, which closes it now.

        Raises:
            ValueError: the bytes behind ``descriptor`` can still be changed.
        """
        if fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
            raise ValueError("the descriptor's bytes are not sealed")
        sealed = cls.__new__(cls)
        sealed._descriptor = descriptor
        sealed._close = weakref.finalize(sealed, os.close, descriptor)
        return sealed

    @property
    def descriptor(self) -> int:
        """For a child process to inherit; closed with this object."""
        return self._descriptor

    @property
    def path(self) -> str:
        """A path that leads this process to the bytes."""
        return f"/proc/self/fd/{self._descriptor}"

    def sha256(self) -> str:
        """Of what is sealed, in hex."""
        if os.fstat(self._descriptor).st_size == 0:
            return hashlib.sha256().hexdigest()
        with mmap.mmap(self._descriptor, 0, prot=mmap.PROT_READ) as view:
            return hashlib.sha256(view).hexdigest()

    def read(self) -> bytes:
        """A copy."""
        return Path(self.path).read_bytes()

    def close(self) -> None:
        """Give the memory back, once the loaders' own mappings of it are gone."""
        self._close()

    def __enter__(self) -> Sealed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
