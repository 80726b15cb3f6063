"""A compile job's artifact goes to S3 whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from artifact.canonical import encode
from artifact.manifest import MANIFEST
from artifact.verify import ArtifactChanged, verify
from compile.exchange import RESULT, PlaceTaken, brought, brought_parts, settled
from compile.parts import PART, PartUnusable
from compile.places import NotAPlace
from compile.request import parse_shape
from tests.kit.folders import CONTENT, write_folder

BUCKET = "bucket-of-a-test"
RESULT_OF_THE_COMPILE = {"digest": "ab", "path": "/somewhere/else"}


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


def _deliver(content: dict[str, bytes], out: str) -> None:
    with settled(out) as places:
        places.out.mkdir()
        write_folder(places.out, content)
        assert places.deliver(RESULT_OF_THE_COMPILE) == out


def _keys(s3: Any) -> list[str]:
    return [row["Key"] for row in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


def test_a_place_on_this_machine_is_left_as_it_is(tmp_path: Path) -> None:
    """Without S3 nothing is copied and no client is made."""
    with settled(str(tmp_path / "out")) as places:
        assert places.out == tmp_path / "out"
        assert places.deliver({}) == str(tmp_path / "out")


def test_an_artifact_arrives_whole_and_verifies(s3: Any, tmp_path: Path) -> None:
    """What lies in S3 is what was made."""
    _deliver(CONTENT, f"s3://{BUCKET}/compiled/tiny")

    for key in (key for key in _keys(s3) if key.startswith("compiled/tiny/")):
        target = tmp_path / key.removeprefix("compiled/tiny/")
        target.parent.mkdir(parents=True, exist_ok=True)
        s3.download_file(BUCKET, key, str(target))
    assert verify(tmp_path).manifest.task == "feature-extraction"


def test_what_the_compile_reported_lies_beside_the_artifact(s3: Any) -> None:
    """Without the job's own path, which says nothing to anybody else."""
    _deliver(CONTENT, f"s3://{BUCKET}/compiled/tiny")

    told = json.loads(s3.get_object(Bucket=BUCKET, Key=f"compiled/tiny{RESULT}")["Body"].read())
    assert told == {"digest": "ab", "path": ""}


def test_a_file_in_s3_is_there_as_long_as_it_is_needed(s3: Any) -> None:
    """Under its own name; a file on this machine is left where it is."""
    s3.put_object(Bucket=BUCKET, Key="models/samples/ab/mine.jsonl", Body=b"a text")

    with brought(f"s3://{BUCKET}/models/samples/ab/mine.jsonl") as file:
        assert file is not None
        assert (file.name, file.read_bytes()) == ("mine.jsonl", b"a text")
    assert not file.exists()
    with brought("here.txt") as same, brought(None) as nothing:
        assert (same, nothing) == (Path("here.txt"), None)


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
    with settled(f"s3://{BUCKET}/compiled/tiny") as places:
        places.out.mkdir()
        write_folder(places.out, CONTENT)
        (places.out / "config.json").write_bytes(b"changed")
        with pytest.raises(ArtifactChanged):
            places.deliver({})

    assert _keys(s3) == []


def test_the_manifest_comes_last(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that ends in the middle leaves no manifest."""
    session, written = boto3.Session(), []
    session.events.register(
        "provide-client-params.s3.PutObject", lambda params, **_: written.append(params["Key"])
    )
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", session)

    _deliver(CONTENT, f"s3://{BUCKET}/compiled/tiny")

    assert len(written) == len(CONTENT) + 3
    assert written[-1] == f"compiled/tiny/{MANIFEST}"


@pytest.mark.parametrize(
    "place", ["s3://", "s3://bucket", "s3://bucket/", "s3://b/x", "s3://bucket//x", "s3://bucket/a/../b"]
)
def test_a_place_that_names_no_folder_is_refused_before_the_compile(place: str) -> None:
    """Nothing was made that would then have nowhere to go."""
    with pytest.raises(NotAPlace), settled(place):
        pass


def test_a_traced_bucket_comes_back_as_it_was_left(s3: Any, tmp_path: Path) -> None:
    """What names its files arrives last, so that half of one is none."""
    shape = parse_shape("1x16")
    place = f"s3://{BUCKET}/compiled/tiny.parts"
    part = {
        "batch": 1,
        "length": 16,
        "seconds": 1.5,
        "coverage": None,
        "result": {
            "inputs": [],
            "outputs": [],
            "weights_sha256": None,
            "built_with": {"torch": "2", "transformers": "4", "tokenizers": "0", "torch_neuron": None}
            | {"neuron_cc": None, "cpu": "x"},
            "generation": None,
            "adopted": None,
        },
        "files": [{"path": "graphs/b1_s16.pt", "size": 5, "sha256": hashlib.sha256(b"graph").hexdigest()}],
    }

    with settled(f"{place}/1x16") as places:
        (places.out / "graphs").mkdir(parents=True)
        (places.out / "graphs/b1_s16.pt").write_bytes(b"graph")
        (places.out / PART).write_bytes(encode(part))
        assert places.deliver_part() == f"{place}/1x16"
    with brought_parts(place, (shape,)) as folder:
        assert folder is not None
        assert (folder / "1x16/graphs/b1_s16.pt").read_bytes() == b"graph"
    s3.delete_object(Bucket=BUCKET, Key="compiled/tiny.parts/1x16/graphs/b1_s16.pt")
    with pytest.raises(PartUnusable, match="1x16"), brought_parts(place, (shape,)):
        pass
    with pytest.raises(PartUnusable, match="2x16"), brought_parts(place, (parse_shape("2x16"),)):
        pass
