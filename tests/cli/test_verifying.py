"""``traceship verify``: a folder, an archive, a release in S3, or the name of the lock's release."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from artifact.canonical import encode
from artifact.errors import ProofFailed
from artifact.manifest import MANIFEST
from artifact.release import ARCHIVE, LOCK_FILE, Location, blob_key
from artifact.trust import AnotherRelease, signature_path
from artifact.verify import ArtifactChanged, NotAnArtifact, verify
from cli.verifying import NoSuchRelease, Proof, verified
from compile.archive import artifact_members, write_archive
from compile.publish import Destination, Published, publish
from inference_code.fetch import DownloadChanged, ReleaseMissing
from inference_code.option_values import OptionInvalid
from tests.kit.command import CHECKOUT, traceship
from tests.kit.folders import CONTENT, write_folder
from tests.kit.keys import Key
from tests.kit.wheels import wheels

TO = Destination(account="123456789012", region="us-east-1", bucket="releases-of-a-test", name="minilm")


@dataclass(frozen=True)
class Shipped:
    """A release that was published as `ship` does it, and the lock that names it."""

    s3: Any
    published: Published
    root: Path

    @property
    def url(self) -> str:
        return f"s3://{TO.bucket}/{self.published.prefix}"

    @property
    def lock(self) -> Path:
        return self.root.parent / LOCK_FILE

    def put(self, key: str, data: bytes) -> None:
        self.s3.put_object(Bucket=TO.bucket, Key=key, Body=data)

    def get(self, key: str) -> bytes:
        data: bytes = self.s3.get_object(Bucket=TO.bucket, Key=key)["Body"].read()
        return data


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shipped]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket=TO.bucket)
        write_folder(tmp_path / "made", CONTENT)
        found = publish(tmp_path / "made", TO, s3, report=lambda _: None)
        _write_lock(tmp_path, found)
        yield Shipped(s3=s3, published=found, root=tmp_path / "made")


def _write_lock(folder: Path, published: Published) -> None:
    """The example's lock, with our release in it."""
    lock = json.loads((CHECKOUT / "examples/inf1" / LOCK_FILE).read_bytes())
    at = Location(account=TO.account, region=TO.region, bucket=TO.bucket, prefix=published.prefix)
    lock.update(name="minilm", digest=published.digest, location=json.loads(encode(at)))
    (folder / LOCK_FILE).write_bytes(encode(lock))


def test_an_archive_is_verified_as_it_lies_there(tmp_path: Path) -> None:
    """By the command, which leaves nothing else behind."""
    digest = write_folder(tmp_path / "made", CONTENT)
    write_archive(artifact_members(verify(tmp_path / "made")), tmp_path / ARCHIVE)
    before = sorted(tmp_path.rglob("*"))

    answer = traceship("verify", ARCHIVE, "--digest", digest, "--json", cwd=tmp_path)

    told = {"path": ARCHIVE, "digest": digest, "files": len(CONTENT), "verified": True, "signed_by": None}
    assert answer.json == told
    assert sorted(tmp_path.rglob("*")) == before


def test_the_archive_for_the_stock_container_is_verified_too(tmp_path: Path) -> None:
    """With the handler that this checkout puts into it."""
    wheels()  # nothing is fetched by a test
    write_folder(tmp_path / "made", CONTENT)
    traceship("archive", "made", "--out", ARCHIVE, "--stock", cwd=tmp_path)

    assert traceship("verify", ARCHIVE, cwd=tmp_path).code == 0


@pytest.mark.parametrize("data", [b"", b"\x1f\x8b\x08", b"not an archive at all" * 100])
def test_a_file_that_is_no_archive_of_ours_exits_3(tmp_path: Path, data: bytes) -> None:
    """With words for it."""
    (tmp_path / ARCHIVE).write_bytes(data)

    answer = traceship("verify", ARCHIVE, "--json", cwd=tmp_path)

    assert (answer.code, answer.error["id"]) == (3, "archive-changed")


def test_a_release_is_verified_by_its_url_and_by_the_name_in_the_lock(shipped: Shipped) -> None:
    """Blobs, manifest and archive, from S3."""
    for what in (shipped.url, "minilm"):
        found = verified(what, Proof(None), lock_paths=[shipped.lock])

        assert (found.digest, found.files) == (shipped.published.digest, len(CONTENT))


def test_a_name_that_the_lock_does_not_hold_is_met_with_the_one_that_it_holds(shipped: Shipped) -> None:
    """A path that leads nowhere is a path, and where there is no lock nothing is known."""
    with pytest.raises(NoSuchRelease) as refused:
        verified("another", Proof(None), lock_paths=[shipped.lock])

    assert refused.value.exit_code == 2
    assert "`traceship verify minilm`" in refused.value.fix
    for what, lock in (("another", shipped.root / "absent"), ("no/where", shipped.lock)):
        with pytest.raises(NotAnArtifact):
            verified(what, Proof(None), lock_paths=[lock])


@pytest.mark.parametrize("path", list(CONTENT))
def test_a_changed_blob_is_named(shipped: Shipped, path: str) -> None:
    """What an instance would fetch."""
    entry = next(file for file in verify(shipped.root).manifest.files if file.path == path)
    shipped.put(blob_key(entry.sha256), CONTENT[path][::-1])

    with pytest.raises(DownloadChanged) as refused:
        verified(shipped.url, Proof(None), lock_paths=[shipped.lock])

    assert refused.value.file == path


def test_a_changed_archive_is_refused_though_every_blob_is_right(shipped: Shipped) -> None:
    """What SageMaker would unpack."""
    key = f"{shipped.published.prefix}/{ARCHIVE}"
    data = bytearray(shipped.get(key))
    data[len(data) // 2] ^= 1
    shipped.put(key, bytes(data))

    with pytest.raises(DownloadChanged) as refused:
        verified(shipped.url, Proof(None), lock_paths=[shipped.lock])

    assert refused.value.file == ARCHIVE


def test_an_older_release_in_the_place_of_the_locks_is_refused(shipped: Shipped, tmp_path: Path) -> None:
    """It is whole, and was once published; the lock names a newer one."""
    older = tmp_path / "older"
    write_folder(older, {**CONTENT, "config.json": b"{}\n"})
    for name, data in _as_published(shipped, older).items():
        shipped.put(f"{shipped.published.prefix}/{name}", data)

    with pytest.raises(DownloadChanged, match="digest asked for") as refused:
        verified("minilm", Proof(None), lock_paths=[shipped.lock])

    assert refused.value.file == MANIFEST


def test_the_locks_digest_counts_not_the_one_in_its_place(shipped: Shipped) -> None:
    """A lock whose location still names the release before."""
    lock = json.loads(shipped.lock.read_bytes())
    shipped.lock.write_bytes(encode({**lock, "digest": "0" * 64}))

    with pytest.raises(DownloadChanged, match="digest asked for"):
        verified("minilm", Proof(None), lock_paths=[shipped.lock])


def test_an_older_archive_beside_the_right_manifest_is_refused(shipped: Shipped, tmp_path: Path) -> None:
    """The same for the half that SageMaker reads."""
    older = tmp_path / "older"
    write_folder(older, {**CONTENT, "config.json": b"{}\n"})
    shipped.put(f"{shipped.published.prefix}/{ARCHIVE}", _as_published(shipped, older)[ARCHIVE])

    with pytest.raises(DownloadChanged, match="digest asked for") as refused:
        verified("minilm", Proof(None), lock_paths=[shipped.lock])

    assert refused.value.file == ARCHIVE


def _as_published(shipped: Shipped, root: Path) -> dict[str, bytes]:
    found = publish(root, TO, shipped.s3, report=lambda _: None)
    return {name: shipped.get(f"{found.prefix}/{name}") for name in (MANIFEST, ARCHIVE)}


def test_a_release_without_its_archive_is_not_whole(shipped: Shipped) -> None:
    """Told by its key."""
    shipped.s3.delete_object(Bucket=TO.bucket, Key=f"{shipped.published.prefix}/{ARCHIVE}")

    with pytest.raises(ReleaseMissing) as missing:
        verified(shipped.url, Proof(None), lock_paths=[shipped.lock])

    assert missing.value.key.endswith(ARCHIVE)


def test_a_url_that_names_no_digest_needs_one(shipped: Shipped) -> None:
    """A release without a digest to insist on proves nothing."""
    with pytest.raises(OptionInvalid, match="digest"):
        verified(f"s3://{TO.bucket}/releases/minilm", Proof(None), lock_paths=[shipped.lock])


def test_a_path_goes_before_a_name_in_the_lock(shipped: Shipped, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is called like the release is the one that is meant."""
    monkeypatch.chdir(shipped.root.parent)
    shipped.root.rename("minilm")
    Path("minilm/config.json").write_bytes(b"{}")

    with pytest.raises(ArtifactChanged):
        verified("minilm", Proof(None), lock_paths=[shipped.lock])


SIGNATURE = "manifest.dsse.json"


@pytest.mark.parametrize("form", ["folder", "archive", "release"])
def test_every_form_of_an_artifact_is_held_to_the_pinned_key(shipped: Shipped, form: str) -> None:
    """No signature, another key's, one of another artifact: the same refusals; then ours."""
    ours, theirs, digest = Key(), Key(), shipped.published.digest
    what = shipped.url
    if form == "archive":
        what = str(shipped.root.parent / ARCHIVE)
        write_archive(artifact_members(verify(shipped.root)), Path(what))
    elif form == "folder":
        what = str(shipped.root)

    def sign(envelope: bytes) -> None:
        if form == "release":
            shipped.put(f"{shipped.published.prefix}/{SIGNATURE}", envelope)
        else:
            signature_path(Path(what)).write_bytes(envelope)

    def refused(proof: Proof) -> str:
        with pytest.raises(ProofFailed) as error:
            verified(what, proof, lock_paths=[shipped.lock])
        return error.value.id

    proof = Proof(digest, (ours.public,))
    assert refused(proof) == "signature-missing"
    sign(theirs.release(digest))
    assert refused(proof) == "wrong-key"
    sign(ours.release("0" * 64))
    assert refused(proof) == "signed-another"
    sign(ours.release(digest))
    assert verified(what, proof, lock_paths=[shipped.lock]).signed_by == ours.public.id
    assert refused(replace(proof, envelope=theirs.release(digest))) == "wrong-key"


@pytest.mark.parametrize("form", ["folder", "archive"])
def test_a_signed_artifact_that_was_not_asked_for_is_refused(shipped: Shipped, form: str) -> None:
    """An older one, for example: its signature is genuine."""
    key, path = Key(), shipped.root
    if form == "archive":
        path = shipped.root.parent / ARCHIVE
        write_archive(artifact_members(verify(shipped.root)), path)
    key.sign_folder(path, shipped.published.digest)

    with pytest.raises(AnotherRelease):
        verified(str(path), Proof("0" * 64, (key.public,)), lock_paths=[shipped.lock])
