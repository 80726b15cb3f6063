"""Shipping again does what is left to do: nothing, or exactly what is gone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from artifact.aws import BucketMissing
from artifact.errors import TraceshipError
from artifact.release import archive_key, manifest_key
from cli.__main__ import main
from cli.project import Project, ReleaseOfAnother
from cli.shipping import compile_artifact, publish_artifact
from cli.signers import SigningKeyUnusable
from cli.signing import SignerNotTrusted
from infra.names import artifacts_bucket
from tests.kit.keys import Key
from tests.kit.models import tiny_model

ACCOUNT = "123456789012"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose tiny model is compiled once for all tests of this file."""
    root = tmp_path_factory.mktemp("project")
    tiny_model(root / "model")
    _write(root, "")
    found = Project(settings_path=root / "traceship.toml", stage=None)
    compile_artifact(found)
    return found


def _write(root: Path, more: str) -> None:
    text = f'[model]\nsource = "{root / "model"}"\n[compile]\nbuckets = ["1x16"]\n{more}'
    (root / "traceship.toml").write_text(text)


def _again(project: Project) -> Project:
    """The same project as the next command sees it."""
    return Project(settings_path=project.settings_path, stage=None)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, project: Project) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=artifacts_bucket("traceship", ACCOUNT, "us-east-1"))
        yield client
    project.lock_path.unlink(missing_ok=True)


def test_shipping_again_writes_nothing_and_says_so(
    project: Project, s3: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither the lock nor the bucket is touched, and no speed is measured again."""
    built = compile_artifact(_again(project))
    first = publish_artifact(project, built.path)
    lock, changed = project.lock_path.read_bytes(), project.lock_path.stat().st_mtime_ns

    second = publish_artifact(_again(project), compile_artifact(_again(project)).path)

    talk = capsys.readouterr().err
    assert (first.unchanged, second.unchanged) == (False, True)
    assert second.lock == first.lock
    assert (project.lock_path.read_bytes(), project.lock_path.stat().st_mtime_ns) == (lock, changed)
    assert "nothing to do" in talk
    assert "nothing changed since the last compile" in talk


@pytest.mark.parametrize(
    ("signing", "has_bucket", "error"),
    [
        pytest.param('key = "absent.pem"', True, SigningKeyUnusable, id="no key"),
        pytest.param(
            'key = "ours.pem"\ntrusted_keys = ["{theirs}"]', True, SignerNotTrusted, id="not trusted"
        ),
        pytest.param("", False, BucketMissing, id="no bucket"),
    ],
)
def test_what_would_stop_a_ship_after_its_compile_stops_it_before(
    s3: Any,
    tmp_path: Path,
    signing: str,
    has_bucket: bool,
    error: type[TraceshipError],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A compile for Inf1 may take hours; nobody wants to read this in the morning."""
    tiny_model(tmp_path / "model")
    Key().write_private(tmp_path / "ours.pem")
    _write(tmp_path, f"[signing]\n{signing.format(theirs=Key().public.line)}\n")
    if not has_bucket:
        s3.delete_bucket(Bucket=artifacts_bucket("traceship", ACCOUNT, "us-east-1"))

    code = main(["--settings", str(tmp_path / "traceship.toml"), "ship", "--json"])

    told = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (code, told["error"]["id"]) == (error.exit_code, error.id)
    assert not (tmp_path / ".traceship/artifacts").exists()


def test_what_is_shipped_is_encrypted_with_the_projects_key_and_says_who_shipped_it(
    project: Project, s3: Any
) -> None:
    """The key by the alias that the artifacts stack gives it; the ARN for those who come second."""
    shipped = publish_artifact(_again(project), compile_artifact(_again(project)).path)

    where = shipped.lock.location
    manifest = s3.head_object(Bucket=where.bucket, Key=f"{where.prefix}/manifest.json")
    assert manifest["SSEKMSKeyId"] == f"arn:aws:kms:us-east-1:{ACCOUNT}:alias/traceship"
    assert manifest["Metadata"]["publisher"].startswith(f"arn:aws:sts::{ACCOUNT}:")


def test_a_release_that_is_gone_is_published_again_without_a_compile(project: Project, s3: Any) -> None:
    """The lock alone does not mean that the release exists."""
    built = compile_artifact(_again(project))
    first = publish_artifact(project, built.path)
    where = first.lock.location
    s3.delete_object(Bucket=where.bucket, Key=manifest_key("traceship", first.lock.digest))

    again = publish_artifact(_again(project), built.path)

    assert not again.unchanged
    assert again.lock == first.lock
    found = s3.get_object(Bucket=where.bucket, Key=manifest_key("traceship", first.lock.digest))
    assert json.loads(found["Body"].read())["schema"] == "traceship.artifact/1"


def test_an_archive_of_the_right_size_with_other_bytes_is_sent_again(project: Project, s3: Any) -> None:
    """The journal knows S3's checksum of the one that was packed here."""
    built = compile_artifact(_again(project))
    first = publish_artifact(project, built.path)
    where = {"Bucket": first.lock.location.bucket, "Key": archive_key("traceship", first.lock.digest)}
    right = s3.get_object(**where)["Body"].read()
    s3.put_object(**where, Body=bytes(len(right)), ChecksumAlgorithm="SHA256")

    again = publish_artifact(_again(project), built.path)

    assert again.lock == first.lock
    assert s3.get_object(**where)["Body"].read() == right
    assert publish_artifact(_again(project), built.path).unchanged


def test_a_new_pin_goes_into_the_lock_without_an_upload(project: Project, s3: Any) -> None:
    """The artifact is the same; what it was measured to do stays."""
    built = compile_artifact(_again(project))
    first = publish_artifact(project, built.path)
    image = "registry.example/serving@sha256:" + "a" * 64
    _write(project.root, f'[serve]\nimage = "{image}"\n')

    second = publish_artifact(_again(project), built.path)
    _write(project.root, "")

    assert not second.unchanged
    assert second.published.uploaded_bytes == 0
    assert second.lock.serving_image.digest == "a" * 64
    assert second.lock.throughput == first.lock.throughput
    assert json.loads(project.lock_path.read_bytes())["serving_image"]["placeholder"] is False


def test_a_damaged_working_copy_is_taken_from_the_cache(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is neither published nor a dead end."""
    before = compile_artifact(_again(project))
    (before.path / "golden.json").write_bytes(b"{}")

    after = compile_artifact(_again(project))

    assert (after.digest, after.reused) == (before.digest, True)
    talk = capsys.readouterr().err
    assert "golden.json" in talk
    assert "taken from the cache" in talk


def test_a_lock_that_cannot_be_read_is_written_anew(project: Project, s3: Any) -> None:
    """A merge that went wrong does not stop a release."""
    built = compile_artifact(_again(project))
    project.lock_path.write_text("<<<<<<< HEAD")

    shipped = publish_artifact(_again(project), built.path)

    assert not shipped.unchanged
    assert project.lock().digest == built.digest


@pytest.mark.parametrize("step", ["compile", "publish"])
def test_a_service_that_runs_another_ones_release_ships_none(tmp_path: Path, step: str) -> None:
    """Its settings do not describe that model: another one, proven and wrong, would take its place."""
    text = '[service.search.model]\nsource = "elsewhere"\n[service.twin]\nrelease = "search"\n'
    (tmp_path / "traceship.toml").write_text(text)
    twin = Project(tmp_path / "traceship.toml", stage=None, service="twin")

    with pytest.raises(ReleaseOfAnother, match="twin") as refused:
        compile_artifact(twin) if step == "compile" else publish_artifact(twin, tmp_path / "made")

    assert "--service search" in refused.value.fix
    assert refused.value.exit_code == 2
    assert not twin.lock_path.exists()
