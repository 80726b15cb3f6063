"""Compile through the cache: a finished artifact if there is one, else compile and keep it.

Of several processes that want the same key at once, one compiles and the others wait for its
entry. A cache that cannot be used costs time and never a compile: that is said, and it goes on.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from artifact.errors import TraceshipError
from artifact.failpoints import failpoint
from compile.cache.difference import Nearest, nearest, summary
from compile.cache.entry import ARTIFACT, Entry, EntryDamaged
from compile.cache.environment import Environment
from compile.cache.key import CacheKey, make_key
from compile.cache.local import CacheUnusable, LocalCache
from compile.cache.shared import SharedCache
from compile.drafts import OutputNotWritable, beside
from compile.package import check_out, install
from compile.request import CompiledArtifact, CompileRequest
from compile.source import SourceUnreadable, resolve

Report = Callable[[str], None]
"""Called with one line of progress for people."""

Build = Callable[[CompileRequest], CompiledArtifact]
"""A runner: compiles for real."""


@dataclass(frozen=True)
class Caches:
    """Where to look, in this order."""

    local: LocalCache
    shared: SharedCache | None = None


@dataclass(frozen=True)
class Explanation:
    """What the key holds, and on a miss what was nearest to it."""

    key: CacheKey
    hit: bool
    nearest: Nearest | None


Explain = Callable[[Explanation], None]
"""Called once, before anything is compiled."""


def _silent(_line: str) -> None:
    """Nobody is told."""


def key_of(
    request: CompileRequest, environment: Environment, local: LocalCache, report: Report = _silent
) -> CacheKey:
    """The key of a request; the model is hashed unless its files are remembered.

    Raises:
        ModelNotFound and what else ``source.resolve`` raises.
    """
    found = resolve(
        request.model,
        revision=request.revision,
        identity=request.identity,
        hashed=local.remembered.file,
        allowed=request.allowed,
        report=report,
    )
    try:
        return make_key(request, found, environment, local.remembered)
    except OSError as error:
        raise SourceUnreadable(file=str(error.filename), why=error.strerror or str(error)) from error


def compile_through(
    caches: Caches,
    request: CompileRequest,
    environment: Environment,
    build: Build,
    *,
    report: Report,
    explain: Explain = lambda _explanation: None,
) -> CompiledArtifact:
    """Put the artifact of ``request`` at ``request.out``, from the cache or by ``build``.

    Args:
        environment: of the runner that ``build`` stands for.
        explain: told why the artifact is, or is not, taken from the cache.

    Raises:
        Whatever ``build`` raises; a failed compile leaves no entry.
        OutputExists, OutputNotWritable: ``request.out`` cannot be the artifact's place.
    """
    started = time.monotonic()
    check_out(request.out)
    key = key_of(request, environment, caches.local, report)
    # what a branch was when the key was made is what is compiled
    request = replace(request, revision=key.source.revision)
    attempt = _Attempt(caches, request, key, report, explain)
    try:
        caches.local.prepare()
    except CacheUnusable as error:
        attempt.say(error)
        explain(Explanation(key, hit=False, nearest=None))
        return build(request)
    with attempt.holding(exclusive=False):
        found = attempt.take_unless_damaged()
    if found is None:
        with attempt.holding(exclusive=True):
            found = attempt.take() or attempt.take_shared()
            if found is None:
                return attempt.build(build)
    seconds = round(time.monotonic() - started, 3)
    report(
        f"nothing to compile: {found.digest[:12]} was taken from the cache in {seconds:.1f} s, "
        f"compiling it took {found.seconds:.1f} s"
    )
    explain(Explanation(key, hit=True, nearest=None))
    return replace(found, seconds=seconds)


@dataclass(frozen=True)
class _Attempt:
    """One request on its way through the levels of the cache."""

    caches: Caches
    request: CompileRequest
    key: CacheKey
    report: Report
    explain: Explain

    def holding(self, *, exclusive: bool) -> AbstractContextManager[None]:
        """The key, once other processes let go of it."""

        def waiting() -> None:
            self.report("another process is compiling the same: waiting for what it makes")

        return self.caches.local.locked(self.key, exclusive=exclusive, waiting=waiting)

    def say(self, error: TraceshipError) -> None:
        """Tell of a trouble that costs time only."""
        self.report(f"{error.what} ({error.why}): going on without")

    def take_unless_damaged(self) -> CompiledArtifact | None:
        """As ``take``, but leave damage to whoever holds the key exclusively."""
        try:
            entry = self.caches.local.find(self.key)
            return None if entry is None else self._place(entry)
        except EntryDamaged:
            return None

    def take(self) -> CompiledArtifact | None:
        """Put this machine's entry at ``out``; remove it if it is damaged."""
        try:
            entry = self.caches.local.find(self.key)
            return None if entry is None else self._place(entry)
        except EntryDamaged as error:
            self.caches.local.remove(self.key.digest)
            self.report(f"{error.what} ({error.why}): removed")
            return None

    def take_shared(self) -> CompiledArtifact | None:
        """Bring the entry from S3 to this machine, then to ``out``."""
        shared = self.caches.shared
        try:
            if shared is None or not shared.has(self.key):
                return None
            entry = self.caches.local.adopt(self.key, lambda folder: shared.fetch(self.key, folder))
            self.report(f"brought {self.key.digest[:12]} from {shared.place}")
            return self._place(entry)
        except OutputNotWritable:
            raise
        except TraceshipError as error:
            self.say(error)
            return None

    def build(self, build: Build) -> CompiledArtifact:
        """Compile, and keep the result wherever it can be kept."""
        found = nearest(self.key.document, self.caches.local.documents())
        self.report(f"not in the cache: {summary(found)}")
        self.explain(Explanation(self.key, hit=False, nearest=found))
        with failpoint("compile.build"):
            compiled = build(self.request)
        try:
            entry = self.caches.local.keep(self.key, compiled)
            if self.caches.shared is not None:
                sent = self.caches.shared.keep(entry)
                self.report(f"kept in {self.caches.shared.place} ({sent / 1e6:.1f} MB)")
        except TraceshipError as error:
            self.say(error)
        return compiled

    def _place(self, entry: Entry) -> CompiledArtifact:
        """Copy the entry's artifact to ``out`` and verify the copy before it gets its name."""
        out = self.request.out
        with beside(out) as folder, failpoint("cache.take"):
            staging = folder / ARTIFACT
            _copy(entry, staging)
            entry.check(staging)
            install(staging, out, entry.result.digest)
        self.caches.local.use(entry)
        return replace(entry.result, path=out)


def _copy(entry: Entry, staging: Path) -> None:
    try:
        shutil.copytree(entry.folder / ARTIFACT, staging, symlinks=True)
    except OSError as error:  # shutil.Error, which gathers them, is one
        entry.check(entry.folder / ARTIFACT)  # a file that cannot be read is damage, not a full disk
        raise OutputNotWritable(path=str(staging), why=str(error)) from error
