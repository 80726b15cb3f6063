"""A release exists whole or not at all."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from artifact.aws import AwsRefused, BucketMissing
from artifact.manifest import MANIFEST
from artifact.release import archive_key, blob_key, manifest_key
from artifact.verify import ArtifactChanged, verify
from compile.publish import Destination, Progress, Published, ReleaseTaken, find_release, publish
from tests.kit.folders import CONTENT, manifest_of, write_folder

ACCOUNT = "123456789012"
TO = Destination(account=ACCOUNT, region="us-east-1", bucket="releases-of-a-test", name="minilm")


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=TO.bucket)
        yield client


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_folder(tmp_path, CONTENT)
    return tmp_path


class Recorder:
    """An S3 client that notes what is written and may fail before or after a chosen write."""

    def __init__(self, s3: Any, *, fail: Callable[[str, str], bool] = lambda _key, _when: False) -> None:
        self._s3 = s3
        self._fail = fail
        self.written: list[str] = []
        self.requests: list[dict[str, Any]] = []

    def put_object(self, **request: Any) -> Any:
        key = request["Key"]
        if self._fail(key, "before"):
            raise ConnectionAbortedError(f"before {key}")
        answer = self._s3.put_object(**request)
        self.written.append(key)
        self.requests.append(request)
        if self._fail(key, "after"):
            raise ConnectionAbortedError(f"after {key}")
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._s3, name)


def _quiet(_line: str) -> None:
    """Nobody reads the progress of a test."""


def _keys(s3: Any) -> set[str]:
    return {o["Key"] for o in s3.list_objects_v2(Bucket=TO.bucket).get("Contents", [])}


def test_the_manifest_is_the_last_object_written(s3: Any, root: Path) -> None:
    """Whoever sees the manifest can read everything that it names."""
    recorder = Recorder(s3)

    published = publish(root, TO, recorder, report=_quiet)

    assert recorder.written[-1] == manifest_key(TO.name, published.digest)
    blobs = {blob_key(file.sha256) for file in manifest_of(CONTENT).files}
    assert _keys(s3) == {*blobs, archive_key(TO.name, published.digest), recorder.written[-1]}


def test_every_write_names_its_checksum_and_the_expected_owner(s3: Any, root: Path) -> None:
    """S3 refuses bytes that changed on the way, and a bucket that somebody else took over."""
    recorder = Recorder(s3)

    publish(root, TO, recorder, report=_quiet)

    assert {request["ExpectedBucketOwner"] for request in recorder.requests} == {ACCOUNT}
    for request in recorder.requests:
        stored = s3.get_object(Bucket=TO.bucket, Key=request["Key"])["Body"].read()
        assert request["ChecksumSHA256"] == base64.b64encode(hashlib.sha256(stored).digest()).decode()


def test_the_manifest_is_created_only_where_there_is_none(s3: Any, root: Path) -> None:
    """No publisher can replace a release."""
    recorder = Recorder(s3)

    publish(root, TO, recorder, report=_quiet)

    assert recorder.requests[-1]["IfNoneMatch"] == "*"


def test_publishing_again_sends_nothing(s3: Any, root: Path) -> None:
    """A release that is there is a success, not a conflict."""
    first = publish(root, TO, s3, report=_quiet)
    recorder = Recorder(s3)

    second = publish(root, TO, recorder, report=_quiet)

    assert second.digest == first.digest
    assert recorder.written == []
    assert second.uploaded_bytes == 0


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interruption_at_any_write_leaves_no_release_and_a_rerun_finishes_it(
    s3: Any, root: Path, when: str
) -> None:
    """Cut before or after each write in turn: no manifest, and only the rest is sent again."""
    complete = Recorder(s3)
    digest = publish(root, TO, complete, report=_quiet).digest
    for cut in complete.written[:-1]:
        _empty(s3)
        with pytest.raises(ConnectionAbortedError):
            publish(root, TO, Recorder(s3, fail=lambda k, w, cut=cut: (k, w) == (cut, when)), report=_quiet)  # type: ignore[misc]
        there = _keys(s3)
        assert manifest_key(TO.name, digest) not in there

        rest = Recorder(s3)
        publish(root, TO, rest, report=_quiet)

        assert set(rest.written) == set(complete.written) - there


def test_a_lost_answer_to_the_last_write_is_our_own_success(s3: Any, root: Path) -> None:
    """The manifest arrived, its acknowledgement did not: the rerun sees the same bytes."""
    lost = Recorder(s3, fail=lambda key, when: key.endswith(MANIFEST) and when == "after")
    with pytest.raises(ConnectionAbortedError):
        publish(root, TO, lost, report=_quiet)

    published = publish(root, TO, s3, report=_quiet)

    assert manifest_key(TO.name, published.digest) in _keys(s3)


def test_another_manifest_in_our_place_is_a_conflict(s3: Any, root: Path) -> None:
    """The key is named after our digest; other bytes there are damage or an attack."""
    digest = write_folder(root, CONTENT)
    s3.put_object(Bucket=TO.bucket, Key=manifest_key(TO.name, digest), Body=b"{}")

    with pytest.raises(ReleaseTaken) as refused:
        publish(root, TO, s3, report=_quiet)

    assert refused.value.exit_code == 5


def test_a_blob_with_wrong_bytes_is_replaced(s3: Any, root: Path) -> None:
    """Present is not enough: size and checksum must be those of the manifest."""
    file = manifest_of(CONTENT).files[0]
    s3.put_object(Bucket=TO.bucket, Key=blob_key(file.sha256), Body=b"\0" * file.size)

    publish(root, TO, s3, report=_quiet)

    stored = s3.get_object(Bucket=TO.bucket, Key=blob_key(file.sha256))["Body"].read()
    assert hashlib.sha256(stored).hexdigest() == file.sha256


def test_a_tampered_artifact_is_never_sent(s3: Any, root: Path) -> None:
    """The folder is verified before the first call."""
    (root / "config.json").write_bytes(b"x")
    recorder = Recorder(s3)

    with pytest.raises(ArtifactChanged):
        publish(root, TO, recorder, report=_quiet)

    assert recorder.written == []


def test_a_missing_bucket_names_the_command_that_makes_it(s3: Any, root: Path) -> None:
    """The commonest first error has its fix."""
    nowhere = Destination(account=ACCOUNT, region="us-east-1", bucket="nobody-made-this", name="minilm")

    with pytest.raises(BucketMissing) as refused:
        publish(root, nowhere, s3, report=_quiet)

    assert "traceship deploy --foundation" in refused.value.fix


def test_what_s3_refuses_keeps_its_code(root: Path, s3: Any) -> None:
    """An answer that we cannot know reaches the operator in the service's words."""

    class Refusing(Recorder):
        def put_object(self, **_request: Any) -> Any:
            raise ClientError({"Error": {"Code": "NewlyInvented", "Message": "off"}}, "PutObject")

    with pytest.raises(AwsRefused, match="NewlyInvented"):
        publish(root, TO, Refusing(s3), report=_quiet)


def test_the_same_bytes_under_two_names_are_sent_once(s3: Any, tmp_path: Path) -> None:
    """Blobs are named after their content."""
    write_folder(tmp_path, {**CONTENT, "tokenizer/copy.json": CONTENT["tokenizer/tokenizer.json"]})
    recorder = Recorder(s3)

    publish(tmp_path, TO, recorder, report=_quiet)

    assert len(recorder.written) == len(set(recorder.written))


def test_one_changed_file_is_the_only_blob_that_a_second_release_sends(s3: Any, tmp_path: Path) -> None:
    """The archive and the manifest are of the release, all else is shared."""
    one, two = tmp_path / "one", tmp_path / "two"
    write_folder(one, CONTENT)
    digest = write_folder(two, {**CONTENT, "parity.json": b"[]\n"})
    publish(one, TO, s3, report=_quiet)
    recorder = Recorder(s3)

    publish(two, TO, recorder, report=_quiet)

    changed = hashlib.sha256(b"[]\n").hexdigest()
    assert sorted(recorder.written) == sorted(
        [blob_key(changed), archive_key(TO.name, digest), manifest_key(TO.name, digest)]
    )


def test_absent_blobs_are_not_asked_for_one_by_one(s3: Any, root: Path) -> None:
    """One listing says what is there; only the archive is asked for by itself."""

    class Asking(Recorder):
        asked = 0

        def head_object(self, **request: Any) -> Any:
            self.asked += 1
            return self._s3.head_object(**request)

    asking = Asking(s3)

    publish(root, TO, asking, report=_quiet)

    assert asking.asked == 1


def test_progress_ends_with_everything_done(s3: Any, root: Path) -> None:
    """Bytes and files only grow, and the last call says that all of them are there."""
    seen: list[Progress] = []

    publish(root, TO, s3, report=_quiet, progress=seen.append)

    done = [now.done_bytes for now in seen]
    assert done == sorted(done)
    assert seen[-1].done_files == seen[-1].total_files == len(CONTENT) + 1


def _empty(s3: Any) -> None:
    for key in _keys(s3):
        s3.delete_object(Bucket=TO.bucket, Key=key)


def _released(s3: Any, root: Path) -> Published:
    return publish(root, TO, s3, report=_quiet)


def test_a_release_that_is_whole_in_s3_is_found_without_a_write(s3: Any, root: Path) -> None:
    """Nothing is sent and no archive is made."""
    made = _released(s3, root)
    recorder = Recorder(s3)

    found = find_release(verify(root), TO, recorder, archive_bytes=made.archive_bytes)

    assert found is not None
    assert (found.digest, found.prefix, found.archive_bytes) == (made.digest, made.prefix, made.archive_bytes)
    assert (found.uploaded_bytes, recorder.written) == (0, [])


def test_a_release_that_lacks_any_object_is_not_found(s3: Any, root: Path) -> None:
    """Each in turn: a blob, the archive, the manifest."""
    made = _released(s3, root)
    for key in sorted(_keys(s3)):
        body = s3.get_object(Bucket=TO.bucket, Key=key)["Body"].read()
        s3.delete_object(Bucket=TO.bucket, Key=key)
        assert find_release(verify(root), TO, s3, archive_bytes=made.archive_bytes) is None, key
        s3.put_object(Bucket=TO.bucket, Key=key, Body=body, ChecksumAlgorithm="SHA256")

    assert find_release(verify(root), TO, s3, archive_bytes=made.archive_bytes) is not None


def test_a_release_whose_objects_were_changed_is_not_found(s3: Any, root: Path) -> None:
    """A blob with other bytes, an archive of another size; a planted manifest is a conflict."""
    made = _released(s3, root)
    artifact = verify(root)
    blob = blob_key(artifact.manifest.files[0].sha256)
    whole = s3.get_object(Bucket=TO.bucket, Key=blob)["Body"].read()

    assert find_release(artifact, TO, s3, archive_bytes=made.archive_bytes + 1) is None
    s3.put_object(Bucket=TO.bucket, Key=blob, Body=b"\0" * len(whole), ChecksumAlgorithm="SHA256")
    assert find_release(artifact, TO, s3, archive_bytes=made.archive_bytes) is None
    s3.put_object(Bucket=TO.bucket, Key=manifest_key(TO.name, made.digest), Body=b"{}")
    with pytest.raises(ReleaseTaken):
        find_release(artifact, TO, s3, archive_bytes=made.archive_bytes)
