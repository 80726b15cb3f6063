"""A compile job's model comes out of S3 and its artifact goes back, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from artifact.errors import TraceshipError
from artifact.manifest import MANIFEST
from artifact.verify import ArtifactChanged, verify
from compile.exchange import MAX_FILES, NoModelThere, NotAPlace, PlaceTaken, settled
from tests.kit.folders import CONTENT, write_folder

BUCKET = "bucket-of-a-test"


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


def _quiet(_line: str) -> None:
    """Nobody reads the progress of a test."""


def _deliver(content: dict[str, bytes], out: str) -> None:
    with settled("folder", out, _quiet) as places:
        places.out.mkdir()
        write_folder(places.out, content)
        assert places.deliver() == out


def _keys(s3: Any) -> list[str]:
    return [row["Key"] for row in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


def test_places_on_this_machine_are_left_as_they_are(tmp_path: Path) -> None:
    """Without S3 nothing is copied and no client is made."""
    with settled("pypi:example", str(tmp_path / "out"), _quiet) as places:
        assert (places.model, places.out) == ("pypi:example", tmp_path / "out")
        assert places.deliver() == str(tmp_path / "out")


def test_a_model_is_brought_file_by_file(s3: Any, tmp_path: Path) -> None:
    """The files directly under the prefix, and no others; gone when the compile has ended."""
    for key in (
        "models/tiny/config.json",
        "models/tiny/model.safetensors",
        "models/tiny/deeper/no",
        "models/x",
    ):
        s3.put_object(Bucket=BUCKET, Key=key, Body=key.encode())

    with settled(f"s3://{BUCKET}/models/tiny/", str(tmp_path / "out"), _quiet) as places:
        folder = Path(places.model)
        found = {path.name: path.read_bytes() for path in folder.iterdir()}

    assert found == {n: f"models/tiny/{n}".encode() for n in ("config.json", "model.safetensors")}
    assert not folder.exists()


def test_an_artifact_arrives_whole_and_verifies(s3: Any, tmp_path: Path) -> None:
    """What lies in S3 is what was made."""
    _deliver(CONTENT, f"s3://{BUCKET}/compiled/tiny")

    for key in _keys(s3):
        target = tmp_path / key.removeprefix("compiled/tiny/")
        target.parent.mkdir(parents=True, exist_ok=True)
        s3.download_file(BUCKET, key, str(target))
    assert verify(tmp_path).manifest.task == "feature-extraction"


def test_a_retried_job_delivers_the_same_artifact_again(s3: Any) -> None:
    """The same bytes in the same place are a success."""
    _deliver(CONTENT, f"s3://{BUCKET}/compiled/tiny")
    before = _keys(s3)

    _deliver(CONTENT, f"s3://{BUCKET}/compiled/tiny")

    assert _keys(s3) == before


def test_another_artifact_is_never_overwritten(s3: Any) -> None:
    """Not one of its files is touched."""
    _deliver(CONTENT, f"s3://{BUCKET}/compiled/tiny")
    other = {**CONTENT, "config.json": b'{"model_type": "other"}\n'}

    with pytest.raises(PlaceTaken) as refused:
        _deliver(other, f"s3://{BUCKET}/compiled/tiny")

    assert refused.value.exit_code == 5
    stored = s3.get_object(Bucket=BUCKET, Key="compiled/tiny/config.json")["Body"].read()
    assert stored == CONTENT["config.json"]


def test_an_artifact_that_does_not_verify_is_not_delivered(s3: Any) -> None:
    """Nothing is written."""
    with settled("folder", f"s3://{BUCKET}/compiled/tiny", _quiet) as places:
        places.out.mkdir()
        write_folder(places.out, CONTENT)
        (places.out / "config.json").write_bytes(b"changed")
        with pytest.raises(ArtifactChanged):
            places.deliver()

    assert _keys(s3) == []


def test_the_manifest_comes_last(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that ends in the middle leaves no manifest."""
    session, written = boto3.Session(), []
    session.events.register(
        "provide-client-params.s3.PutObject", lambda params, **_: written.append(params["Key"])
    )
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", session)

    _deliver(CONTENT, f"s3://{BUCKET}/compiled/tiny")

    assert len(written) == len(CONTENT) + 2
    assert written[-1] == f"compiled/tiny/{MANIFEST}"


@pytest.mark.parametrize("count", [0, MAX_FILES + 1])
def test_a_prefix_that_holds_no_model_is_refused(s3: Any, tmp_path: Path, count: int) -> None:
    """Nothing there, or a whole bucket by mistake."""
    for number in range(count):
        s3.put_object(Bucket=BUCKET, Key=f"models/m/{number}", Body=b"")

    place = settled(f"s3://{BUCKET}/models/m", str(tmp_path / "out"), _quiet)
    with pytest.raises(NoModelThere, match=str(count)) as refused, place:
        pass

    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    "place", ["s3://", "s3://bucket", "s3://bucket/", "s3://b/x", "s3://bucket//x", "s3://bucket/a/../b"]
)
def test_a_place_that_names_no_folder_is_refused_before_the_compile(place: str, tmp_path: Path) -> None:
    """As a model and as an output."""
    for model, out in ((place, str(tmp_path / "out")), ("folder", place)):
        with pytest.raises(NotAPlace), settled(model, out, _quiet):
            pass


def test_a_missing_bucket_is_named(s3: Any, tmp_path: Path) -> None:
    """S3's own words reach the job's log."""
    place = settled("s3://nobody-made-this/models/m", str(tmp_path / "out"), _quiet)
    with pytest.raises(TraceshipError, match="NoSuchBucket"), place:
        pass
