"""A release in S3 in, a verified folder out, or an error and nothing left behind."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import NoCredentialsError, ReadTimeoutError
from moto import mock_aws

from artifact.aws import AwsDenied, AwsUnreachable, BucketMissing
from artifact.canonical import encode
from artifact.manifest import MANIFEST, File
from artifact.release import ARCHIVE, blob_key, release_prefix
from artifact.verify import ArtifactChanged, verify
from compile.archive import artifact_members, write_archive
from inference_code.__main__ import main
from inference_code.fetch import (
    DownloadBroken,
    DownloadChanged,
    FetchOptions,
    ReleaseMissing,
    fetch,
    fetch_options,
    s3_client,
    verify_release,
)
from inference_code.option_values import OptionInvalid
from inference_code.place import CannotWrite, PlaceTaken, put, staged
from tests.inference_code.running import environment
from tests.kit.folders import CONTENT, manifest_of, write_folder

BUCKET = "releases-of-a-test"
OWNER = "123456789012"


class Release:
    """A published release whose objects a test may change."""

    def __init__(self, s3: Any, folder: Path, content: dict[str, bytes] = CONTENT) -> None:
        self.s3 = s3
        self.digest = write_folder(folder, content)
        self.prefix = release_prefix("minilm", self.digest)
        for path, data in content.items():
            self.put(self.blob(path, content), data)
        self.put(f"{self.prefix}/{MANIFEST}", (folder / MANIFEST).read_bytes())

    def blob(self, path: str, content: dict[str, bytes] = CONTENT) -> str:
        return blob_key(hashlib.sha256(content[path]).hexdigest())

    def put(self, key: str, data: bytes) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=data)

    def remove(self, key: str) -> None:
        self.s3.delete_object(Bucket=BUCKET, Key=key)

    def to(self, folder: Path, **changed: Any) -> FetchOptions:
        fields = {"bucket": BUCKET, "prefix": self.prefix, "digest": self.digest, "owner": OWNER}
        return FetchOptions(**{**fields, "to": folder, **changed})


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        yield client


@pytest.fixture
def release(s3: Any, tmp_path: Path) -> Release:
    return Release(s3, tmp_path / "published")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A place below a folder that holds nothing else, so that leftovers show."""
    (tmp_path / "there").mkdir()
    return tmp_path / "there" / "model"


class Counting:
    """An S3 client that notes its calls and may replace a body."""

    def __init__(self, s3: Any, body: Callable[[str, Any], Any] = lambda _key, body: body) -> None:
        self._s3 = s3
        self._body = body
        self.calls: list[dict[str, Any]] = []

    def get_object(self, **request: Any) -> Any:
        self.calls.append(request)
        answer = self._s3.get_object(**request)
        return {**answer, "Body": self._body(request["Key"], answer["Body"])}


def test_a_release_becomes_a_verified_folder(release: Release, target: Path) -> None:
    """Every file, and the digest file that S3 does not hold."""
    artifact = fetch(release.to(target), release.s3)

    assert artifact.digest == release.digest
    assert verify(target, digest=release.digest).manifest == artifact.manifest
    assert [p.name for p in target.parent.iterdir()] == ["model"]
    assert target.stat().st_mode & 0o777 == 0o755


def test_a_second_run_asks_for_nothing(release: Release, target: Path) -> None:
    """A reboot costs no download."""
    fetch(release.to(target), release.s3)
    counting = Counting(release.s3)

    fetch(release.to(target), counting)

    assert counting.calls == []


def test_every_call_names_the_owner(release: Release, target: Path) -> None:
    """A bucket of the same name in another account is not ours."""
    counting = Counting(release.s3)

    fetch(release.to(target), counting)

    assert counting.calls
    assert {call["ExpectedBucketOwner"] for call in counting.calls} == {OWNER}


def test_a_damaged_folder_is_mended(release: Release, target: Path) -> None:
    """What does not verify is replaced as a whole."""
    fetch(release.to(target), release.s3)
    (target / "graphs/b1_s32.pt").write_bytes(b"broken")

    fetch(release.to(target), release.s3)

    verify(target, digest=release.digest)
    assert [p.name for p in target.parent.iterdir()] == ["model"]


def test_another_release_is_replaced(release: Release, target: Path, tmp_path: Path) -> None:
    """A new digest in the stack brings the new artifact."""
    fetch(release.to(target), release.s3)
    newer = Release(release.s3, tmp_path / "newer", {**CONTENT, "config.json": b'{"v":2}\n'})

    fetch(newer.to(target), release.s3)

    assert verify(target).digest == newer.digest


def test_foreign_files_are_never_removed(release: Release, target: Path) -> None:
    """A mistyped --to must not cost anybody their folder."""
    target.mkdir()
    (target / "thesis.txt").write_text("years of work")

    counting = Counting(release.s3)

    with pytest.raises(PlaceTaken):
        fetch(release.to(target), counting)

    assert counting.calls == []
    assert (target / "thesis.txt").read_text() == "years of work"
    assert [p.name for p in target.parent.iterdir()] == ["model"]


def test_another_manifest_is_refused_before_any_blob(release: Release, target: Path) -> None:
    """A valid manifest that is not the pinned one: whoever writes the bucket cannot choose."""
    other = encode(manifest_of({**CONTENT, "config.json": b"{}"}))
    release.put(f"{release.prefix}/{MANIFEST}", other)
    counting = Counting(release.s3)

    with pytest.raises(DownloadChanged) as refused:
        fetch(release.to(target), counting)

    assert refused.value.exit_code == 3
    assert [call["Key"] for call in counting.calls] == [f"{release.prefix}/{MANIFEST}"]
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("path", sorted(CONTENT))
def test_one_flipped_byte_in_a_blob_is_refused(release: Release, target: Path, path: str) -> None:
    """Of the same length, so that only the digest can tell."""
    data = bytearray(CONTENT[path])
    data[0] ^= 1
    release.put(release.blob(path), bytes(data))

    with pytest.raises(DownloadChanged) as refused:
        fetch(release.to(target), release.s3)

    assert refused.value.file == path
    assert list(target.parent.iterdir()) == []


def test_an_endless_blob_is_not_read_to_its_end(release: Release, target: Path) -> None:
    """No more than the manifest's size and one piece."""

    class Endless:
        served = 0

        def read(self, size: int) -> bytes:
            Endless.served += size
            assert Endless.served < 10 * 1024 * 1024
            return b"x" * size

    def endless(key: str, body: Any) -> Any:
        return Endless() if key == release.blob("config.json") else body

    with pytest.raises(DownloadChanged):
        fetch(release.to(target), Counting(release.s3, endless))


@pytest.mark.parametrize("breaks", [1, 3])
def test_an_archive_whose_connection_breaks_off_is_read_again(
    release: Release, target: Path, tmp_path: Path, breaks: int
) -> None:
    """From its beginning, as often as a blob."""
    write_archive(artifact_members(verify(tmp_path / "published")), tmp_path / ARCHIVE)
    release.put(f"{release.prefix}/{ARCHIVE}", (tmp_path / ARCHIVE).read_bytes())
    left = breaks

    class Broken:
        def read(self, _size: int) -> bytes:
            raise ReadTimeoutError(endpoint_url="https://s3")

    def breaking(key: str, body: Any) -> Any:
        nonlocal left
        left -= key.endswith(ARCHIVE)
        return Broken() if key.endswith(ARCHIVE) and left >= 0 else body

    counting = Counting(release.s3, breaking)
    if breaks == 1:
        assert len(verify_release(release.to(target), counting).manifest.files) == len(CONTENT)
    else:
        with pytest.raises(DownloadBroken, match=ARCHIVE):
            verify_release(release.to(target), counting)

    assert {call["ExpectedBucketOwner"] for call in counting.calls} == {OWNER}
    assert not target.exists()


def test_a_manifest_that_points_outside_is_refused(s3: Any, target: Path, tmp_path: Path) -> None:
    """Even a pinned one cannot write beside its folder."""
    manifest = manifest_of(CONTENT)
    files = (*manifest.files, File(path="../evil", size=1, sha256="0" * 64))
    data = encode({**json.loads(encode(manifest)), "files": json.loads(encode(list(files)))})
    digest = hashlib.sha256(data).hexdigest()
    s3.put_object(Bucket=BUCKET, Key=f"{release_prefix('minilm', digest)}/{MANIFEST}", Body=data)
    options = FetchOptions(
        bucket=BUCKET, prefix=release_prefix("minilm", digest), digest=digest, to=target, owner=None
    )

    with pytest.raises(ArtifactChanged, match="plain relative path"):
        fetch(options, s3)

    assert not (tmp_path / "evil").exists()
    assert list(target.parent.iterdir()) == []


def test_a_release_that_is_not_there(release: Release, target: Path) -> None:
    """A lock that names what the bucket does not hold."""
    release.remove(f"{release.prefix}/{MANIFEST}")

    with pytest.raises(ReleaseMissing) as missing:
        fetch(release.to(target), release.s3)

    assert missing.value.exit_code == 1
    assert release.prefix in missing.value.why


def test_a_blob_that_is_not_there(release: Release, target: Path) -> None:
    """Named by its key; no half of an artifact appears."""
    release.remove(release.blob("weights.safetensors"))

    with pytest.raises(ReleaseMissing) as missing:
        fetch(release.to(target), release.s3)

    assert missing.value.key == release.blob("weights.safetensors")
    assert list(target.parent.iterdir()) == []


def test_a_bucket_that_is_not_there(release: Release, target: Path) -> None:
    """Said as such."""
    with pytest.raises(BucketMissing):
        fetch(release.to(target, bucket="no-such-bucket-here"), release.s3)


class _RawBody(io.BytesIO):
    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.getvalue()


def test_a_denied_call_says_who_must_act(release: Release, target: Path) -> None:
    """S3 answers 403 for a missing right and for another owner alike."""
    body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"

    def deny(**_: Any) -> AWSResponse:
        return AWSResponse("https://s3", 403, HTTPHeaders(), _RawBody(body))

    release.s3.meta.events.register_first("before-send.s3.GetObject", deny)

    with pytest.raises(AwsDenied) as denied:
        fetch(release.to(target), release.s3)

    assert denied.value.exit_code == 4
    assert list(target.parent.iterdir()) == []


def test_no_credentials(release: Release, target: Path) -> None:
    """The same exit code as a denial."""

    class Anonymous:
        def get_object(self, **_: Any) -> Any:
            raise NoCredentialsError

    with pytest.raises(AwsDenied):
        fetch(release.to(target), Anonymous())


def test_nothing_listens_at_the_endpoint(target: Path, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A local AWS that is not running: the fix says how to start it."""
    endpoint = "http://127.0.0.1:9"
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    options = FetchOptions(bucket=BUCKET, prefix="releases/a/b", digest="0" * 64, to=target, owner=None)

    class Refusing:
        def get_object(self, **_: Any) -> Any:
            from botocore.exceptions import EndpointConnectionError

            raise EndpointConnectionError(endpoint_url=endpoint)

    with pytest.raises(AwsUnreachable, match="does not answer") as unreachable:
        fetch(options, Refusing())

    assert "local up" in unreachable.value.fix


class _BreaksOff:
    """A body whose connection dies after the first piece."""

    def __init__(self, body: Any) -> None:
        self._body = body
        self._read = False

    def read(self, size: int) -> bytes:
        if self._read:
            raise ReadTimeoutError(endpoint_url="s3")
        self._read = True
        return bytes(self._body.read(min(size, 10)))


def test_a_download_that_breaks_off_is_tried_again(release: Release, target: Path) -> None:
    """Twice broken, then whole."""
    broken: list[str] = []

    def flaky(key: str, body: Any) -> Any:
        if key == release.blob("weights.safetensors") and len(broken) < 2:
            broken.append(key)
            return _BreaksOff(body)
        return body

    fetch(release.to(target), Counting(release.s3, flaky))

    assert len(broken) == 2
    verify(target, digest=release.digest)


def test_a_download_that_always_breaks_off_is_an_error(release: Release, target: Path) -> None:
    """Three attempts, then nothing is left behind."""

    def broken(key: str, body: Any) -> Any:
        return _BreaksOff(body) if key == release.blob("weights.safetensors") else body

    with pytest.raises(DownloadBroken):
        fetch(release.to(target), Counting(release.s3, broken))

    assert list(target.parent.iterdir()) == []


def test_a_place_that_cannot_be_written(release: Release) -> None:
    """/proc takes no folders from anybody, root included."""
    with pytest.raises(CannotWrite) as failed:
        fetch(release.to(Path("/proc/traceship/model")), release.s3)

    assert failed.value.exit_code == 1
    assert "/proc/traceship/model" in failed.value.what


def test_a_file_in_the_way(release: Release, target: Path) -> None:
    """It stays as it was."""
    target.write_text("a file")

    with pytest.raises(CannotWrite):
        fetch(release.to(target), release.s3)

    assert target.read_text() == "a file"
    assert [p.name for p in target.parent.iterdir()] == ["model"]


def test_an_interruption_leaves_nothing(release: Release, target: Path) -> None:
    """Ctrl-C in the middle of a blob, then a rerun."""

    def interrupted(key: str, body: Any) -> Any:
        if key == release.blob("weights.safetensors"):
            raise KeyboardInterrupt
        return body

    with pytest.raises(KeyboardInterrupt):
        fetch(release.to(target), Counting(release.s3, interrupted))
    left = list(target.parent.iterdir())
    fetch(release.to(target), release.s3)

    assert left == []
    verify(target, digest=release.digest)


def test_the_environment_is_enough(release: Release, target: Path) -> None:
    """What an instance's user data sets."""
    options = fetch_options(
        {
            "TRACESHIP_RELEASE": f"s3://{BUCKET}/{release.prefix}",
            "TRACESHIP_DIGEST": release.digest,
            "TRACESHIP_MODEL_DIR": str(target),
            "TRACESHIP_BUCKET_OWNER": OWNER,
        }
    )

    assert options == release.to(target)


def test_arguments_win_and_the_name_carries_the_digest() -> None:
    """Without a pinned digest the release's own name is the pin."""
    options = fetch_options(
        {"TRACESHIP_RELEASE": "s3://other/releases/x/y", "TRACESHIP_MODEL_DIR": "/elsewhere"},
        release=f"s3://{BUCKET}/releases/minilm/{'a' * 64}/",
        to="/here",
    )

    assert (options.bucket, options.digest, options.to) == (BUCKET, "a" * 64, Path("/here"))
    assert options.owner is None


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({}, "--release"),
        ({"release": "https://bucket/x"}, "--release"),
        ({"release": "s3://bucket"}, "--release"),
        ({"release": "s3://bucket/releases/minilm/latest"}, "--digest"),
        ({"release": "s3://bucket/releases/a/" + "a" * 64, "digest": "abc"}, "--digest"),
        ({"release": "s3://bucket/releases/a/" + "a" * 64, "owner": "me"}, "--expected-bucket-owner"),
    ],
)
def test_options_that_cannot_be_used_are_named(arguments: dict[str, str], names: str) -> None:
    """With what is wanted instead."""
    with pytest.raises(OptionInvalid) as refused:
        fetch_options({}, **arguments)

    assert names in refused.value.what
    assert refused.value.exit_code == 2


def test_the_command_fetches(release: Release, target: Path) -> None:
    """``python -m inference_code fetch`` with its own client."""
    url = f"s3://{BUCKET}/{release.prefix}"

    assert main(["fetch", "--release", url, "--to", str(target)]) == 0
    assert verify(target).digest == release.digest


def test_the_commands_exit_codes(release: Release, target: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """1 missing, 2 usage, 3 changed; one JSON line says what, why and how to fix it."""
    url = f"s3://{BUCKET}/{release.prefix}"
    release.put(release.blob("config.json"), b"changed")

    codes = [
        main(["fetch", "--release", f"s3://{BUCKET}/releases/x/{'0' * 64}", "--to", str(target)]),
        main(["fetch", "--release", "nonsense", "--to", str(target)]),
        main(["fetch", "--release", url, "--to", str(target)]),
    ]

    assert codes == [1, 2, 3]
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["error"] for line in lines] == ["release-missing", "option-invalid", "download-changed"]
    assert all(line["what"] and line["why"] and line["fix"] for line in lines)


def test_a_client_without_a_region_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile that does not exist is the user's to correct."""
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")

    with pytest.raises(AwsDenied, match="no-such-profile"):
        s3_client()


MOUNTED = """
import os, pathlib, subprocess, sys
from inference_code.place import put, staged
volume = pathlib.Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "none", volume], check=True)
for content in ("first", "second"):
    with staged(volume) as folder:
        assert folder.parent == volume
        for name in ("manifest.json", "manifest.sha256", "graphs"):
            (folder / name).write_text(content)
        put(folder, volume)
    assert sorted(os.listdir(volume)) == ["graphs", "manifest.json", "manifest.sha256"]
    assert (volume / "graphs").read_text() == content
try:
    with staged(volume) as folder:
        (folder / "manifest.json").write_text("third")
        (volume / "manifest.sha256").unlink()
        raise KeyboardInterrupt
except KeyboardInterrupt:
    pass
assert sorted(os.listdir(volume)) == [".incoming", "graphs", "manifest.json"]
with staged(volume) as folder:
    put(folder, volume)
"""


def test_a_volume_is_filled_from_inside(tmp_path: Path) -> None:
    """A mount point cannot be renamed, and beside it may be read-only: containers mount volumes so."""
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount")

    subprocess.run([*unshare, sys.executable, "-c", MOUNTED, tmp_path], env=environment({}), check=True)


def test_a_volume_left_half_filled_is_taken_up_again(tmp_path: Path) -> None:
    """Killed between two moves: the marker says that what lies there is ours."""
    (tmp_path / ".incoming").mkdir()
    (tmp_path / "graphs").write_text("of a run that was killed")

    with staged(tmp_path) as folder:
        for name in (MANIFEST, "manifest.sha256"):
            (folder / name).write_text("new")
        put(folder, tmp_path)

    assert (tmp_path / MANIFEST).read_text() == "new"
    assert not (tmp_path / "graphs").exists()
