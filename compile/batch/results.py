"""A finished artifact out of S3: there if and only if its manifest is, and used only if all of it verifies.

What ``exchange.py`` left in a job: the artifact's files below the row's prefix, and beside it what the
compile reported.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec

from artifact.aws import translated
from artifact.errors import ProofFailed
from artifact.manifest import MANIFEST, MANIFEST_DIGEST
from artifact.verify import parse_manifest, verify
from compile.batch.deployment import Deployment
from compile.batch.rows import Row
from compile.drafts import beside
from compile.exchange import RESULT
from compile.package import install
from compile.parts import PART
from compile.places import SCHEME
from compile.request import CompiledArtifact, Shape
from compile.result import read_result

_CHUNK = 1 << 20


class ResultDamaged(ProofFailed):
    """What lies in a row's place is not what its job left there."""

    id = "compiled-result-damaged"

    def __init__(self, *, place: str, why: str) -> None:
        super().__init__(
            what=f"{place} does not hold what its compile made",
            why=why,
            fix=f"remove it (`aws s3 rm --recursive {place}`), then run the command again",
        )


def is_there(at: Deployment, row: Row) -> bool:
    """Whether the row's artifact was delivered.

    Raises:
        AwsDenied, AwsUnreachable, AwsRefused: what S3 said.
    """
    return _has(at, f"{row.prefix}/{MANIFEST}")


def parts_left(at: Deployment, row: Row) -> list[Shape]:
    """The row's buckets that no job has traced yet; none where the row is not spread.

    Raises:
        AwsDenied, AwsUnreachable, AwsRefused: what S3 said.
    """
    return [shape for shape in row.shapes if not _has(at, f"{row.parts}/{shape}/{PART}")]


def _has(at: Deployment, key: str) -> bool:
    from botocore.exceptions import ClientError

    with translated(f"look for {SCHEME}{at.bucket}/{key}"):
        try:
            at.clients.s3.head_object(Bucket=at.bucket, Key=key, ExpectedBucketOwner=at.account)
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != 404:
                raise
            return False
    return True


def take(at: Deployment, row: Row) -> CompiledArtifact:
    """Bring the row's artifact, which is there, to ``row.request.out``, verified before it has that name.

    Raises:
        ResultDamaged: it is not whole, or not this row's.
        OutputExists, OutputNotWritable: the place on this machine.
        AwsDenied, AwsUnreachable, AwsRefused: what S3 said.
    """
    result = _result(at, row)
    with beside(row.request.out) as folder:
        staging = folder / "artifact"
        _bring(at, row, result.digest, staging)
        try:
            manifest = verify(staging, digest=result.digest).manifest
        except ProofFailed as error:
            raise ResultDamaged(place=_place(at, row), why=f"{error.what}: {error.why}") from error
        if not row.key.fits(manifest):
            raise ResultDamaged(place=_place(at, row), why="it was made from another model")
        install(staging, row.request.out, result.digest)
    return result


def _result(at: Deployment, row: Row) -> CompiledArtifact:
    text = _get(at, row, f"{row.prefix}{RESULT}").read()
    try:
        found: dict[str, Any] = json.loads(text)
        return read_result(found, row.request.out)
    except (ValueError, KeyError, TypeError, msgspec.ValidationError) as error:
        raise ResultDamaged(place=_place(at, row), why=f"{RESULT[1:]} cannot be read ({error})") from None


def _bring(at: Deployment, row: Row, digest: str, into: Path) -> None:
    """Download the manifest, and the files that it names if it is the result's."""
    data = _get(at, row, f"{row.prefix}/{MANIFEST}").read()
    if hashlib.sha256(data).hexdigest() != digest:
        raise ResultDamaged(place=_place(at, row), why=f"its {MANIFEST} is not the one of its result")
    into.mkdir()
    (into / MANIFEST).write_bytes(data)
    for path in [MANIFEST_DIGEST, *(file.path for file in parse_manifest(data).files)]:
        target = into / path
        target.parent.mkdir(parents=True, exist_ok=True)
        body = _get(at, row, f"{row.prefix}/{path}")
        with target.open("wb") as file, translated(f"read {_place(at, row)}/{path}"):
            for chunk in body.iter_chunks(_CHUNK):
                file.write(chunk)


def _get(at: Deployment, row: Row, key: str) -> Any:
    """The body of an object that should be there."""
    from botocore.exceptions import ClientError

    with translated(f"read s3://{at.bucket}/{key}"):
        try:
            return at.clients.s3.get_object(Bucket=at.bucket, Key=key, ExpectedBucketOwner=at.account)["Body"]
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "NoSuchKey":
                raise
    raise ResultDamaged(place=_place(at, row), why=f"there is no {key}")


def _place(at: Deployment, row: Row) -> str:
    return f"{SCHEME}{at.bucket}/{row.prefix}"
