"""Entries on this machine, one folder each; the least recently used go when there are too many bytes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from artifact.errors import TraceshipError
from artifact.failpoints import failpoint
from compile.cache import locks
from compile.cache.entry import ARTIFACT, KEY, Entry, read_entry, write_texts
from compile.cache.key import CacheKey
from compile.cache.remembered import Remembered
from compile.drafts import draft_in
from compile.request import CompiledArtifact

DEFAULT_BYTES = 20_000_000_000
"""Most bytes of all entries together, unless the settings say otherwise."""

_DRAFT = ".draft-"
_ABANDONED_SECONDS = 24 * 3600
"""A draft that nobody has touched for this long was left by a process that died."""


class CacheUnusable(TraceshipError):
    """The cache's folder cannot be used. Compiles go on without it."""

    id = "cache-unusable"

    def __init__(self, *, folder: str, why: str) -> None:
        super().__init__(
            what=f"the compile cache at {folder} cannot be used",
            why=why,
            fix="set TRACESHIP_CACHE to a folder that you may write to, with space left",
        )


class EntryTooLarge(TraceshipError):
    """One artifact is larger than the whole cache may be, so it is not kept."""

    id = "cache-entry-too-large"

    def __init__(self, *, size: int, limit: int) -> None:
        super().__init__(
            what="the artifact is not kept in the compile cache",
            why=f"it has {size / 1e9:.2f} GB, the whole cache may have {limit / 1e9:.2f} GB",
            fix="raise compile.cache_gb in the settings, or `--cache-gb`",
        )


def default_folder() -> Path:
    """$TRACESHIP_CACHE, else ``traceship/compile`` below the user's cache folder (XDG)."""
    named = os.environ.get("TRACESHIP_CACHE")
    if named:
        return Path(named).expanduser().absolute()
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification: a relative path is invalid and counts as unset.
    return (base if base.is_absolute() else Path.home() / ".cache") / "traceship" / "compile"


class LocalCache:
    """The entries below ``folder``, at most ``limit`` bytes of them."""

    def __init__(self, folder: Path, *, limit: int = DEFAULT_BYTES) -> None:
        self.folder = folder
        self.limit = limit
        self.remembered = Remembered(folder / "digests")
        self._entries = folder / "entries"
        self._locks = folder / "locks"

    def prepare(self) -> None:
        """Make the folders.

        Raises:
            CacheUnusable: they cannot be made or written to.
        """
        try:
            for folder in (self._entries, self._locks):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with (
                draft_in(self._entries, prefix=_DRAFT),
                locks.locked(self._lock("probe"), exclusive=False, waiting=lambda: None),
            ):
                pass  # some network file systems can be written to and know no locks
        except OSError as error:
            raise CacheUnusable(folder=str(self.folder), why=error.strerror or str(error)) from error

    def locked(
        self, key: CacheKey, *, exclusive: bool, waiting: Callable[[], None]
    ) -> AbstractContextManager[None]:
        """Hold the key: shared to read its entry, exclusive to make or remove it."""
        return locks.locked(self._lock(key.digest), exclusive=exclusive, waiting=waiting)

    def find(self, key: CacheKey) -> Entry | None:
        """The key's entry, not yet verified. The caller holds the key.

        Raises:
            EntryDamaged: it is there and cannot be read.
        """
        folder = self._entries / key.digest
        return read_entry(folder, key) if folder.is_dir() else None

    def use(self, entry: Entry) -> None:
        """Note that the entry was wanted just now."""
        with contextlib.suppress(OSError):
            os.utime(entry.folder)

    def remove(self, digest: str) -> None:
        """Remove an entry in one step. The caller holds the key exclusively."""
        with contextlib.suppress(FileNotFoundError), draft_in(self._entries, prefix=_DRAFT) as draft:
            (self._entries / digest).replace(draft / "removed")

    def keep(self, key: CacheKey, result: CompiledArtifact) -> Entry:
        """Copy a finished artifact in and verify the copy. The caller holds the key exclusively.

        Raises:
            EntryTooLarge, EntryDamaged, CacheUnusable: see there; nothing is kept.
        """
        size = _bytes_below(result.path)
        if size > self.limit:
            raise EntryTooLarge(size=size, limit=self.limit)
        return self.adopt(key, lambda draft: _fill(draft, key, result))

    def adopt(self, key: CacheKey, fill: Callable[[Path], None]) -> Entry:
        """Make an entry of what ``fill`` writes into an empty folder; see ``keep``."""
        try:
            with draft_in(self._entries, prefix=_DRAFT) as draft:
                made = draft / "entry"
                made.mkdir()
                fill(made)
                found = read_entry(made, key)
                found.check(made / ARTIFACT)
                self.remove(key.digest)
                with failpoint("cache.keep"):
                    made.replace(self._entries / key.digest)
            self._evict(key.digest)
        except OSError as error:
            raise CacheUnusable(folder=str(self.folder), why=str(error)) from error
        return read_entry(self._entries / key.digest, key)

    def documents(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Digest and document of every key that has an entry, most recently used first."""
        for folder in reversed(self._by_use()):
            with contextlib.suppress(OSError, ValueError):
                document = json.loads((folder / KEY).read_bytes())
                if isinstance(document, dict):
                    yield folder.name, document

    def _evict(self, just_made: str) -> None:
        """Remove what was not used for longest until the rest fits; spare what is in use."""
        self._remove_abandoned()
        self.remembered.prune()
        sizes = {folder.name: _bytes_below(folder) for folder in self._by_use()}
        over = sum(sizes.values()) - self.limit
        for digest, size in sizes.items():
            if over <= 0:
                return
            if digest == just_made:
                continue
            with locks.removing(self._lock(digest)) as free:
                if free:
                    self.remove(digest)
                    over -= size

    def _remove_abandoned(self) -> None:
        for draft in self._entries.glob(f"{_DRAFT}*"):
            with contextlib.suppress(OSError):
                if draft.stat().st_mtime < time.time() - _ABANDONED_SECONDS:
                    shutil.rmtree(draft)

    def _by_use(self) -> list[Path]:
        """Entries, least recently used first; one that goes meanwhile is left out."""
        dated = []
        with contextlib.suppress(OSError):
            for folder in self._entries.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    if not folder.name.startswith(_DRAFT):
                        dated.append((folder.stat().st_mtime_ns, folder))
        return [folder for _, folder in sorted(dated)]

    def _lock(self, digest: str) -> Path:
        return self._locks / f"{digest}.lock"


def _fill(draft: Path, key: CacheKey, result: CompiledArtifact) -> None:
    shutil.copytree(result.path, draft / ARTIFACT, symlinks=True)
    write_texts(draft, key, result)


def _bytes_below(folder: Path) -> int:
    """Of the files; a folder's own size is the file system's affair."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total
