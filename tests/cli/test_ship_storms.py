"""``traceship ship``, as the command, in bad weather: a release, or one error with its fix and a rerun that
continues.

A selection runs always. All of it, which takes minutes, because clients wait for answers that never
come: ``TRACESHIP_STORMS=all python -m pytest tests/cli/test_ship_storms.py``. What ``publish`` does in
each kind of weather is in ``tests/publish/test_storms.py``; here it is seen that nothing of the command
stands in its way.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from artifact.canonical import decode
from artifact.release import ReleaseLock, blob_key, manifest_key
from artifact.verify import verify
from cli.journal import Journal
from compile.publish import Destination, find_release
from infra.names import artifacts_bucket
from local_aws import launcher, names
from local_aws.launcher import LocalAws
from tests.cli.shipyard import SPEED, empty
from tests.kit.command import CHECKOUT, Answer, clean_environment
from tests.kit.fault_proxy import (
    Fault,
    FaultProxy,
    Request,
    cut_answer,
    cut_request,
    damage_answer,
    damage_request,
    fault_proxy,
    lose_answer,
    refuse,
    reset,
    stall,
)
from tests.kit.folders import write_folder
from tests.publish.conftest import large_content

NAME = "storms"
ALL = os.environ.get("TRACESHIP_STORMS") == "all"
ALWAYS = 10**6
Fits = Callable[[Request], bool]


def _put(request: Request) -> bool:
    return request.method == "PUT" and request.part is None and bool(request.key)


def _part(request: Request) -> bool:
    return request.part is not None


def _second_part(request: Request) -> bool:
    return request.part == 2


def _complete(request: Request) -> bool:
    return request.method == "POST" and "uploadId" in request.query


def _manifest(request: Request) -> bool:
    return request.method == "PUT" and request.key.endswith("/manifest.json")


def _listing(request: Request) -> bool:
    return request.query.get("list-type") == "2"


def _owned(request: Request) -> bool:
    return request.method == "HEAD" and "x-amz-expected-bucket-owner" in request.headers


@dataclass(frozen=True)
class Storm:
    """What goes wrong, and how the command must end.

    Args:
        faults: which requests are spoilt, how, and how many of them.
        limits: of the process.
        error: id, exit code and a word of the fix; None: the ship succeeds in spite of it.
        selected: it is quick, and runs always.
    """

    faults: Sequence[tuple[Fits, Fault, int]] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[int, int] = field(default_factory=dict)
    error: tuple[str, int, str] | None = None
    selected: bool = False


KMS = "not authorized to perform: kms:GenerateDataKey on resource"
STORMS = {
    "a bit of everything": Storm(
        faults=[
            (_put, refuse(503, "SlowDown"), 2),
            (_part, damage_request, 1),
            (_part, cut_request, 1),
            (_complete, reset, 1),
            (_listing, cut_answer, 1),
            (_manifest, lose_answer, 1),
        ],
        selected=True,
    ),
    "credentials expire in mid-upload": Storm(
        faults=[(_second_part, refuse(400, "ExpiredToken"), ALWAYS)],
        error=("credentials-expired", 4, "aws sso login"),
        selected=True,
    ),
    "a denied key": Storm(
        faults=[(_put, refuse(403, "AccessDenied", KMS), ALWAYS)],
        error=("key-denied", 4, "kms:GenerateDataKey"),
        selected=True,
    ),
    "somebody else's bucket": Storm(
        faults=[(_owned, refuse(403, "AccessDenied"), ALWAYS)],
        error=("bucket-foreign", 5, "project.account"),
        selected=True,
    ),
    "a full disk": Storm(
        limits={resource.RLIMIT_FSIZE: 1_000_000}, error=("no-room", 1, "same command"), selected=True
    ),
    "a home that cannot be written, and few open files": Storm(
        environment={"HOME": "/proc"}, limits={resource.RLIMIT_NOFILE: 32}, selected=True
    ),
    "too few open files": Storm(
        limits={resource.RLIMIT_NOFILE: 8}, error=("too-few-descriptors", 1, "ulimit -n"), selected=True
    ),
    "a wrong region": Storm(
        faults=[
            (_put, refuse(400, "AuthorizationHeaderMalformed", extra="<Region>eu-west-1</Region>"), ALWAYS)
        ],
        error=("wrong-region", 2, "eu-west-1"),
    ),
    "a wrong clock": Storm(
        faults=[(_put, refuse(403, "RequestTimeTooSkewed"), ALWAYS)], error=("clock-skewed", 1, "timedatectl")
    ),
    "no rest": Storm(
        faults=[(_put, refuse(503, "SlowDown"), ALWAYS)], error=("aws-busy", 1, "wait a minute")
    ),
    "resets for ever": Storm(
        faults=[(_part, reset, ALWAYS)], error=("aws-unreachable", 1, "traceship local up")
    ),
    "damage for ever": Storm(
        faults=[(_part, damage_request, ALWAYS)], error=("bytes-damaged", 1, "faulty proxy")
    ),
    "answers that cannot be read": Storm(faults=[(_listing, damage_answer, 1), (_complete, cut_answer, 1)]),
    "a stall": Storm(faults=[(_part, stall, 1)]),
    "a stall for ever": Storm(
        faults=[(_complete, stall, ALWAYS)], error=("aws-unreachable", 1, "traceship local up")
    ),
}


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    running = launcher.up(tmp_path_factory.mktemp("aws"))
    try:
        kms = running.client("kms")
        kms.create_alias(AliasName=f"alias/{NAME}", TargetKeyId=kms.create_key()["KeyMetadata"]["KeyId"])
        yield running
    finally:
        launcher.down(running.state)


@pytest.fixture(scope="module")
def proxy(aws: LocalAws) -> Iterator[FaultProxy]:
    with fault_proxy(aws.port) as running:
        yield running


@dataclass(frozen=True)
class Project:
    """A project with a finished artifact, one file of which is sent in parts."""

    root: Path
    to: Destination
    aws: LocalAws
    proxy: FaultProxy

    @property
    def made(self) -> Path:
        return self.root / "made"

    def ship(self, storm: Storm) -> Answer:
        """The command in a process of its own."""

        def limit() -> None:
            for number, value in storm.limits.items():
                resource.setrlimit(number, (value, value))

        told = self.aws.environment() | {"AWS_ENDPOINT_URL": self.proxy.endpoint, **storm.environment}
        done = subprocess.run(
            [sys.executable, "-m", "cli", "ship", "--artifact", "made", "--json"],
            cwd=self.root,
            env=clean_environment({**told, "PYTHONPATH": str(CHECKOUT)}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=limit,
            timeout=1200,
        )
        return Answer(code=done.returncode, stdout=done.stdout, stderr=done.stderr)

    def stored(self) -> set[str]:
        """Every key of the bucket."""
        found = self.aws.client("s3").list_objects_v2(Bucket=self.to.bucket).get("Contents", [])
        return {entry["Key"] for entry in found}

    def leftovers(self) -> list[Path]:
        state = self.root / ".traceship"
        return [*state.rglob("*.partial"), *state.rglob(".*.partial"), *self.root.glob("*.partial")]


@pytest.fixture
def project(aws: LocalAws, proxy: FaultProxy, tmp_path: Path) -> Iterator[Project]:
    """Its speed is known, as after an earlier ship: the artifact of this test holds no graph to measure."""
    s3, bucket = aws.client("s3"), artifacts_bucket(NAME, names.ACCOUNT, names.REGION)
    if bucket not in {found["Name"] for found in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket=bucket)
    empty(s3, bucket)
    digest = write_folder(tmp_path / "made", large_content(3))
    text = f'[project]\nname = "{NAME}"\n[model]\nsource = "x"\n[compile]\nbuckets = ["1x32"]\n'
    (tmp_path / "traceship.toml").write_text(text)
    throughput = {"per_second": SPEED.throughput.per_second, "measured": True, "source": "a test"}
    outcome = {"throughput": throughput, "load_seconds": SPEED.load_seconds}
    Journal(tmp_path / ".traceship").record("measure", digest, outcome)
    to = Destination(account=names.ACCOUNT, region=names.REGION, bucket=bucket, name=NAME)
    proxy.heal()
    yield Project(root=tmp_path, to=to, aws=aws, proxy=proxy)
    proxy.heal()


def _is_released(project: Project) -> None:
    """By the reader's own rules, with a lock that names it, and with nothing half-written left."""
    artifact = verify(project.made)
    lock = decode((project.root / "release.lock.json").read_bytes(), ReleaseLock)
    size, s3 = lock.artifact.archive_bytes, project.aws.client("s3")
    assert lock.digest == artifact.digest
    assert find_release(artifact, project.to, s3, archive_bytes=size) is not None
    assert s3.list_multipart_uploads(Bucket=project.to.bucket).get("Uploads", []) == []
    assert project.leftovers() == []


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", [name for name, storm in STORMS.items() if storm.selected or ALL])
def test_a_ship_in_a_storm_is_a_release_or_one_error_and_a_rerun_continues(
    project: Project, name: str
) -> None:
    """What had arrived is not sent again; nothing wrong is stored, and no lock names what is not there."""
    storm = STORMS[name]
    for fits, fault, times in storm.faults:
        project.proxy.spoil(fits, fault, times=times)

    answer = project.ship(storm)

    spoilt = sum(times for _, _, times in storm.faults if times != ALWAYS)
    assert project.proxy.spoilt >= spoilt
    if storm.error is None:
        assert answer.code == 0, answer.stderr
        _is_released(project)
        return
    identity, code, word = storm.error
    assert (answer.code, answer.stdout) == (code, ""), answer.stderr
    assert answer.error["id"] == identity
    assert word in answer.error["fix"]
    assert not any("\n" in words for words in answer.error.values())
    assert "Traceback" not in answer.stderr
    assert manifest_key(NAME, verify(project.made).digest) not in project.stored()
    assert not (project.root / "release.lock.json").exists()
    assert project.leftovers() == []
    arrived = {key for key in project.stored() if key.startswith("blobs/")}
    project.proxy.heal()

    again = project.ship(Storm())

    assert again.code == 0, again.stderr
    assert not {request.key for request in project.proxy.seen if _put(request)} & arrived
    _is_released(project)
    assert json.loads(again.stdout)["unchanged"] is False


def test_a_part_that_arrived_before_the_credentials_expired_is_not_sent_again(project: Project) -> None:
    """By the command, in two processes: the second asks S3 what the first one sent."""
    project.proxy.spoil(lambda r: r.part == 3, refuse(400, "ExpiredToken"), times=ALWAYS)
    project.ship(Storm())
    weights = next(f.sha256 for f in verify(project.made).manifest.files if f.path == "weights.safetensors")
    key = blob_key(weights)
    (upload,) = project.aws.client("s3").list_multipart_uploads(Bucket=project.to.bucket, Prefix=key)[
        "Uploads"
    ]
    found: Any = project.aws.client("s3").list_parts(
        Bucket=project.to.bucket, Key=key, UploadId=upload["UploadId"]
    )
    arrived = {part["PartNumber"] for part in found.get("Parts", [])}
    project.proxy.heal()

    assert project.ship(Storm()).code == 0

    sent = {request.part for request in project.proxy.seen if request.part and request.key == key}
    assert sent == {1, 2, 3} - arrived
    _is_released(project)
