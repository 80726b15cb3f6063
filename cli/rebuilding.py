"""``traceship rebuild --check``: the same source and request again, past the cache; the same digest?"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifact.aws import translated
from artifact.envelope import MAX_ENVELOPE_BYTES, EnvelopeUnreadable, read_envelope
from artifact.errors import ProofFailed, UsageError
from artifact.keys import PublicKey
from artifact.manifest import MANIFEST, Manifest
from artifact.release import PROVENANCE_FILE, SIGNED_PROVENANCE_FILE, ReleaseLock
from artifact.statement import Statement, StatementUnreadable, read_statement
from artifact.trust import SignedAnother, open_statement, provenance_path, read_envelope_file
from artifact.verify import MAX_MANIFEST_BYTES, ArtifactChanged, parse_manifest, verify
from cli.project import Project
from infra.lock import LockMissing, read_lock

if TYPE_CHECKING:
    from compile.request import CompileRequest

_NAMED = 5
"""Differing files and versions that an error names."""


class NoRecord(UsageError):
    """Nobody wrote down how the artifact was made."""

    id = "no-provenance"

    def __init__(self, *, artifact: str, place: str) -> None:
        super().__init__(
            what=f"nobody knows how {artifact} was made",
            why=f"there is no provenance at {place}",
            fix="compile with `traceship compile` or `traceship ship`, which write it beside the artifact",
        )


class SourceDiffers(ProofFailed):
    """The model is not the one that the artifact was made of, so nothing was compiled."""

    id = "source-differs"

    def __init__(self, *, model: str, why: str) -> None:
        super().__init__(
            what=f"{model} is not the model that the artifact was made of",
            why=why,
            fix="give the model as it was then: `traceship rebuild --check --model DIR`",
        )


class RebuildDiffers(ProofFailed):
    """The same source and request gave other bytes."""

    id = "rebuild-differs"

    def __init__(self, *, recorded: str, rebuilt: str, files: Sequence[str], versions: Sequence[str]) -> None:
        named = ", ".join(files[:_NAMED]) + (
            f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
        )
        made = f"; made with {', '.join(versions)}" if versions else ""
        super().__init__(
            what=f"the rebuilt artifact is {rebuilt[:12]}, not {recorded[:12]}",
            why=f"these differ: {named}{made}",
            fix="use the recorded versions and machine; if those are the same, do not trust the artifact",
        )
        self.files = tuple(files)


class CodeUnconfirmed(UsageError):
    """An unsigned record asks to run the checkpoint's own code."""

    id = "remote-code-unconfirmed"

    def __init__(self, *, model: str) -> None:
        super().__init__(
            what=f"the record of this artifact runs code of {model}",
            why="the record is not signed with a pinned key, so anybody may have written it",
            fix="repeat it with `traceship rebuild --check --trust-remote-code` if you trust that code",
        )


@dataclass(frozen=True)
class Made:
    """An artifact's manifest, and the statement about how it was made. ``signed``: with a pinned key."""

    manifest: Manifest
    digest: str
    statement: Statement
    signed: bool


@dataclass(frozen=True)
class Again:
    """What the user says in place of the record. ``None``: as recorded."""

    model: str | None = None
    samples: Path | None = None
    runner: str | None = None
    image: str | None = None
    jobs: int | None = None
    trust_remote_code: bool = False


def made_of_folder(root: Path, keys: Sequence[PublicKey]) -> Made:
    """The artifact in ``root`` with the provenance beside it.

    Raises:
        NoRecord, SignedAnother, StatementUnreadable, WrongKey, …: see there.
    """
    artifact = verify(root)
    signed, plain = provenance_path(root, signed=True), provenance_path(root)
    if keys or (signed.is_file() and not plain.is_file()):
        data = read_envelope_file(signed)
    elif plain.is_file():
        data = plain.read_bytes()
    else:
        raise NoRecord(artifact=str(root), place=str(plain))
    return _made(artifact.manifest, artifact.digest, data, keys)


def read_lock_at(path: Path) -> ReleaseLock:
    """The lock in the file ``path``.

    Raises:
        LockMissing, LockInvalid: see there.
    """
    lock = read_lock(path)
    if lock is None:
        raise LockMissing(path=path, who="`traceship rebuild` without an artifact's folder")
    return lock


def made_of_release(project: Project, lock: ReleaseLock, keys: Sequence[PublicKey]) -> Made:
    """The release that a lock names, out of S3: manifest and provenance only.

    Raises:
        ArtifactChanged: another manifest lies there.
        NoRecord, SignedAnother, StatementUnreadable, WrongKey, …: see there; and what S3 said.
    """
    where = lock.location
    read = _reader(project, lock)
    manifest = read(MANIFEST, MAX_MANIFEST_BYTES)
    place = f"s3://{where.bucket}/{where.prefix}"
    if manifest is None:
        raise NoRecord(artifact=f"the release {lock.digest[:12]}", place=f"{place}/{MANIFEST}")
    found = hashlib.sha256(manifest).hexdigest()
    if found != lock.digest:
        raise ArtifactChanged(
            file=MANIFEST, why=f"its sha256 begins {found[:12]}, the lock says {lock.digest[:12]}"
        )
    names = (SIGNED_PROVENANCE_FILE,) if keys else (SIGNED_PROVENANCE_FILE, PROVENANCE_FILE)
    data = next((data for name in names if (data := read(name, MAX_ENVELOPE_BYTES)) is not None), None)
    if data is None:
        raise NoRecord(artifact=f"the release {lock.digest[:12]}", place=f"{place}/{names[-1]}")
    return _made(parse_manifest(manifest), lock.digest, data, keys)


def check(made: Made, again: Again, project: Project) -> str:
    """Compile it again in a folder of its own and return the digest, which is the recorded one.

    Raises:
        SourceDiffers: nothing was compiled.
        RebuildDiffers: names the files.
        CodeUnconfirmed, StatementUnreadable: see there; and what the compile raises.
    """
    from cli.compiling import runner_of
    from compile.provenance import recorded

    how = recorded(made.statement)
    runner = again.runner or how.runner
    image = again.image or (how.image if runner == how.runner == "docker" else None)
    with tempfile.TemporaryDirectory(prefix="traceship-rebuild-") as folder:
        request = _request(how.words, again, made, Path(folder) / "artifact")
        _check_source(request, made.manifest)
        compiled = runner_of(runner, image, project, fresh=True).build(request)
        return compare(made, compiled.path)


def compare(made: Made, rebuilt: Path) -> str:
    """The digest of the artifact in ``rebuilt``, which is the recorded one.

    Raises:
        RebuildDiffers: names the files.
    """
    artifact = verify(rebuilt)
    if artifact.digest != made.digest:
        raise _difference(made, artifact.manifest, artifact.digest)
    return artifact.digest


def _made(manifest: Manifest, digest: str, data: bytes, keys: Sequence[PublicKey]) -> Made:
    from compile.provenance import PROVENANCE

    statement = _statement(data, keys, PROVENANCE)
    about = statement.subject[0].digest.sha256
    if about != digest:
        raise SignedAnother(signed=about, found=digest)
    return Made(manifest=manifest, digest=digest, statement=statement, signed=bool(keys))


def _statement(data: bytes, keys: Sequence[PublicKey], kind: str) -> Statement:
    """Out of its envelope where keys are pinned; else whoever wrote it, in an envelope or plain."""
    if keys:
        return open_statement(data, keys, predicate_type=kind)[0]
    try:
        return read_statement(read_envelope(data).data, predicate_type=kind)
    except EnvelopeUnreadable:
        return read_statement(data, predicate_type=kind)


def _reader(project: Project, lock: ReleaseLock) -> Callable[[str, int], bytes | None]:
    """Reads a file of the release; None where there is none."""
    from botocore.exceptions import ClientError

    where, s3 = lock.location, project.client("s3")

    def read(name: str, limit: int) -> bytes | None:
        with translated(f"read the release in the bucket {where.bucket}"):
            try:
                found: Any = s3.get_object(
                    Bucket=where.bucket, Key=f"{where.prefix}/{name}", ExpectedBucketOwner=where.account
                )
            except ClientError as error:
                if str(error.response.get("Error", {}).get("Code")) in {"NoSuchKey", "404"}:
                    return None
                raise
            data: bytes = found["Body"].read(limit + 1)
            return data

    return read


def _request(words: Sequence[str], again: Again, made: Made, out: Path) -> CompileRequest:
    from compile.request import Work

    request = _parsed(words)
    if request.trust_remote_code and not (made.signed or again.trust_remote_code):
        raise CodeUnconfirmed(model=request.model)
    return replace(
        request,
        model=again.model or request.model,
        samples=again.samples or request.samples,
        out=out,
        work=Work(jobs=again.jobs),
    )


def _parsed(words: Sequence[str]) -> CompileRequest:
    """The recorded command as a request.

    Raises:
        StatementUnreadable: it is no compile.
    """
    from compile.__main__ import BadArguments, parse

    try:
        return parse(words)
    except BadArguments as error:
        raise StatementUnreadable(why=f"its command cannot be run: {error.why}") from error


def _check_source(request: CompileRequest, manifest: Manifest) -> None:
    """Nothing is compiled of a model that can only give another digest."""
    from compile.source import resolve

    found = resolve(request.model, revision=request.revision, allowed=request.allowed).identity
    if found == manifest.source:
        return
    then = {file.path: file.sha256 for file in manifest.source.files}
    now = {file.path: file.sha256 for file in found.files}
    other = sorted(path for path in then.keys() | now.keys() if then.get(path) != now.get(path))
    why = (
        f"these files differ: {', '.join(other[:_NAMED])}" if other else f"it is {found.id} {found.revision}"
    )
    raise SourceDiffers(model=request.model, why=why)


def _difference(made: Made, manifest: Manifest, digest: str) -> RebuildDiffers:
    then = {file.path: file.sha256 for file in made.manifest.files}
    now = {file.path: file.sha256 for file in manifest.files}
    files = sorted(path for path in then.keys() | now.keys() if then.get(path) != now.get(path))
    before, after = made.manifest.built_with, manifest.built_with
    versions = [
        f"{name} {getattr(before, name)} then and {getattr(after, name)} now"
        for name in before.__struct_fields__
        if getattr(before, name) != getattr(after, name)
    ]
    return RebuildDiffers(recorded=made.digest, rebuilt=digest, files=files or [MANIFEST], versions=versions)
