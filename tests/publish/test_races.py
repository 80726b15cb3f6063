"""Several publishers at once: one release, one who made it, and never a reader who meets half of it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from artifact.release import blob_key, manifest_key, release_prefix
from artifact.verify import verify
from compile import cut
from compile.publish import Destination, NameReserved, ReleaseTaken, find_release, publish
from compile.publish.errors import ReleaseVanished, UploadVanished
from inference_code.fetch import FetchOptions, ReleaseMissing, fetch
from local_aws.launcher import LocalAws
from tests.kit.fault_proxy import Exchange, Fault, FaultProxy, lose_answer, refuse, reset
from tests.publish.conftest import PUBLISHER, client_for, folder_of, large_content

PART = 1024**2
CONTENT = large_content(3, part=PART)
SIGNATURE = "manifest.dsse.json"


def _quiet(_line: str) -> None:
    """Nobody reads the progress of a test."""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cut, "MIN_PART_BYTES", PART)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "artifact", CONTENT)


def _arn(number: int) -> str:
    return f"arn:aws:iam::000000000000:user/publisher-{number}"


def test_of_many_publishers_one_makes_the_release_and_the_others_are_told_who(
    aws: LocalAws, to: Destination, root: Path
) -> None:
    """All at the same instant, three times over: all end in the same release."""
    for race in range(3):
        name = replace(to, name=f"race-{race}")
        start = threading.Barrier(4)

        def run(number: int, to: Destination = name, start: threading.Barrier = start) -> Any:
            start.wait()
            return publish(root, replace(to, publisher=_arn(number)), client_for(aws.endpoint), report=_quiet)

        with ThreadPoolExecutor(4) as threads:
            results = list(threads.map(run, range(4)))

        winners = [number for number, result in enumerate(results) if result.before_us is None]
        assert len(winners) == 1
        told = {result.before_us.arn for result in results if result.before_us is not None}
        assert told == {_arn(winners[0])}
        assert len({result.digest for result in results}) == 1


def test_a_reader_that_polls_all_the_time_never_gets_a_release_that_does_not_verify(
    aws: LocalAws, proxy: FaultProxy, to: Destination, root: Path, tmp_path: Path
) -> None:
    """Publishers die at every request in turn; either there is no release, or all of it is right."""
    digest = verify(root).digest
    options = FetchOptions(
        bucket=to.bucket,
        prefix=release_prefix(to.name, digest),
        digest=digest,
        to=tmp_path / "got",
        owner=to.account,
    )
    stop, seen = threading.Event(), {"missing": 0, "whole": 0}

    def poll(number: int) -> None:
        client = client_for(aws.endpoint)
        while not stop.is_set():
            try:
                fetch(replace(options, to=tmp_path / f"got-{number}-{seen['whole']}"), client)
                seen["whole"] += 1
            except ReleaseMissing:
                seen["missing"] += 1

    with ThreadPoolExecutor(1) as threads:
        reader = threads.submit(poll, 0)
        while seen["missing"] == 0 and not reader.done():
            stop.wait(0.01)
        for dies_at in range(1, 40, 3):
            proxy.heal()
            proxy.spoil(lambda _r, at=dies_at: len(proxy.seen) >= at, reset, times=10**6)  # type: ignore[misc]
            try:
                publish(
                    root, to, client_for(proxy.endpoint, retries={"total_max_attempts": 1}), report=_quiet
                )
            except Exception:
                continue
            break
        proxy.heal()
        publish(root, to, client_for(proxy.endpoint), report=_quiet)
        while seen["whole"] == 0 and not reader.done():
            stop.wait(0.01)
        stop.set()
        reader.result()

    assert seen["missing"] > 0
    assert seen["whole"] > 0


def _and_then(remove: Callable[[], object]) -> Fault:
    """Passes the request on, and does something before its answer arrives."""

    async def fault(exchange: Exchange) -> None:
        answer = await exchange.forward()
        remove()
        await exchange.answer(answer)

    return fault


@pytest.mark.parametrize("at", ["look", "put"])
def test_a_release_that_is_removed_while_it_is_published_again_is_published_again(
    aws: LocalAws, proxy: FaultProxy, to: Destination, root: Path, at: str
) -> None:
    """By a `gc` elsewhere: found at the beginning and gone at the end, or in our way and then gone."""
    own, key = aws.client("s3"), manifest_key(to.name, verify(root).digest)
    golden = blob_key(hashlib.sha256(CONTENT["golden.json"]).hexdigest())
    publish(root, to, client_for(aws.endpoint), report=_quiet)
    manifest = own.get_object(Bucket=to.bucket, Key=key)

    def remove() -> None:
        own.delete_object(Bucket=to.bucket, Key=key)
        own.delete_object(Bucket=to.bucket, Key=golden)

    def put_back() -> None:
        own.put_object(Bucket=to.bucket, Key=key, Body=manifest["Body"].read(), Metadata=manifest["Metadata"])

    if at == "look":
        proxy.spoil(lambda r: r.method == "HEAD" and r.key.endswith("model.tar.gz"), _and_then(remove))
    else:
        own.delete_object(Bucket=to.bucket, Key=key)
        proxy.spoil(lambda r: r.method == "HEAD" and r.key.endswith("model.tar.gz"), _and_then(put_back))
        proxy.spoil(lambda r: r.method == "PUT" and r.key == key, _and_then(remove))
    published = publish(root, to, client_for(proxy.endpoint), report=_quiet)

    assert published.before_us is None
    assert own.head_object(Bucket=to.bucket, Key=golden)["ContentLength"] == len(CONTENT["golden.json"])
    found = find_release(verify(root), to, own, archive_bytes=published.archive_bytes)
    assert found is not None


def test_a_release_that_is_removed_each_time_is_told(
    aws: LocalAws, proxy: FaultProxy, to: Destination, root: Path
) -> None:
    """Not published for ever, and never called published where it is not."""
    own, key = aws.client("s3"), manifest_key(to.name, verify(root).digest)
    data = (root / "manifest.json").read_bytes()

    def remove() -> None:
        own.delete_object(Bucket=to.bucket, Key=key)

    def put_back() -> None:
        own.put_object(Bucket=to.bucket, Key=key, Body=data)

    archive = "model.tar.gz"
    proxy.spoil(
        lambda r: r.method in {"HEAD", "PUT"} and r.key.endswith(archive), _and_then(put_back), times=9
    )
    proxy.spoil(lambda r: r.method == "PUT" and r.key == key, _and_then(remove), times=9)
    with pytest.raises(ReleaseVanished) as refused:
        publish(root, to, client_for(proxy.endpoint), report=_quiet)

    assert refused.value.exit_code == 1
    assert "run the command again" in refused.value.fix


@pytest.mark.parametrize("lost", [1, 2], ids=["one answer", "every answer"])
def test_a_lost_acknowledgement_of_the_manifest_is_our_own_success(
    proxy: FaultProxy, to: Destination, root: Path, lost: int
) -> None:
    """It arrived and nobody said so: what lies there bears our run's number, so nobody was before us."""
    proxy.spoil(lambda r: r.method == "PUT" and r.key.endswith("/manifest.json"), lose_answer, times=lost)

    published = publish(root, to, client_for(proxy.endpoint), report=_quiet)

    assert proxy.spoilt == lost
    assert published.before_us is None
    assert published.uploaded_bytes > 0


def test_whoever_comes_second_is_told_who_was_first(aws: LocalAws, to: Destination, root: Path) -> None:
    """With the same bytes that is no error: the release is the same."""
    publish(root, to, client_for(aws.endpoint), report=_quiet)
    lines: list[str] = []

    second = publish(root, replace(to, publisher=_arn(2)), client_for(aws.endpoint), report=lines.append)

    assert second.before_us is not None
    assert second.before_us.arn == PUBLISHER
    assert PUBLISHER in lines[-1]


def test_another_manifest_in_our_place_names_who_wrote_it(aws: LocalAws, to: Destination, root: Path) -> None:
    """The conflict tells what S3 tells: size, time, entity tag, and the writer's own words."""
    key, own = manifest_key(to.name, verify(root).digest), aws.client("s3")
    own.put_object(Bucket=to.bucket, Key=key, Body=b"{}", Metadata={"publisher": _arn(9)})

    with pytest.raises(ReleaseTaken, match="publisher-9") as refused:
        publish(root, to, client_for(aws.endpoint), report=_quiet)

    assert refused.value.exit_code == 5
    assert own.head_object(Bucket=to.bucket, Key=key)["ETag"] in refused.value.what
    assert own.get_object(Bucket=to.bucket, Key=key)["Body"].read() == b"{}"
    assert "Contents" not in own.list_objects_v2(Bucket=to.bucket, Prefix="blobs/")


def test_what_lies_beside_the_manifest_is_there_before_it(
    proxy: FaultProxy, to: Destination, root: Path
) -> None:
    """Whoever sees the release can read its signature."""
    publish(root, to, client_for(proxy.endpoint), report=_quiet, beside={SIGNATURE: b"signed"})

    put = [
        r.key.rpartition("/")[2] for r in proxy.seen if r.method == "PUT" and r.key.startswith("releases/")
    ]
    assert put[-2:] == [SIGNATURE, "manifest.json"]


def test_a_new_signature_takes_the_old_ones_place_beside_a_release(
    aws: LocalAws, to: Destination, root: Path
) -> None:
    """Its key may have been changed; a publisher who has none takes none away."""
    s3 = client_for(aws.endpoint)
    made = publish(root, to, s3, report=_quiet, beside={SIGNATURE: b"first"})

    publish(root, to, s3, report=_quiet, beside={SIGNATURE: b"second", "provenance.json": b"more"})
    publish(root, to, s3, report=_quiet)

    def stored(name: str) -> bytes:
        body: bytes = s3.get_object(Bucket=to.bucket, Key=f"{made.prefix}/{name}")["Body"].read()
        return body

    assert (stored(SIGNATURE), stored("provenance.json")) == (b"second", b"more")


def test_what_lies_beside_no_release_is_replaced(aws: LocalAws, to: Destination, root: Path) -> None:
    """It is left over from a run that did not finish."""
    s3, prefix = client_for(aws.endpoint), release_prefix(to.name, verify(root).digest)
    s3.put_object(Bucket=to.bucket, Key=f"{prefix}/{SIGNATURE}", Body=b"left over")

    publish(root, to, s3, report=_quiet, beside={SIGNATURE: b"ours"})

    assert s3.get_object(Bucket=to.bucket, Key=f"{prefix}/{SIGNATURE}")["Body"].read() == b"ours"


def test_a_release_without_what_must_lie_beside_it_is_not_found(
    aws: LocalAws, to: Destination, root: Path
) -> None:
    """So that a rerun with a signature does not end before it is put."""
    s3 = client_for(aws.endpoint)
    made = publish(root, to, s3, report=_quiet)
    size = made.archive_bytes

    assert find_release(verify(root), to, s3, archive_bytes=size) is not None
    assert find_release(verify(root), to, s3, archive_bytes=size, beside={SIGNATURE: b"signed"}) is None
    publish(root, to, s3, report=_quiet, beside={SIGNATURE: b"signed"})
    assert find_release(verify(root), to, s3, archive_bytes=size, beside={SIGNATURE: b"signed"}) is not None
    assert find_release(verify(root), to, s3, archive_bytes=size, beside={SIGNATURE: b"other"}) is None


@pytest.mark.parametrize("name", ["manifest.json", "model.tar.gz", "a/b", "..", ""])
def test_a_name_of_the_releases_own_is_refused_before_anything_is_sent(
    proxy: FaultProxy, to: Destination, root: Path, name: str
) -> None:
    """The manifest decides what a release is; nothing else may take its place."""
    with pytest.raises(NameReserved):
        publish(root, to, client_for(proxy.endpoint), report=_quiet, beside={name: b"x"})

    assert proxy.seen == []


def test_an_upload_that_another_process_completes_under_us_is_a_success(
    aws: LocalAws, proxy: FaultProxy, to: Destination, root: Path
) -> None:
    """Both continue the same unfinished upload; the slower one finds it gone and the object right."""
    weights = blob_key(hashlib.sha256(CONTENT["weights.safetensors"]).hexdigest())

    async def another_first(exchange: Exchange) -> None:
        await exchange.forward()  # as if it were the other process's, which completes the same upload
        await refuse(404, "NoSuchUpload")(exchange)

    s3 = client_for(proxy.endpoint)
    proxy.spoil(lambda r: r.method == "POST" and r.key == weights and "uploadId" in r.query, another_first)

    published = publish(root, to, s3, report=_quiet)

    assert proxy.spoilt == 1
    assert published.reused_files == 1
    assert s3.get_object(Bucket=to.bucket, Key=weights)["Body"].read() == CONTENT["weights.safetensors"]


def test_an_upload_that_is_removed_under_us_is_begun_again(
    aws: LocalAws, proxy: FaultProxy, to: Destination, root: Path
) -> None:
    """By another process that gave up, or by the bucket's lifecycle rule."""
    own = aws.client("s3")

    async def remove(exchange: Exchange) -> None:
        upload = exchange.request.query["uploadId"]
        own.abort_multipart_upload(Bucket=to.bucket, Key=exchange.request.key, UploadId=upload)
        await exchange.answer(await exchange.forward())

    proxy.spoil(lambda r: r.part == 3, remove)

    publish(root, to, client_for(proxy.endpoint), report=_quiet)

    weights = blob_key(hashlib.sha256(CONTENT["weights.safetensors"]).hexdigest())
    assert own.get_object(Bucket=to.bucket, Key=weights)["Body"].read() == CONTENT["weights.safetensors"]
    assert "Uploads" not in own.list_multipart_uploads(Bucket=to.bucket)


def test_an_upload_that_is_removed_each_time_is_one_error(
    aws: LocalAws, proxy: FaultProxy, to: Destination, root: Path
) -> None:
    """Beginning again has an end."""
    proxy.spoil(lambda r: r.part == 2, refuse(404, "NoSuchUpload"), times=99)

    with pytest.raises(UploadVanished, match="disappeared"):
        publish(root, to, client_for(proxy.endpoint), report=_quiet)
