"""What nothing needs any more: releases that nothing names, their blobs, uploads that nobody finishes.

Deletion begins at the manifest: the release stops to exist before its parts go, and a reader never
meets half of one. In the bucket that the stacks make, old versions stay for a while, so that a
mistake can be undone by hand.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from artifact.aws import AwsClient, AwsRefused, BucketMissing, translated
from artifact.garbage import FoundBlob, FoundFolder, FoundRelease, FoundUpload, Garbage
from artifact.manifest import MANIFEST
from cli.kept import SIGNED
from cli.naming import Names, names
from cli.project import Project
from cli.shipping import ARTIFACTS
from infra.names import artifacts_bucket

STALE_UPLOAD_DAYS = 1.0
_RELEASE = re.compile(r"releases/([^/]+)/([0-9a-f]{64})/(.+)")
_BLOB = re.compile(r"blobs/sha256/([0-9a-f]{64})")
_MOST_AT_ONCE = 1000
"""Keys in one DeleteObjects (S3 API reference)."""
_DAY = 86400


Clock = Callable[[], datetime]


def _now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(frozen=True)
class _Object:
    key: str
    size: int
    age_days: float


@dataclass
class _Release:
    """The objects below a release's prefix."""

    name: str
    digest: str
    objects: list[_Object] = field(default_factory=list)

    @property
    def manifest(self) -> str:
        return f"releases/{self.name}/{self.digest}/{MANIFEST}"

    @property
    def complete(self) -> bool:
        return any(found.key == self.manifest for found in self.objects)

    @property
    def age_days(self) -> float:
        return min(found.age_days for found in self.objects)


class Collector:
    """Looks at one project's bucket and state folder, and deletes on request.

    Args:
        older_than: days; whatever is younger is kept, because a ship may be in flight.
        clock: what time it is.
    """

    def __init__(self, project: Project, *, older_than: float, clock: Clock = _now) -> None:
        self._clock = clock
        self._project = project
        self._older_than = older_than
        self._s3: AwsClient = project.client("s3")
        name = project.shared.project.name
        self._at = {
            "Bucket": artifacts_bucket(name, project.account, project.region),
            "ExpectedBucketOwner": project.account,
        }

    def survey(self) -> Garbage:
        """Look, and touch nothing.

        Raises:
            BucketMissing, AwsDenied, AwsUnreachable, AwsRefused: what AWS said.
        """
        known = names(self._project)
        with translated(f"list the bucket {self._at['Bucket']}"):
            releases, blobs = self._releases(), self._blobs()
            found = tuple(self._found(release, known) for release in releases)
            unnamed = {release.digest for release in found if not release.kept_by}
            stay = [release for release in releases if release.digest not in unnamed]
            orphans = self._orphans(blobs, stay)
            uploads = self._uploads()
        return Garbage(
            bucket=self._at["Bucket"],
            releases=found,
            uploads=uploads,
            blobs=orphans,
            folders=tuple(self._folders(known)),
            deleted=False,
        )

    def delete(self, seen: Garbage) -> Garbage:
        """Delete what ``seen`` found unneeded and what still is: everything is looked at once more."""
        now = self.survey()
        doomed = {r.digest for r in seen.releases if not r.kept_by} & {
            r.digest for r in now.releases if not r.kept_by
        }
        with translated(f"remove what {self._at['Bucket']} does not need"):
            releases = [release for release in self._releases() if release.digest in doomed]
            self._remove(release.manifest for release in releases if release.complete)
            self._remove(o.key for release in releases for o in release.objects if o.key != release.manifest)
            # a release that appeared meanwhile names its blobs
            orphans = self._orphans(self._blobs(), self._releases())
            self._remove(f"blobs/sha256/{blob.sha256}" for blob in orphans)
            for upload in now.uploads:
                if upload.stale:
                    self._s3.abort_multipart_upload(**self._at, Key=upload.key, UploadId=upload.id)
        for folder in now.folders:
            _remove_folder(Path(folder.path))
        fields = {name: getattr(now, name) for name in now.__struct_fields__}
        return Garbage(**{**fields, "blobs": orphans, "deleted": True})

    def _found(self, release: _Release, known: Names) -> FoundRelease:
        young = (f"younger than {self._older_than:g} days",) if release.age_days < self._older_than else ()
        return FoundRelease(
            name=release.name,
            digest=release.digest,
            complete=release.complete,
            bytes=sum(found.size for found in release.objects),
            age_days=release.age_days,
            kept_by=known.of(release.digest) + young,
        )

    def _releases(self) -> list[_Release]:
        found: dict[tuple[str, str], _Release] = {}
        for entry in self._objects("releases/"):
            parts = _RELEASE.fullmatch(entry.key)
            if parts is not None:
                place = (parts[1], parts[2])
                found.setdefault(place, _Release(*place)).objects.append(entry)
        return list(found.values())

    def _blobs(self) -> dict[str, _Object]:
        matched = ((_BLOB.fullmatch(entry.key), entry) for entry in self._objects("blobs/sha256/"))
        return {match[1]: entry for match, entry in matched if match is not None}

    def _orphans(self, blobs: dict[str, _Object], stay: Iterable[_Release]) -> tuple[FoundBlob, ...]:
        """Blobs that are old enough and that no release of ``stay`` names."""
        named: set[str] = set()
        for release in stay:
            if release.complete:
                body = self._s3.get_object(**self._at, Key=release.manifest)["Body"].read()
                named |= {file["sha256"] for file in json.loads(body)["files"]}
        return tuple(
            FoundBlob(sha256=sha256, bytes=entry.size, age_days=entry.age_days)
            for sha256, entry in blobs.items()
            if sha256 not in named and entry.age_days >= self._older_than
        )

    def _uploads(self) -> tuple[FoundUpload, ...]:
        pages = self._s3.get_paginator("list_multipart_uploads").paginate(**self._at)
        found = (
            (entry, self._age(entry["Initiated"])) for page in pages for entry in page.get("Uploads", ())
        )
        return tuple(
            FoundUpload(key=e["Key"], id=e["UploadId"], age_days=age, stale=age >= STALE_UPLOAD_DAYS)
            for e, age in found
        )

    def _objects(self, prefix: str) -> Iterator[_Object]:
        from botocore.exceptions import ClientError

        try:
            for page in self._s3.get_paginator("list_objects_v2").paginate(**self._at, Prefix=prefix):
                for entry in page.get("Contents", ()):
                    yield _Object(entry["Key"], entry["Size"], self._age(entry["LastModified"]))
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") == "NoSuchBucket":
                raise BucketMissing(bucket=self._at["Bucket"], why="there is no such bucket") from None
            raise

    def _folders(self, known: Names) -> Iterator[FoundFolder]:
        """Artifacts in the state folder, and their signatures, that nothing names."""
        state = self._project.state
        folders = [state, *(state / "services").glob("*")]
        for path in sorted(
            path for f in folders for kind in (ARTIFACTS, SIGNED) for path in (f / kind).glob("*")
        ):
            digest = _digest_of(path)
            age = self._age(datetime.fromtimestamp(path.stat().st_mtime, timezone.utc))
            if not path.is_dir() or age < self._older_than or known.by_digest.get(digest):
                continue
            size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            yield FoundFolder(path=str(path), bytes=size, age_days=age)

    def _age(self, when: datetime) -> float:
        """Days since then."""
        return round(max(0.0, (self._clock() - when).total_seconds()) / _DAY, 3)

    def _remove(self, keys: Iterable[str]) -> None:
        waiting = list(keys)
        while waiting:
            now, waiting = waiting[:_MOST_AT_ONCE], waiting[_MOST_AT_ONCE:]
            objects: dict[str, Any] = {"Objects": [{"Key": key} for key in now], "Quiet": True}
            answer = self._s3.delete_objects(**self._at, Delete=objects)
            for error in answer.get("Errors", ()):
                raise AwsRefused(
                    doing=f"delete {error['Key']}",
                    code=error.get("Code", "?"),
                    message=error.get("Message", ""),
                )


def _digest_of(path: Path) -> str:
    """Of a folder of signatures its name, of an artifact what its own digest file says."""
    try:
        return (path / "manifest.sha256").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return path.name


def _remove_folder(path: Path) -> None:
    shutil.rmtree(path)
    path.with_name(f"{path.name}.result.json").unlink(missing_ok=True)
