"""Entries in S3, ``s3://BUCKET/PREFIX/<key>/…``, each file an object, result.json the last.

An entry exists if and only if its result does. Everything is verified after the download by the
same code as an entry on this machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from artifact.aws import AwsClient, AwsUnreachable, is_local, translated
from artifact.errors import TraceshipError
from artifact.manifest import MANIFEST, MANIFEST_DIGEST
from artifact.verify import parse_manifest
from compile.cache.entry import ARTIFACT, KEY, RESULT, Entry, EntryDamaged, parse_texts
from compile.cache.key import CacheKey
from compile.places import split_place

_CHUNK = 1 << 20


class SharedCache:
    """The entries under ``place``, ``s3://BUCKET/PREFIX``.

    Raises:
        NotAPlace: ``place`` is spelt another way.
    """

    def __init__(self, place: str, s3: AwsClient) -> None:
        self.place = place
        self._bucket, self._prefix = split_place(place)
        self._s3 = s3

    def has(self, key: CacheKey) -> bool:
        """Whether the key has an entry.

        Raises:
            AwsDenied, AwsUnreachable, AwsRefused: what S3 said.
        """
        with _translated(f"read the compile cache {self.place}"):
            return self._there(self._key(key, RESULT))

    def fetch(self, key: CacheKey, into: Path) -> None:
        """Download the key's entry, which is there, into the empty folder ``into``.

        Raises:
            EntryDamaged: it is not whole. What was downloaded is still to be verified.
            AwsDenied, AwsUnreachable, AwsRefused: what S3 said.
        """
        with _translated(f"read the compile cache {self.place}"):
            for name in (KEY, RESULT, f"{ARTIFACT}/{MANIFEST}", f"{ARTIFACT}/{MANIFEST_DIGEST}"):
                self._get(key, name, into)
            for name in _listed(key, into):
                self._get(key, name, into)

    def keep(self, entry: Entry) -> int:
        """Upload a verified entry; return the bytes sent.

        Raises:
            AwsDenied, AwsUnreachable, AwsRefused: what S3 said; no entry is there then.
        """
        artifact = sorted(path for path in (entry.folder / ARTIFACT).rglob("*") if path.is_file())
        sent = 0
        with _translated(f"write to the compile cache {self.place}"):
            for path in [*artifact, entry.folder / KEY, entry.folder / RESULT]:
                name = path.relative_to(entry.folder).as_posix()
                with path.open("rb") as body:
                    self._s3.put_object(
                        Bucket=self._bucket,
                        Key=self._key(entry.key, name),
                        Body=body,
                        ChecksumAlgorithm="SHA256",
                    )
                sent += path.stat().st_size
        return sent

    def _get(self, key: CacheKey, name: str, into: Path) -> None:
        where = self._key(key, name)
        if not self._there(where):
            raise EntryDamaged(entry=key.digest, why=f"{name} is missing in {self.place}")
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        body = self._s3.get_object(Bucket=self._bucket, Key=where)["Body"]
        with target.open("wb") as file:
            for chunk in body.iter_chunks(_CHUNK):
                file.write(chunk)

    def _there(self, where: str) -> bool:
        from botocore.exceptions import ClientError

        try:
            self._s3.head_object(Bucket=self._bucket, Key=where)
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != 404:
                raise
            return False
        return True

    def _key(self, key: CacheKey, name: str) -> str:
        return f"{self._prefix}/{key.digest}/{name}"


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    """As ``translated``; an answer that broke off in its middle counts as no answer."""
    from botocore.exceptions import BotoCoreError

    try:
        with translated(doing):
            yield
    except BotoCoreError as error:
        raise AwsUnreachable(doing=doing, why=str(error), local=is_local()) from error


def _listed(key: CacheKey, into: Path) -> list[str]:
    """Names of the artifact's files, from a manifest that is the result's."""
    result = parse_texts((into / KEY).read_bytes(), (into / RESULT).read_bytes(), key, into / ARTIFACT)
    data = (into / ARTIFACT / MANIFEST).read_bytes()
    if hashlib.sha256(data).hexdigest() != result.digest:
        raise EntryDamaged(entry=key.digest, why=f"its {MANIFEST} is not the one of its {RESULT}")
    try:
        manifest = parse_manifest(data)
    except TraceshipError as error:
        raise EntryDamaged(entry=key.digest, why=error.why) from error
    return [f"{ARTIFACT}/{file.path}" for file in manifest.files]
