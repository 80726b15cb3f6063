"""A model comes out of S3 by its needed files, once, and never as a mixture of two."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from artifact.errors import TraceshipError
from compile.places import NotAPlace
from compile.source import resolve
from compile.sources.bucket import MAX_FILES, NoModelThere, PlaceChanged
from compile.sources.errors import PickleRefused
from tests.kit.fake_hub import folder_files

BUCKET = "bucket-of-a-test"
PLACE = f"s3://{BUCKET}/models/tiny"


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """boto3's own session, whose events a test may watch."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        found = boto3.Session()
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", found)
        yield found


@pytest.fixture
def s3(session: Any, tiny_bert: Path) -> Any:
    """A bucket with a model, and other things around it."""
    client = session.client("s3", region_name="us-east-1")
    client.create_bucket(Bucket=BUCKET)
    extra = {"README.md": b"hello", "deeper/config.json": b"no", "": b""}
    for name, data in {**folder_files(tiny_bert), **extra}.items():
        client.put_object(Bucket=BUCKET, Key=f"models/tiny/{name}", Body=data)
    client.put_object(Bucket=BUCKET, Key="models/tiny-other", Body=b"no")
    return client


@pytest.fixture
def read(session: Any) -> list[str]:
    """Keys of the objects that are read."""
    keys: list[str] = []
    session.events.register(
        "provide-client-params.s3.GetObject", lambda params, **_: keys.append(params["Key"])
    )
    return keys


def test_a_model_in_s3_is_the_model_in_the_folder_that_was_uploaded(s3: Any, tiny_bert: Path) -> None:
    """Its content is its identity, not its place."""
    assert resolve(f"{PLACE}/").identity == resolve(str(tiny_bert)).identity


def test_only_needed_files_directly_under_the_prefix_are_brought(s3: Any) -> None:
    """Nothing from deeper folders, nor from prefixes that begin alike."""
    found = resolve(PLACE)

    names = {path.name for path in found.folder.iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


def test_an_unchanged_prefix_is_not_read_again(s3: Any, read: list[str]) -> None:
    """One listing is all it costs."""
    lines: list[str] = []
    before = resolve(PLACE, report=lines.append)
    read.clear()

    after = resolve(PLACE, report=lines.append)

    assert (after, read, lines) == (before, [], [f"brought {PLACE}"])


def test_a_changed_object_is_another_model(s3: Any) -> None:
    """The kept copy is not taken for the new one."""
    before = resolve(PLACE)
    s3.put_object(Bucket=BUCKET, Key="models/tiny/config.json", Body=b'{"model_type": "roberta"}')

    after = resolve(PLACE)

    assert after.config == {"model_type": "roberta"}
    assert after.identity.id != before.identity.id


def test_an_upload_in_the_middle_is_noticed(s3: Any, session: Any, own_cache: Path) -> None:
    """Half of the old model and half of the new one would be neither; nothing of it is kept."""

    def overwrite(params: dict[str, Any], **_: Any) -> None:
        if params["Key"].endswith("model.safetensors"):
            s3.put_object(Bucket=BUCKET, Key="models/tiny/config.json", Body=b'{"model_type": "roberta"}')

    session.events.register("provide-client-params.s3.GetObject", overwrite)

    with pytest.raises(PlaceChanged) as refused:
        resolve(PLACE)

    assert refused.value.exit_code == 5
    assert list((own_cache / "traceship" / "s3").iterdir()) == []


def test_a_pickle_in_s3_is_refused_before_it_is_read(s3: Any, read: list[str]) -> None:
    """The list of names tells."""
    s3.copy_object(
        Bucket=BUCKET, Key="models/tiny/pytorch_model.bin", CopySource=f"{BUCKET}/models/tiny-other"
    )
    s3.delete_object(Bucket=BUCKET, Key="models/tiny/model.safetensors")

    with pytest.raises(PickleRefused, match=PLACE):
        resolve(PLACE)

    assert read == ["models/tiny/config.json"]


@pytest.mark.parametrize("count", [0, MAX_FILES + 1])
def test_a_prefix_that_holds_no_model_is_refused(s3: Any, count: int) -> None:
    """Nothing there, or a whole bucket by mistake."""
    for number in range(count):
        s3.put_object(Bucket=BUCKET, Key=f"models/m/{number}", Body=b"")

    with pytest.raises(NoModelThere, match=str(count)) as refused:
        resolve(f"s3://{BUCKET}/models/m")

    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    "place", ["s3://", "s3://bucket", "s3://bucket/", "s3://b/x", "s3://bucket//x", "s3://bucket/a/../b"]
)
def test_a_place_that_names_no_folder_is_refused(place: str) -> None:
    """A whole bucket is no model."""
    with pytest.raises(NotAPlace):
        resolve(place)


def test_a_missing_bucket_is_named(session: Any) -> None:
    """S3's own words reach the log."""
    with pytest.raises(TraceshipError, match="NoSuchBucket"):
        resolve("s3://nobody-made-this/models/m")


def test_a_user_without_a_home_gets_a_passing_copy(s3: Any, own_cache: Path) -> None:
    """A container's user: where no cache can be, the model still comes."""
    own_cache.write_text("no folder can be made here")

    found = resolve(PLACE)

    assert own_cache not in found.folder.parents
    assert found.folder.parent.stat().st_mode & 0o077 == 0
