"""The daily look at releases: clean ones are, and each thing that a release consists of is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from artifact.aws import BucketMissing
from artifact.manifest import MANIFEST
from artifact.release import ARCHIVE, blob_key, release_prefix
from artifact.verify import VerifiedArtifact, verify
from compile.__main__ import main as entry
from compile.archive import artifact_members, write_archive
from compile.publish.reverify import BadBucketPlace, ReleasesChanged, main, reverify
from tests.kit.folders import CONTENT, write_folder

BUCKET = "releases-of-a-test"


@dataclass(frozen=True)
class Bucket:
    """Two releases that share blobs; whatever is told goes to ``lines``."""

    s3: Any
    artifact: VerifiedArtifact
    prefix: str
    lines: list[str]

    def look(self) -> Any:
        return reverify(BUCKET, self.s3, self.lines.append)

    def put(self, key: str, data: bytes) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=data)

    def get(self, key: str) -> bytes:
        data: bytes = self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return data

    @property
    def blob(self) -> str:
        return blob_key(self.artifact.manifest.files[0].sha256)


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    write_folder(tmp_path / "artifact", CONTENT)
    artifact = verify(tmp_path / "artifact")
    write_archive(artifact_members(artifact), tmp_path / ARCHIVE)
    with mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket=BUCKET)
        made = Bucket(s3, artifact, release_prefix("minilm", artifact.digest), [])
        for file in artifact.manifest.files:
            made.put(blob_key(file.sha256), (artifact.root / file.path).read_bytes())
        for prefix in (made.prefix, release_prefix("another", artifact.digest)):
            made.put(f"{prefix}/{ARCHIVE}", (tmp_path / ARCHIVE).read_bytes())
            made.put(f"{prefix}/{MANIFEST}", (artifact.root / MANIFEST).read_bytes())
        yield made


def test_what_was_published_is_unchanged(bucket: Bucket) -> None:
    """Each blob is read once, however many releases name it."""
    seen = bucket.look()

    blobs = {file.sha256: file.size for file in bucket.artifact.manifest.files}
    assert (seen.releases, seen.blobs, seen.bytes) == (2, len(blobs), sum(blobs.values()))
    assert "2 releases" in bucket.lines[-1]


def _flip(bucket: Bucket, key: str, at: int = -1) -> None:
    data = bytearray(bucket.get(key))
    data[at] ^= 1
    bucket.put(key, bytes(data))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda b: _flip(b, b.blob), "has other bytes"),
        (lambda b: b.put(b.blob, b.get(b.blob) + b"x"), "has other bytes"),
        (lambda b: b.s3.delete_object(Bucket=BUCKET, Key=b.blob), "is missing"),
        (lambda b: _flip(b, f"{b.prefix}/{MANIFEST}"), "not the manifest with that digest"),
        (lambda b: _flip(b, f"{b.prefix}/{ARCHIVE}", 200), ARCHIVE),
        (lambda b: b.put(f"{b.prefix}/{ARCHIVE}", b.get(f"{b.prefix}/{ARCHIVE}")[:-9]), ARCHIVE),
        (lambda b: b.s3.delete_object(Bucket=BUCKET, Key=f"{b.prefix}/{ARCHIVE}"), "is missing"),
    ],
)
def test_whatever_changed_is_found(bucket: Bucket, damage: Callable[[Bucket], object], told: str) -> None:
    """One bit is enough; the object is named."""
    damage(bucket)

    with pytest.raises(ReleasesChanged) as found:
        bucket.look()

    assert found.value.exit_code == 3
    assert "1 objects of 2 releases" in found.value.what
    assert told in found.value.why


def test_every_problem_is_told_and_the_error_stays_short(bucket: Bucket) -> None:
    """One broken object does not hide the others."""
    for file in bucket.artifact.manifest.files:
        bucket.s3.delete_object(Bucket=BUCKET, Key=blob_key(file.sha256))

    with pytest.raises(ReleasesChanged) as found:
        bucket.look()

    blobs = {file.sha256 for file in bucket.artifact.manifest.files}
    assert len(bucket.lines) == len(blobs)
    assert f"{len(blobs)} objects" in found.value.what


def test_nothing_is_written(bucket: Bucket) -> None:
    """The role could not, and the code does not try."""
    asked: list[str] = []
    bucket.s3.meta.events.register("before-call.s3", lambda model, **_: asked.append(model.name))

    bucket.look()

    assert set(asked) == {"ListObjectsV2", "GetObject"}


def test_more_releases_than_a_page_are_all_seen(bucket: Bucket) -> None:
    """S3 lists a thousand at a time; here two."""
    own = bucket.s3.list_objects_v2
    bucket.s3.list_objects_v2 = lambda **asked: own(**asked, MaxKeys=1)

    assert bucket.look().releases == 2


def test_a_bucket_that_is_not_there_is_no_clean_bucket(bucket: Bucket) -> None:
    """Nor is one that is not named."""
    with pytest.raises(BucketMissing):
        main(["s3://no-such-bucket-of-a-test"], bucket.s3, bucket.lines.append)
    for words in ([], ["bucket"], ["s3://a-bucket/releases"], ["s3://a-bucket", "s3://b-bucket"]):
        with pytest.raises(BadBucketPlace):
            main(words, bucket.s3, bucket.lines.append)


def test_the_job_is_the_entry_point(bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    """The image can only be given arguments; a changed release ends with 3, so that the execution fails."""
    assert entry(["reverify", f"s3://{BUCKET}"]) == 0
    bucket.s3.delete_object(Bucket=BUCKET, Key=bucket.blob)

    assert entry(["reverify", f"s3://{BUCKET}"]) == 3
    assert "is missing" in capsys.readouterr().err
