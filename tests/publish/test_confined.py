"""Machines with little: 32 file descriptors, a home that cannot be written, no room for the archive."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from artifact.aws import translated
from artifact.descriptors import TooFewDescriptors
from compile.publish import Destination
from compile.publish.pool import workers_for
from local_aws.launcher import LocalAws
from tests.kit.command import CHECKOUT
from tests.publish.conftest import client_for, folder_of, large_content

CONTENT = {**large_content(2), **{f"tokenizer/{n:03}.txt": bytes([n]) * 999 for n in range(60)}}
CHILD = """
import json, resource, sys
from pathlib import Path
limits, root, to = json.loads(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
import boto3
from artifact.aws import client_config
from artifact.errors import TraceshipError
from compile.publish import Destination, publish
s3 = boto3.client("s3", config=client_config(local=True))
for name, value in limits.items():
    number = getattr(resource, name)
    resource.setrlimit(number, (value, resource.getrlimit(number)[1]))
try:
    published = publish(root, Destination(**to), s3, report=lambda _: None)
    print(json.dumps({"digest": published.digest}))
except TraceshipError as error:
    print(json.dumps({"id": error.id, "fix": error.fix, "what": error.what}))
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "artifact", CONTENT)


def _publish(
    aws: LocalAws, root: Path, to: Destination, limits: dict[str, int], **environment: str
) -> dict[str, Any]:
    """Publish in a process of its own that lives under ``limits``."""
    here = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(limits), str(root), json.dumps(vars(to))],
        env={**here, **aws.environment(), "PYTHONPATH": str(CHECKOUT), **environment},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_thirty_two_file_descriptors_are_enough(aws: LocalAws, root: Path, to: Destination) -> None:
    """Fewer threads are used, and the release is made."""
    assert "digest" in _publish(aws, root, to, {"RLIMIT_NOFILE": 32})


def test_too_few_descriptors_are_named(aws: LocalAws, to: Destination) -> None:
    """An error about the network would send people to the wrong place."""
    s3 = client_for(aws.endpoint)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        with pytest.raises(TooFewDescriptors) as refused, translated("publish"):
            s3.head_bucket(Bucket=to.bucket)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    assert "ulimit -n" in refused.value.fix
    assert workers_for(0) == 1


def test_a_home_that_cannot_be_written_changes_nothing(aws: LocalAws, root: Path, to: Destination) -> None:
    """Nothing of an upload is kept on this machine."""
    assert "digest" in _publish(aws, root, to, {}, HOME="/proc")


def test_no_room_for_the_archive_is_one_error_and_the_rest_is_not_sent_again(
    aws: LocalAws, root: Path, to: Destination, tmp_path: Path
) -> None:
    """The folder for temporary files is named, and another one continues."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    found = _publish(aws, root, to, {"RLIMIT_FSIZE": 1_000_000}, TMPDIR=str(scratch))
    assert found["id"] == "scratch-unusable"
    assert str(scratch) in found["what"]
    assert "TMPDIR" in found["fix"]
    assert list(scratch.iterdir()) == []
    sent = _objects(aws, to)
    assert not any(key.startswith("releases/") for key in sent)

    assert "digest" in _publish(aws, root, to, {})

    after = _objects(aws, to)
    assert {key: after[key] for key in sent} == sent


def _objects(aws: LocalAws, to: Destination) -> dict[str, Any]:
    """Keys and the times at which they were written."""
    listed = aws.client("s3").list_objects_v2(Bucket=to.bucket).get("Contents", [])
    return {entry["Key"]: entry["LastModified"] for entry in listed}
