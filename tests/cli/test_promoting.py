"""A release goes from one stage to another by its digest: the same bytes, and nothing is compiled."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import msgspec
import pytest
from moto import mock_aws

from artifact.aws import BucketMissing
from artifact.canonical import encode
from artifact.release import LOCK_FILE, SBOM_FILE, Image, ReleaseLock, manifest_key
from artifact.trust import SignatureMissing
from cli.__main__ import main
from cli.project import Project
from cli.promoting import ImageNotPromoted, SamePlace, promote
from compile.publish import Destination, publish
from inference_code.fetch import DownloadChanged
from infra.lock import LockMissing, read_lock
from tests.cli.test_verifying import CHECKOUT
from tests.kit.folders import CONTENT, write_folder
from tests.kit.keys import Key

ACCOUNT = "123456789012"
DEV, PROD = "shop-dev-artifacts-123456789012-us-east-1", "shop-artifacts-123456789012-eu-west-1"
SETTINGS = """
[project]
name = "shop-dev"
region = "us-east-1"

[stage.prod.project]
name = "shop"
region = "eu-west-1"
"""


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket=DEV)
        boto3.client("s3", region_name="eu-west-1").create_bucket(
            Bucket=PROD, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
        yield


@pytest.fixture
def dev(aws: None, tmp_path: Path) -> Project:
    """A project that shipped, as far as its bucket and its lock are concerned."""
    (tmp_path / "traceship.toml").write_text(SETTINGS)
    project = Project(tmp_path / "traceship.toml", stage=None)
    digest = write_folder(tmp_path / "made", CONTENT)
    to = Destination(account=ACCOUNT, region="us-east-1", bucket=DEV, name="shop-dev")
    found = publish(
        tmp_path / "made", to, project.client("s3"), report=lambda _: None, beside={SBOM_FILE: b"{}"}
    )
    lock = msgspec.json.decode((CHECKOUT / "examples/inf1" / LOCK_FILE).read_bytes(), type=ReleaseLock)
    location = msgspec.structs.replace(
        lock.location, account=ACCOUNT, region="us-east-1", bucket=DEV, prefix=found.prefix
    )
    artifact = msgspec.structs.replace(lock.artifact, archive_bytes=found.archive_bytes)
    project.write_lock(
        msgspec.structs.replace(lock, name="shop-dev", digest=digest, location=location, artifact=artifact)
    )
    shutil.rmtree(tmp_path / "made")
    return project


def _prod(dev: Project) -> Project:
    return Project(dev.settings_path, stage="prod")


def _objects(bucket: str) -> dict[str, bytes]:
    s3 = boto3.client("s3", region_name="us-east-1")
    found = s3.list_objects_v2(Bucket=bucket).get("Contents", [])
    return {o["Key"]: s3.get_object(Bucket=bucket, Key=o["Key"])["Body"].read() for o in found}


def test_the_same_bytes_are_published_in_the_other_place(dev: Project) -> None:
    """Blobs, archive, records and manifest; only the release's name is the stage's own."""
    promote(dev, _prod(dev))

    there = {
        key.replace("releases/shop/", "releases/shop-dev/"): data for key, data in _objects(PROD).items()
    }
    assert there == _objects(DEV)
    assert any(key.endswith(SBOM_FILE) for key in there)


def test_the_stage_gets_a_lock_of_its_own_and_the_sources_stays(dev: Project) -> None:
    """Everything that was proven and measured is carried over; the place is the stage's."""
    before = dev.lock_path.read_bytes()

    done = promote(dev, _prod(dev))

    source, written = dev.lock(), _prod(dev).lock()
    assert dev.lock_path.read_bytes() == before
    assert _prod(dev).lock_path.name == "release@prod.lock.json"
    assert written == done.lock
    assert (written.digest, written.artifact) == (source.digest, source.artifact)
    assert (written.throughput, written.startup_seconds) == (source.throughput, source.startup_seconds)
    assert (written.name, written.location.region, written.location.bucket) == ("shop", "eu-west-1", PROD)
    assert written.serving_image.repository == "shop/serving"


def test_promoting_again_does_nothing_and_says_so(dev: Project) -> None:
    """Neither the bucket nor the lock is written."""
    promote(dev, _prod(dev))
    changed = _prod(dev).lock_path.stat().st_mtime_ns

    again = promote(dev, _prod(dev))

    assert (again.unchanged, again.sent_bytes) == (True, 0)
    assert _prod(dev).lock_path.stat().st_mtime_ns == changed


def test_a_release_that_its_bucket_holds_damaged_is_not_promoted(dev: Project) -> None:
    """Verified against the lock's digest before anything is sent."""
    key = manifest_key("shop-dev", dev.lock().digest)
    boto3.client("s3", region_name="us-east-1").put_object(Bucket=DEV, Key=key, Body=b"{}")

    with pytest.raises(DownloadChanged):
        promote(dev, _prod(dev))

    assert _objects(PROD) == {}
    assert not _prod(dev).lock_path.exists()


def test_without_a_bucket_there_the_lock_stays_away(dev: Project) -> None:
    """Asked for before anything is fetched."""
    boto3.client("s3", region_name="eu-west-1").delete_bucket(Bucket=PROD)

    with pytest.raises(BucketMissing):
        promote(dev, _prod(dev))

    assert not _prod(dev).lock_path.exists()


def test_a_release_is_not_promoted_to_where_it_is(dev: Project) -> None:
    """The error names both options."""
    with pytest.raises(SamePlace) as refused:
        promote(dev, dev)

    assert "--from" in refused.value.fix
    assert refused.value.exit_code == 2


def test_a_stage_that_never_shipped_has_nothing_to_promote(dev: Project) -> None:
    """It has no lock."""
    with pytest.raises(LockMissing, match=r"release@prod\.lock\.json"):
        promote(_prod(dev), dev)


def test_production_takes_only_what_its_own_keys_vouch_for(dev: Project, tmp_path: Path) -> None:
    """A stage that pins keys refuses what none of them signed, before anything is copied."""
    line = Key().public.line
    text = f'{SETTINGS}\n[stage.prod.signing]\ntrusted_keys = ["{line}"]\n'
    (tmp_path / "traceship.toml").write_text(text)

    with pytest.raises(SignatureMissing):
        promote(dev, _prod(dev))

    assert _objects(PROD) == {}


def test_another_image_than_the_proven_one_is_refused(dev: Project, tmp_path: Path) -> None:
    """A release is an artifact and the image it was proven with."""
    image = Image(repository="shop-dev/serving", digest="ab" * 32, placeholder=False)
    dev.write_lock(msgspec.structs.replace(dev.lock(), serving_image=image))
    pin = f"111122223333.dkr.ecr.eu-west-1.amazonaws.com/shop/serving@sha256:{'cd' * 32}"
    (tmp_path / "traceship.toml").write_text(f'{SETTINGS}\n[stage.prod.serve]\nimage = "{pin}"\n')

    with pytest.raises(ImageNotPromoted, match=r"serve\.image") as refused:
        promote(dev, _prod(dev))

    assert "ab" * 32 in refused.value.fix
    assert refused.value.exit_code == 2
    assert _objects(PROD) == {}


class Ecr:
    """Knows one image; remembers what it was asked."""

    def __init__(self, holds: str | None) -> None:
        self.holds, self.put = holds, []  # type: ignore[var-annotated]

    def batch_get_image(self, *, imageIds: list[dict[str, str]], **_: Any) -> dict[str, Any]:  # noqa: N803
        there = self.holds is not None and imageIds[0].get("imageDigest") == f"sha256:{self.digest}"
        return {"images": [{"imageManifest": self.holds}] if there else []}

    @property
    def digest(self) -> str:
        import hashlib

        return hashlib.sha256(str(self.holds).encode()).hexdigest()

    def put_image(self, **arguments: Any) -> None:
        self.put.append(arguments)


def test_images_are_copied_by_digest_before_the_release_is_published(
    dev: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the registry and region that the lock names to the one that the settings name."""
    there, here = Ecr('{"manifests": []}'), Ecr(None)
    image = Image(
        repository="999988887777.dkr.ecr.ap-south-1.amazonaws.com/shop-dev/serving",
        digest=there.digest,
        placeholder=False,
    )
    dev.write_lock(msgspec.structs.replace(dev.lock(), serving_image=image))
    real, asked = Project.client, []

    def client(self: Project, service: str, region: str | None = None) -> Any:
        if service != "ecr":
            return real(self, service, region)
        asked.append((self.stage, region))
        return here if self.stage == "prod" else there

    monkeypatch.setattr(Project, "client", client)

    promote(dev, _prod(dev))

    (put,) = here.put
    assert (put["registryId"], put["repositoryName"]) == (ACCOUNT, "shop/serving")
    assert put["imageDigest"] == f"sha256:{there.digest}"
    assert put["imageTag"] == f"promoted-{there.digest}"
    assert asked == [(None, "ap-south-1"), ("prod", None)]
    assert _prod(dev).lock().serving_image.repository == "shop/serving"


def test_nothing_is_left_of_the_copy_on_the_way(dev: Project) -> None:
    """A release may be gigabytes."""
    promote(dev, _prod(dev))

    assert [path for path in dev.state.rglob("*") if path.is_file()] == []


def test_the_command_prints_where_the_release_is_now(
    dev: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """As JSON for scripts; a stage that never shipped exits with 2."""
    settings = str(dev.settings_path)

    code = main(["--settings", settings, "--stage", "prod", "promote", "--json"])

    printed = json.loads(capsys.readouterr().out)
    assert code == 0
    assert (printed["release"], printed["digest"]) == ("shop", dev.lock().digest)
    assert printed["location"].startswith(f"s3://{PROD}/releases/shop/")
    assert printed["lock"] == str(_prod(dev).lock_path)
    assert main(["--settings", settings, "promote", "--from", "other", "--json"]) == 2


def test_the_lock_is_readable_json_in_canonical_form(dev: Project) -> None:
    """As `ship` writes it."""
    promote(dev, _prod(dev))

    path = _prod(dev).lock_path
    lock = read_lock(path)
    assert lock is not None
    assert path.read_bytes() == encode(lock)
    assert json.loads(path.read_bytes())["location"]["bucket"] == PROD
