"""Whatever happens between here and S3: a release, or one error with its fix, and a rerun continues."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from artifact.aws import (
    AwsBusy,
    AwsDenied,
    AwsUnreachable,
    BucketMissing,
    BytesDamaged,
    ClockSkewed,
    CredentialsExpired,
    EncryptionKeyUnusable,
    KeyDenied,
    WrongRegion,
)
from artifact.errors import TraceshipError
from artifact.release import blob_key
from artifact.verify import verify
from compile import cut
from compile.publish import BucketForeign, Destination, bucket, find_release, publish
from inference_code.fetch import FetchOptions, fetch
from local_aws.launcher import LocalAws
from tests.kit.fault_proxy import (
    Fault,
    FaultProxy,
    Request,
    cut_answer,
    cut_request,
    damage_answer,
    damage_request,
    lose_answer,
    refuse,
    reset,
    stall,
)
from tests.publish.conftest import client_for, folder_of, large_content

PART = 1024**2
CONTENT = large_content(2, part=PART)


def _quiet(_line: str) -> None:
    """Nobody reads the progress of a test."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "artifact", CONTENT)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between attempts, and small parts: neither says anything that these tests ask."""
    monkeypatch.setattr(cut, "MIN_PART_BYTES", PART)
    monkeypatch.setattr(bucket, "_pause", lambda _attempt: 0.0)
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)


def _put(request: Request) -> bool:
    return request.method == "PUT" and request.part is None and bool(request.key)


def _part(request: Request) -> bool:
    return request.part is not None


def _manifest(request: Request) -> bool:
    return request.method == "PUT" and request.key.endswith("/manifest.json")


def _begin(request: Request) -> bool:
    return request.method == "POST" and "uploads" in request.query


def _complete(request: Request) -> bool:
    return request.method == "POST" and "uploadId" in request.query


def _look(request: Request) -> bool:
    return request.method in {"GET", "HEAD"}


WHERE = {
    "put": _put,
    "part": _part,
    "manifest": _manifest,
    "begin": _begin,
    "complete": _complete,
    "look": _look,
}
PASSING = {
    "slow down": refuse(503, "SlowDown"),
    "internal error": refuse(500, "InternalError"),
    "reset": reset,
    "stall": stall,
    "lost answer": lose_answer,
    "cut answer": cut_answer,
    "cut request": cut_request,
    "conflict": refuse(409, "ConditionalRequestConflict"),
}


def _is_whole(aws: LocalAws, to: Destination, root: Path) -> bool:
    """Whether the release is there, by its reader's own rules, and nothing is left unfinished."""
    s3 = aws.client("s3")
    for file in verify(root).manifest.files:
        stored = s3.get_object(Bucket=to.bucket, Key=blob_key(file.sha256))["Body"].read()
        assert hashlib.sha256(stored).hexdigest() == file.sha256
    archives = s3.list_objects_v2(Bucket=to.bucket, Prefix="releases/")["Contents"]
    size = next(entry["Size"] for entry in archives if entry["Key"].endswith("model.tar.gz"))
    return find_release(verify(root), to, s3, archive_bytes=size) is not None


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("what", PASSING)
def test_what_passes_by_itself_is_repeated(
    aws: LocalAws, proxy: FaultProxy, to: Destination, root: Path, what: str, where: str
) -> None:
    """One of each kind of request is spoilt in each way: the release is there at the end of one run."""
    s3 = client_for(proxy.endpoint, read_timeout=1 if PASSING[what] is stall else 30)
    proxy.spoil(WHERE[where], PASSING[what])

    publish(root, to, s3, report=_quiet)

    assert proxy.spoilt == 1
    assert _is_whole(aws, to, root)


@pytest.mark.parametrize("where", ["put", "part", "manifest"])
def test_bytes_damaged_on_their_way_are_refused_and_sent_again(
    aws: LocalAws, proxy: FaultProxy, s3: Any, to: Destination, root: Path, where: str
) -> None:
    """S3 compares what arrives with the checksum; nothing wrong is stored."""
    proxy.spoil(WHERE[where], damage_request, times=2)

    publish(root, to, s3, report=_quiet)

    assert proxy.spoilt == 2
    assert _is_whole(aws, to, root)


def test_a_path_that_damages_every_body_is_one_error_and_no_release(
    aws: LocalAws, proxy: FaultProxy, s3: Any, to: Destination, root: Path
) -> None:
    """After the last attempt it is said; what arrived whole stays for the rerun."""
    proxy.spoil(lambda r: _put(r) or _part(r), damage_request, times=999)
    with pytest.raises(BytesDamaged, match="BadDigest"):
        publish(root, to, s3, report=_quiet)

    assert "Contents" not in aws.client("s3").list_objects_v2(Bucket=to.bucket)


@pytest.mark.parametrize("what", [damage_answer, cut_answer])
@pytest.mark.parametrize(
    "where",
    [
        lambda r: r.query.get("list-type") == "2",
        lambda r: "uploads" in r.query and r.method == "GET",
        lambda r: r.method == "GET" and r.key.endswith("manifest.json"),
    ],
    ids=["listing", "unfinished uploads", "manifest"],
)
def test_an_answer_that_cannot_be_read_is_asked_for_again(
    aws: LocalAws, proxy: FaultProxy, s3: Any, to: Destination, root: Path, where: Any, what: Fault
) -> None:
    """botocore lets an unreadable answer through as an error of its own."""
    publish(root, to, client_for(aws.endpoint), report=_quiet)
    s3.delete_object(Bucket=to.bucket, Key=_weights())
    proxy.spoil(where, what)

    publish(root, to, s3, report=_quiet)

    assert proxy.spoilt == 1
    assert _is_whole(aws, to, root)


def _weights() -> str:
    return blob_key(hashlib.sha256(CONTENT["weights.safetensors"]).hexdigest())


HOPELESS: dict[str, tuple[Callable[[Request], bool], Fault, type[TraceshipError], int, str]] = {
    "expired credentials": (_part, refuse(400, "ExpiredToken"), CredentialsExpired, 4, "aws sso login"),
    "clock skew": (_put, refuse(403, "RequestTimeTooSkewed"), ClockSkewed, 1, "timedatectl"),
    "denied": (_put, refuse(403, "AccessDenied"), AwsDenied, 4, "docs/permissions.md"),
    "key denied": (
        _put,
        refuse(403, "AccessDenied", "not authorized to perform: kms:GenerateDataKey on resource"),
        KeyDenied,
        4,
        "kms:GenerateDataKey",
    ),
    "key missing": (
        _begin,
        refuse(400, "KMS.NotFoundException"),
        EncryptionKeyUnusable,
        1,
        "deploy --foundation",
    ),
    "wrong region": (
        _put,
        refuse(400, "AuthorizationHeaderMalformed", extra="<Region>eu-west-1</Region>"),
        WrongRegion,
        2,
        "eu-west-1",
    ),
    "bucket gone": (_put, refuse(404, "NoSuchBucket"), BucketMissing, 5, "deploy --foundation"),
    "too busy": (_put, refuse(503, "SlowDown"), AwsBusy, 1, "wait a minute"),
    "resets": (_part, reset, AwsUnreachable, 1, "traceship local up"),
    "stalls": (_complete, stall, AwsUnreachable, 1, "traceship local up"),
}


@pytest.mark.parametrize("name", HOPELESS)
def test_what_does_not_pass_is_one_error_with_its_fix_and_a_rerun_continues(
    monkeypatch: pytest.MonkeyPatch, aws: LocalAws, proxy: FaultProxy, to: Destination, root: Path, name: str
) -> None:
    """No release is made, what arrived stays, and once the cause is gone the same command finishes."""
    where, fault, expected, code, fix = HOPELESS[name]
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    s3 = client_for(proxy.endpoint, read_timeout=0.5 if fault is stall else 30)
    proxy.spoil(where, fault, times=999)
    with pytest.raises(TraceshipError) as failed:
        publish(root, to, s3, report=_quiet)

    assert type(failed.value) is expected
    assert failed.value.exit_code == code
    assert fix in failed.value.fix
    assert not any("\n" in words for words in (failed.value.what, failed.value.why, failed.value.fix))
    keys = [e["Key"] for e in aws.client("s3").list_objects_v2(Bucket=to.bucket).get("Contents", [])]
    assert not any(key.endswith("manifest.json") for key in keys)
    proxy.heal()
    publish(root, to, client_for(proxy.endpoint), report=_quiet)
    assert _is_whole(aws, to, root)
    assert not {r.key for r in proxy.seen if _put(r)} & {key for key in keys if key.startswith("blobs/")}


def test_a_bucket_of_somebody_else_gets_nothing(
    aws: LocalAws, proxy: FaultProxy, s3: Any, to: Destination, root: Path
) -> None:
    """The account that must own it goes with the very first request."""
    with pytest.raises(BucketForeign, match="somebody else") as refused:
        publish(root, replace(to, account="999999999999"), s3, report=_quiet)

    assert refused.value.exit_code == 5
    assert [r for r in proxy.seen if r.method not in {"HEAD", "GET"}] == []
    assert "Contents" not in aws.client("s3").list_objects_v2(Bucket=to.bucket)


def test_a_bucket_in_another_region_is_named(proxy: FaultProxy, s3: Any, to: Destination, root: Path) -> None:
    """S3 tells where the bucket is; the lock must not say otherwise."""
    with pytest.raises(WrongRegion, match="us-east-1") as refused:
        publish(root, replace(to, region="eu-west-1"), s3, report=_quiet)

    assert "us-east-1" in refused.value.fix


@pytest.mark.parametrize("seed", range(4))
def test_a_third_of_all_requests_spoilt_is_a_release_or_an_error_and_never_half_of_one(
    aws: LocalAws, proxy: FaultProxy, s3: Any, to: Destination, root: Path, seed: int
) -> None:
    """Any fault anywhere, by a seed that the test's name shows; the command is run until it succeeds."""
    chance = random.Random(seed)
    faults = [*(f for name, f in PASSING.items() if name != "stall"), damage_request, damage_answer]

    async def any_of_them(exchange: Any) -> None:
        fault = chance.choice(faults)
        if fault in {damage_request, damage_answer} and not exchange.request.body:
            fault = reset
        await fault(exchange)

    proxy.spoil(lambda _r: chance.random() < 0.3, any_of_them, times=10**6)
    for _ in range(20):
        try:
            publish(root, to, s3, report=_quiet)
        except TraceshipError:
            continue
        break
    else:
        pytest.fail("twenty runs and no release")

    assert proxy.spoilt > 0
    assert _is_whole(aws, to, root)


def test_a_download_that_is_damaged_on_its_way_is_asked_for_again(
    aws: LocalAws, proxy: FaultProxy, s3: Any, to: Destination, root: Path, tmp_path: Path
) -> None:
    """The reader's side: what S3 has is right, so the next attempt is."""
    published = publish(root, to, client_for(aws.endpoint), report=_quiet)
    golden = blob_key(hashlib.sha256(CONTENT["golden.json"]).hexdigest())
    proxy.spoil(lambda r: r.method == "GET" and r.key == golden, damage_answer)
    options = FetchOptions(
        bucket=to.bucket,
        prefix=published.prefix,
        digest=published.digest,
        to=tmp_path / "got",
        owner=to.account,
    )

    fetched = fetch(options, s3)

    assert proxy.spoilt == 1
    assert (fetched.root / "golden.json").read_bytes() == CONTENT["golden.json"]
