"""``hub:ORG/NAME``: a model of the Hugging Face Hub at one commit.

A branch or tag is resolved to its commit once, and that is what is read, recorded and told. Files
come through ``huggingface_hub`` and its cache. The list of a commit's files can never change, so
it is kept too: a pinned model that was fetched before needs no network.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from artifact.errors import CredentialsError, TraceshipError, UsageError
from compile.sources.cache import cache_folder
from compile.sources.errors import ModelNotFound
from compile.sources.folder import read
from compile.sources.selection import Allowed, select

SCHEME = "hub:"
_PART = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}"
_ID = re.compile(rf"{_PART}(?:/{_PART})?")
_ID_WITH_OWNER = re.compile(rf"{_PART}/{_PART}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SECONDS = 10.0
"""Longest wait for the Hub's first answer."""


class RevisionMissing(UsageError):
    """The model is there, the branch, tag or commit is not."""

    id = "hub-revision-missing"

    def __init__(self, *, source: str, revision: str) -> None:
        super().__init__(
            what=f"{source} has no revision {revision}",
            why="the Hub knows the model, but no branch, tag or commit of that name",
            fix="choose one from the model's page, best a commit of 40 digits, with `--revision`",
        )


class HubDenied(CredentialsError):
    """The Hub wants to know who reads this model, or that its conditions were accepted."""

    id = "hub-denied"

    def __init__(self, *, source: str, why: str) -> None:
        super().__init__(
            what=f"the Hub does not let us read {source}",
            why=why,
            fix="accept the conditions on the model's page, then set HF_TOKEN to a token of that account",
        )


class HubOffline(UsageError):
    """The network is switched off and the cache does not hold what is needed."""

    id = "hub-offline"

    def __init__(self, *, source: str) -> None:
        super().__init__(
            what=f"{source} cannot be fetched offline",
            why="HF_HUB_OFFLINE is set, and not all of its files at a pinned commit are in the cache",
            fix="unset HF_HUB_OFFLINE once to fetch it, or give a folder with the model's files",
        )


class HubUnreachable(TraceshipError):
    """Nothing answered, or the connection broke."""

    id = "hub-unreachable"

    def __init__(self, *, source: str, why: str) -> None:
        super().__init__(
            what=f"{source} cannot be fetched: the Hub does not answer",
            why=why,
            fix="check the network, proxy settings and HF_ENDPOINT, then run again; finished files are kept",
        )


class HubRefused(TraceshipError):
    """The Hub answered with an error of its own, or not as the Hub does."""

    id = "hub-refused"

    def __init__(self, *, source: str, why: str) -> None:
        super().__init__(
            what=f"the Hub would not give us {source}",
            why=why,
            fix="see that HF_ENDPOINT names a Hub, and try again later",
        )


class HubCacheUnusable(TraceshipError):
    """The files cannot be kept on this machine."""

    id = "hub-cache-unusable"

    def __init__(self, *, path: str, why: str) -> None:
        super().__init__(
            what=f"a file from the Hub cannot be kept at {path}",
            why=why,
            fix="set HF_HOME to a folder that you may write to, with space left",
        )


@dataclass(frozen=True)
class Hub:
    """Which Hub, and where its files are kept; ``None`` means huggingface_hub's own settings."""

    endpoint: str | None = None
    cache: Path | None = None

    def fetch(
        self, repository: str, revision: str | None, allowed: Allowed, report: Callable[[str], None]
    ) -> tuple[Path, str]:
        """Bring the files that a compile reads.

        Returns:
            Their folder, which must not be written to, and the commit.

        Raises:
            ModelNotFound, RevisionMissing, HubDenied, HubOffline, HubUnreachable, HubRefused,
            HubCacheUnusable: see there.
            ConfigMissing, WeightsMissing, PickleRefused, TokenizerMissing: the repository holds no
            model that can be read; found out before anything large is brought.
        """
        source = f"{SCHEME}{repository}"
        if _ID.fullmatch(repository) is None:
            raise ModelNotFound(source=source, why="it is not the name of a model, such as hub:ORG/NAME")
        with _translated(source, revision):
            commit, names = self._commit(repository, revision, report)

            def path(name: str) -> Path:
                return self._file(repository, name, commit, report)

            chosen = select(names, lambda name: read(path(name)), where=source, allowed=allowed)
            folders = {path(name).parent for name in chosen.names}
        return folders.pop(), commit

    def _commit(
        self, repository: str, revision: str | None, report: Callable[[str], None]
    ) -> tuple[str, frozenset[str]]:
        """The commit and the names of the files at its top; asked of the Hub unless known."""
        pinned = revision is not None and _COMMIT.fullmatch(revision) is not None
        known = _recalled(repository, revision) if pinned and revision is not None else None
        if known is not None and revision is not None:
            return revision, known
        from huggingface_hub import HfApi

        info = HfApi(endpoint=self.endpoint).model_info(repository, revision=revision, timeout=_SECONDS)
        commit = info.sha or ""
        if _COMMIT.fullmatch(commit) is None:
            raise HubRefused(source=f"{SCHEME}{repository}", why="its answer names no commit")
        if pinned and commit != revision:
            raise HubRefused(
                source=f"{SCHEME}{repository}", why=f"asked for {revision}, it answered {commit}"
            )
        if not pinned:
            branch = "its default branch" if revision is None else revision
            report(f"{SCHEME}{repository}: {branch} is at {commit}; pin it with `--revision {commit}`")
        names = frozenset(file.rfilename for file in info.siblings or () if "/" not in file.rfilename)
        _remember(repository, commit, names)
        return commit, names

    def _file(self, repository: str, name: str, commit: str, report: Callable[[str], None]) -> Path:
        from huggingface_hub import hf_hub_download, try_to_load_from_cache
        from huggingface_hub.utils.tqdm import disable_progress_bars

        cached = try_to_load_from_cache(repository, name, cache_dir=self.cache, revision=commit)
        if isinstance(cached, str):
            return Path(cached)
        report(f"fetching {name} of {SCHEME}{repository}")
        disable_progress_bars()  # they would be torn apart in a log; the line above tells what goes on
        found = hf_hub_download(
            repository, name, revision=commit, endpoint=self.endpoint, cache_dir=self.cache
        )
        return Path(found)


def plain_id(source: str) -> bool:
    """Whether ``source`` without a scheme is a Hub id: ``ORG/NAME``, and no ``ORG`` lies here."""
    return _ID_WITH_OWNER.fullmatch(source) is not None and not Path(source).parent.exists()


def _listing(repository: str, commit: str) -> Path:
    return cache_folder("hub") / repository.replace("/", "--") / f"{commit}.json"


def _recalled(repository: str, commit: str) -> frozenset[str] | None:
    try:
        names = json.loads(_listing(repository, commit).read_bytes())
    except (OSError, ValueError):
        return None
    return frozenset(map(str, names)) if isinstance(names, list) else None


def _remember(repository: str, commit: str, names: frozenset[str]) -> None:
    """Keep a commit's list; it is only a saving, so a full disk is no reason to fail."""
    path = _listing(repository, commit)
    with contextlib.suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        path.with_suffix(".partial").write_text(json.dumps(sorted(names)), encoding="utf-8")
        path.with_suffix(".partial").replace(path)


@contextmanager
def _translated(source: str, revision: str | None) -> Iterator[None]:
    """Raise our errors in place of huggingface_hub's."""
    from huggingface_hub import errors

    try:
        yield
    except TraceshipError:
        raise
    except errors.GatedRepoError as error:
        raise HubDenied(source=source, why="its authors want conditions to be accepted first") from error
    except errors.RepositoryNotFoundError as error:
        raise ModelNotFound(
            source=source,
            why="the Hub has no such model, or it is private",
            fix="correct the name; for a private model set HF_TOKEN to a token that may read it",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise RevisionMissing(source=source, revision=str(revision)) from error
    except Exception as error:  # the HTTP library beneath differs with the library's age
        raise _other(error, source) from error


def _other(error: Exception, source: str) -> TraceshipError:
    """What else can go wrong: no network, no disk, an answer that is no model's."""
    from huggingface_hub import errors

    chain = list(_chain(error))
    if any(isinstance(link, errors.OfflineModeIsEnabled) for link in chain):
        return HubOffline(source=source)
    if isinstance(error, OSError) and error.filename is not None:
        return HubCacheUnusable(path=str(error.filename), why=error.strerror or str(error))
    status = next(
        (link.response.status_code for link in chain if isinstance(link, errors.HfHubHTTPError)
         and getattr(link, "response", None) is not None), None)  # fmt: skip
    if status in (401, 403):
        return HubDenied(source=source, why=f"it answered with {status}")
    if status is not None or isinstance(error, ValueError | errors.FileMetadataError):
        return HubRefused(source=source, why=_first_line(error))
    return HubUnreachable(source=source, why=_first_line(chain[-1]))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
