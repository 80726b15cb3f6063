"""Entries in S3: another machine compiles nothing, and S3's troubles stop nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError, ResponseStreamingError
from moto import mock_aws

from artifact.verify import verify
from compile.cache.local import LocalCache
from compile.cache.shared import SharedCache
from compile.cache.through import Caches, compile_through
from compile.places import NotAPlace
from compile.request import CompiledArtifact
from tests.compile.cache.world import HERE, Compiler, World

PLACE = "s3://cache-of-a-test/compiled"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="cache-of-a-test")
        yield client


class Machine:
    """One machine of a team: its own disk, the same bucket."""

    def __init__(self, world: World, name: str, s3: Any) -> None:
        self.world, self.name = world, name
        self.local = LocalCache(world.base / f"cache-of-{name}")
        self.shared = SharedCache(PLACE, s3)
        self.compiler = Compiler()
        self.said: list[str] = []

    def compile(self) -> CompiledArtifact:
        request = self.world.request(f"out-of-{self.name}")
        caches = Caches(self.local, self.shared)
        return compile_through(caches, request, HERE, self.compiler, report=self.said.append)


class Wrapped:
    """An S3 client that notes what is put, and fails where it is told to."""

    def __init__(self, s3: Any, fail: dict[str, Exception] | None = None) -> None:
        self._s3, self._fail = s3, fail or {}
        self.put: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def call(**request: Any) -> Any:
            if name in self._fail:
                raise self._fail[name]
            if name == "put_object":
                self.put.append(request["Key"])
            return getattr(self._s3, name)(**request)

        return call


def _keys(s3: Any) -> list[str]:
    return sorted(o["Key"] for o in s3.list_objects_v2(Bucket="cache-of-a-test").get("Contents", []))


def test_what_one_machine_compiled_another_takes(world: World, s3: Any) -> None:
    """It is then on that machine's disk too, and S3 is not asked again."""
    first, second = Machine(world, "first", s3), Machine(world, "second", s3)
    made = first.compile()

    taken = second.compile()

    assert (taken.cached, taken.digest, second.compiler.runs) == (True, made.digest, [])
    assert taken.parity == made.parity
    verify(taken.path, digest=made.digest)
    assert any(line.startswith("brought") for line in second.said)
    second.shared = SharedCache(PLACE, Wrapped(s3, {"head_object": AssertionError("asked again")}))
    assert second.compile().cached


def test_the_result_is_the_last_object_written(world: World, s3: Any) -> None:
    """Whoever sees it can read everything else."""
    wrapped = Wrapped(s3)

    Machine(world, "first", wrapped).compile()

    assert wrapped.put[-1].endswith("/result.json")
    assert sorted(wrapped.put) == _keys(s3)
    assert all(key.startswith("compiled/") for key in wrapped.put)


@pytest.mark.parametrize(
    "name",
    [
        "key.json",
        "artifact/manifest.json",
        "artifact/manifest.sha256",
        "artifact/weights.safetensors",
        "result.json",
    ],
)
@pytest.mark.parametrize("damage", ["changed", "removed"])
def test_a_damaged_entry_is_not_used_and_is_replaced(world: World, s3: Any, name: str, damage: str) -> None:
    """Said, compiled again, whole afterwards; without its result there is no entry at all."""
    Machine(world, "first", s3).compile()
    (key,) = [key for key in _keys(s3) if key.endswith(f"/{name}")]
    whole = s3.get_object(Bucket="cache-of-a-test", Key=key)["Body"].read()
    if damage == "removed":
        s3.delete_object(Bucket="cache-of-a-test", Key=key)
    else:
        s3.put_object(Bucket="cache-of-a-test", Key=key, Body=whole[:-3] + b"???")
    second, third = Machine(world, "second", s3), Machine(world, "third", s3)

    assert not second.compile().cached
    assert any("damaged" in line for line in second.said) or (name, damage) == ("result.json", "removed")
    assert third.compile().cached


def _refused(operation: str) -> ClientError:
    answer: Any = {
        "Error": {"Code": "AccessDenied", "Message": "no"},
        "ResponseMetadata": {"HTTPStatusCode": 403},
    }
    return ClientError(answer, operation)


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        ("head_object", _refused("HeadObject")),
        ("head_object", ReadTimeoutError(endpoint_url="http://s3")),
        ("get_object", ResponseStreamingError(error="broke off")),
        ("put_object", _refused("PutObject")),
    ],
)
def test_troubles_with_s3_cost_time_and_no_compile(
    world: World, s3: Any, operation: str, error: Exception
) -> None:
    """Each is said with S3's own reason; the artifact is compiled and kept on this machine."""
    if operation == "get_object":
        Machine(world, "first", s3).compile()
    machine = Machine(world, "second", Wrapped(s3, {operation: error}))

    compiled = machine.compile()

    verify(compiled.path)
    assert len(machine.compiler.runs) == 1
    assert any("going on without" in line for line in machine.said)
    assert machine.compile().cached


@pytest.mark.parametrize("place", ["bucket/prefix", "s3://bucket", "s3://bucket/../x", ""])
def test_a_place_that_is_none_is_refused(place: str, tmp_path: Path) -> None:
    """Before anything is compiled."""
    with pytest.raises(NotAPlace):
        SharedCache(place, None)
