"""One small AWS a test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from compile.batch.deployment import Deployment
from tests.compile.batch.world import BUCKET, Cloud


@dataclass(frozen=True)
class World:
    """The account, what the client knows of it, and the lines that it told."""

    cloud: Cloud
    to: Deployment
    s3: Any
    lines: list[str]

    def keys(self, prefix: str = "") -> list[str]:
        rows = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        return [row["Key"] for row in rows]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "testing"),
        ("AWS_SECRET_ACCESS_KEY", "testing"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("MOTO_ACCOUNT_ID", "123456789012"),
        ("XDG_CACHE_HOME", str(tmp_path / "cache")),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket=BUCKET)
        cloud = Cloud()
        yield World(cloud=cloud, to=cloud.deployment(s3, tmp_path / "notes"), s3=s3, lines=[])
