"""Files of many parts: sent once, continued by the next process, and right or not there."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from artifact.aws import CredentialsExpired
from artifact.release import archive_key, blob_key
from artifact.verify import ArtifactChanged, verify
from compile.archive import artifact_members, parcel_there, write_archive
from compile.cut import MIN_PART_BYTES, PartHash, composite, encoded, part_size
from compile.publish import Destination, FileTooLarge, bucket, find_release, publish
from compile.publish.bucket import Bucket
from compile.publish.errors import StoredWrong
from inference_code.fetch import FetchOptions, fetch
from local_aws.launcher import LocalAws
from tests.kit.fault_proxy import Exchange, FaultProxy, Request, cut_request, damage_request, refuse
from tests.publish.conftest import KEY, client_for, folder_of, large_content

PARTS = 3
CONTENT = large_content(PARTS)
WEIGHTS = hashlib.sha256(CONTENT["weights.safetensors"]).hexdigest()


def _quiet(_line: str) -> None:
    """Nobody reads the progress of a test."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "artifact", CONTENT)


def _parts_of_weights(proxy: FaultProxy) -> list[int]:
    return [r.part for r in proxy.seen if r.part is not None and r.key == blob_key(WEIGHTS)]


def test_a_large_file_arrives_whole_and_is_read_back(
    aws: LocalAws, s3: Any, to: Destination, root: Path, tmp_path: Path
) -> None:
    """What the reader gets is what the writer had, parts or not."""
    published = publish(root, to, s3, report=_quiet)

    options = FetchOptions(
        bucket=to.bucket,
        prefix=published.prefix,
        digest=published.digest,
        to=tmp_path / "got",
        owner=to.account,
    )
    fetched = fetch(options, aws.client("s3"))
    assert (fetched.root / "weights.safetensors").read_bytes() == CONTENT["weights.safetensors"]


def test_every_request_names_the_owner_and_every_object_its_key(
    proxy: FaultProxy, s3: Any, to: Destination, root: Path
) -> None:
    """On the wire, for one piece and for parts; a part has the key of its upload."""
    publish(root, to, s3, report=_quiet, beside={"manifest.dsse.json": b"{}"})

    assert {r.headers.get("x-amz-expected-bucket-owner") for r in proxy.seen} == {to.account}
    stored = [r for r in proxy.seen if (r.method == "PUT" and r.part is None) or "uploads" in r.query]
    made = [r for r in stored if r.method != "GET"]
    assert {r.headers.get("x-amz-server-side-encryption-aws-kms-key-id") for r in made} == {KEY}
    assert {r.headers.get("x-amz-server-side-encryption") for r in made} == {"aws:kms"}
    assert {r.key for r in made} >= {blob_key(WEIGHTS), archive_key(to.name, verify(root).digest)}


def test_every_part_travels_with_its_sha256(proxy: FaultProxy, s3: Any, to: Destination, root: Path) -> None:
    """S3 compares each part with what was hashed here."""
    publish(root, to, s3, report=_quiet)

    sent = [r for r in proxy.seen if r.part is not None]
    assert len(sent) >= 2 * PARTS  # the weights, and the archive that holds them
    for request in sent:
        assert request.headers["x-amz-checksum-sha256"] == encoded(hashlib.sha256(request.body).digest())


def test_no_body_waits_to_be_asked_for(proxy: FaultProxy, s3: Any, to: Destination, root: Path) -> None:
    """``Expect: 100-continue`` is a round trip for each object, most of which are small."""
    publish(root, to, s3, report=_quiet)

    assert [r.key for r in proxy.seen if "expect" in r.headers] == []


def test_another_process_continues_and_sends_only_the_missing_parts(
    proxy: FaultProxy, s3: Any, to: Destination, root: Path
) -> None:
    """S3 itself is asked what it has: nothing on the machine of the first process is needed."""
    others = asyncio.Event()

    async def store(exchange: Exchange) -> None:
        answer = await exchange.forward()
        # before the answer: a client that has it hangs up, which ends this fault
        if _stored_parts(proxy, to) == {1, 3}:
            others.set()
        await exchange.answer(answer)

    async def refuse_when_others_are_there(exchange: Exchange) -> None:
        await others.wait()
        await refuse(400, "ExpiredToken")(exchange)

    def part_of_weights(request: Request) -> int | None:
        return request.part if request.key.startswith("blobs/") else None  # the archive has parts too

    proxy.spoil(lambda r: part_of_weights(r) == 2, refuse_when_others_are_there, times=99)
    proxy.spoil(lambda r: part_of_weights(r) in {1, 3}, store, times=99)
    with pytest.raises(CredentialsExpired) as refused:
        publish(root, to, s3, report=_quiet)
    assert refused.value.exit_code == 4
    proxy.heal()

    publish(root, to, client_for(proxy.endpoint), report=_quiet)

    assert _parts_of_weights(proxy) == [2]
    assert _uploads(proxy, to) == []


def _stored_parts(proxy: FaultProxy, to: Destination) -> set[int]:
    s3 = client_for(f"http://127.0.0.1:{proxy.upstream}")
    (upload,) = s3.list_multipart_uploads(Bucket=to.bucket, Prefix="blobs/")["Uploads"]
    found = s3.list_parts(Bucket=to.bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    return {part["PartNumber"] for part in found.get("Parts", [])}


def _uploads(proxy: FaultProxy, to: Destination) -> list[Any]:
    s3 = client_for(f"http://127.0.0.1:{proxy.upstream}")
    return list(s3.list_multipart_uploads(Bucket=to.bucket).get("Uploads", []))


def test_a_stored_part_with_other_bytes_is_sent_again(
    aws: LocalAws, proxy: FaultProxy, s3: Any, to: Destination, root: Path
) -> None:
    """An unfinished upload may hold anything: each part is compared before it is used."""
    key, own = blob_key(WEIGHTS), aws.client("s3")
    upload = own.create_multipart_upload(Bucket=to.bucket, Key=key, ChecksumAlgorithm="SHA256")["UploadId"]
    good = CONTENT["weights.safetensors"][:MIN_PART_BYTES]
    for number, body in ((1, good), (2, b"\0" * MIN_PART_BYTES)):
        own.upload_part(
            Bucket=to.bucket,
            Key=key,
            UploadId=upload,
            PartNumber=number,
            Body=body,
            ChecksumAlgorithm="SHA256",
        )

    publish(root, to, s3, report=_quiet)

    assert sorted(_parts_of_weights(proxy)) == [2, 3]
    assert own.get_object(Bucket=to.bucket, Key=key)["Body"].read() == CONTENT["weights.safetensors"]


def test_an_object_of_parts_is_known_to_be_right_without_sending_it(
    proxy: FaultProxy, s3: Any, to: Destination, root: Path
) -> None:
    """Its checksum is one of checksums; the local file is cut alike and compared."""
    first = publish(root, to, s3, report=_quiet)
    proxy.heal()

    second = publish(root, to, s3, report=_quiet)
    found = find_release(verify(root), to, s3, archive_bytes=first.archive_bytes)

    assert second.uploaded_bytes == 0
    assert [r for r in proxy.seen if r.method in {"PUT", "POST"}] == []
    assert found is not None


def test_an_object_of_the_right_size_and_the_wrong_parts_is_replaced(
    aws: LocalAws, s3: Any, to: Destination, root: Path
) -> None:
    """Neither size, nor number of parts, nor anything written beside it makes it right."""
    key, own = blob_key(WEIGHTS), aws.client("s3")
    whole = bytearray(CONTENT["weights.safetensors"])
    whole[MIN_PART_BYTES + 5] ^= 1
    other = root.parent / "other"
    other.write_bytes(whole)
    from boto3.s3.transfer import TransferConfig

    own.upload_file(
        str(other),
        to.bucket,
        key,
        ExtraArgs={"ChecksumAlgorithm": "SHA256", "Metadata": {"sha256": WEIGHTS}},
        Config=TransferConfig(multipart_threshold=MIN_PART_BYTES, multipart_chunksize=MIN_PART_BYTES),
    )

    publish(root, to, s3, report=_quiet)

    assert own.get_object(Bucket=to.bucket, Key=key)["Body"].read() == CONTENT["weights.safetensors"]


@pytest.mark.parametrize("packed", ["in this run", "before"])
def test_a_file_that_changes_while_it_is_sent_becomes_no_object(
    aws: LocalAws, proxy: FaultProxy, s3: Any, to: Destination, root: Path, packed: str
) -> None:
    """Each part is compared with the digest that it had when it was verified; where an earlier run packed
    it nobody knows that, and the whole is compared before anything is completed."""
    archive = None
    if packed == "before":
        write_archive(artifact_members(verify(root)), root.parent / "kept")
        archive = parcel_there(root.parent / "kept")
    weights = root / "weights.safetensors"

    async def change(exchange: Any) -> None:
        with weights.open("r+b") as file:
            file.seek(2 * MIN_PART_BYTES + 10)
            file.write(b"changed")
        await exchange.answer(await exchange.forward())

    proxy.spoil(lambda r: r.method == "POST" and "uploads" in r.query, change)
    with pytest.raises(ArtifactChanged, match=r"weights\.safetensors"):
        publish(root, to, s3, report=_quiet, archive=archive)

    own = aws.client("s3")
    keys = {entry["Key"] for entry in own.list_objects_v2(Bucket=to.bucket).get("Contents", [])}
    assert blob_key(WEIGHTS) not in keys
    assert not any(key.endswith("manifest.json") for key in keys)
    assert [upload for upload in _uploads(proxy, to) if upload["Key"] == blob_key(WEIGHTS)] == []


def test_a_small_file_that_changes_after_the_check_is_not_sent(
    aws: LocalAws, proxy: FaultProxy, s3: Any, to: Destination, root: Path
) -> None:
    """Between verification and sending anything may happen to a folder."""

    async def change(exchange: Any) -> None:
        (root / "parity.json").write_bytes(b"[]\n")
        await exchange.answer(await exchange.forward())

    proxy.spoil(lambda r: r.query.get("list-type") == "2", change)
    with pytest.raises(ArtifactChanged, match=r"parity\.json"):
        publish(root, to, s3, report=_quiet)

    changed = blob_key(hashlib.sha256(CONTENT["parity.json"]).hexdigest())
    assert [r for r in proxy.seen if r.method == "PUT" and r.key == changed] == []
    keys = [e["Key"] for e in aws.client("s3").list_objects_v2(Bucket=to.bucket).get("Contents", [])]
    assert not any(key.endswith("manifest.json") for key in keys)


def test_parts_too_large_for_memory_are_sent_from_the_file_and_again_from_their_beginning(
    monkeypatch: pytest.MonkeyPatch, aws: LocalAws, proxy: FaultProxy, s3: Any, to: Destination, root: Path
) -> None:
    """Above 78 GiB a part outgrows what may be held; here the limit is set to nothing. A refused attempt
    has read the file up to some place."""
    monkeypatch.setattr("compile.publish.multipart.HELD_PART_BYTES", 0)
    monkeypatch.setattr(bucket, "_pause", lambda _attempt: 0.0)
    proxy.spoil(lambda r: r.part == 1, damage_request, times=2)
    proxy.spoil(lambda r: r.part == 2, cut_request)

    publish(root, to, s3, report=_quiet)

    assert proxy.spoilt == 3

    stored = aws.client("s3").get_object(Bucket=to.bucket, Key=blob_key(WEIGHTS))["Body"].read()
    assert stored == CONTENT["weights.safetensors"]


@pytest.mark.parametrize("name", ["weights.safetensors", "golden.json"])
def test_a_file_that_is_gone_after_the_check_is_named(
    aws: LocalAws, proxy: FaultProxy, s3: Any, to: Destination, root: Path, name: str
) -> None:
    """In parts or in one piece; its own upload is not even begun, and no release is made."""

    async def remove(exchange: Any) -> None:
        (root / name).unlink()
        await exchange.answer(await exchange.forward())

    proxy.spoil(lambda r: r.query.get("list-type") == "2", remove)
    with pytest.raises(ArtifactChanged, match=name) as refused:
        publish(root, to, s3, report=_quiet)

    assert "No such file" in refused.value.why
    keys = [e["Key"] for e in aws.client("s3").list_objects_v2(Bucket=to.bucket).get("Contents", [])]
    assert not any(key.startswith("releases/") for key in keys)
    gone = blob_key(hashlib.sha256(CONTENT[name]).hexdigest())
    assert not [r for r in proxy.seen if r.key == gone and r.method in {"PUT", "POST"}]


@pytest.mark.parametrize("when", ["packed", "sent"])
def test_an_artifact_that_is_gone_before_it_is_packed_or_sent_is_told(
    proxy: FaultProxy, s3: Any, to: Destination, root: Path, when: str
) -> None:
    """Folder and all; that is no trouble with the folder for temporary files."""

    async def remove(exchange: Any) -> None:
        shutil.rmtree(root)
        await exchange.answer(await exchange.forward())

    first = {"packed": lambda r: r.method == "HEAD", "sent": lambda r: r.query.get("list-type") == "2"}
    proxy.spoil(first[when], remove)
    with pytest.raises(ArtifactChanged):
        publish(root, to, s3, report=_quiet)


def test_a_slow_line_is_no_broken_one(to: Destination) -> None:
    """A part may take longer than a connection may take to be made, as long as it moves."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
    size, taken = MIN_PART_BYTES, []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb", buffering=0) as file:
            while (line := file.readline()) != b"\r\n":
                taken.append(line.lower())
            left = size
            while left and (piece := file.read(min(left, 1 << 17))):
                left -= len(piece)
                # 1.2 MB/s, in pieces of whatever size the kernel makes: that is what is tested.
                threading.Event().wait(len(piece) / 1_200_000)
            connection.sendall(b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: 0\r\n\r\n')

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    s3 = client_for(f"http://127.0.0.1:{listener.getsockname()[1]}", connect_timeout=1, read_timeout=30)
    with listener:
        checksum = encoded(hashlib.sha256(bytes(size)).digest())
        etag = Bucket(s3, to).put_part("k", "u", 1, bytearray(size), checksum)
        server.join(30)

    assert etag == '"e"'
    assert f"content-length: {size}\r\n".encode() in taken
    assert not any(line.startswith((b"expect", b"transfer-encoding")) for line in taken)


def test_a_file_beyond_an_object_is_refused_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, proxy: FaultProxy, s3: Any, to: Destination, root: Path
) -> None:
    """The limit is S3's, and is named."""
    monkeypatch.setattr("compile.publish.files.MAX_OBJECT_BYTES", 10 * 1024**2)
    with pytest.raises(FileTooLarge, match="weights") as refused:
        publish(root, to, s3, report=_quiet)

    assert refused.value.exit_code == 2
    assert [r for r in proxy.seen if r.method == "PUT"] == []


def test_the_s3_behind_refuses_a_part_with_another_checksum(aws: LocalAws, to: Destination) -> None:
    """Else nothing in these tests would prove anything."""
    own = aws.client("s3")
    wrong = encoded(hashlib.sha256(b"other").digest())
    upload = own.create_multipart_upload(Bucket=to.bucket, Key="k", ChecksumAlgorithm="SHA256")["UploadId"]

    with pytest.raises(ClientError, match="BadDigest"):
        own.upload_part(
            Bucket=to.bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"content", ChecksumSHA256=wrong
        )


def test_the_checksum_computed_here_is_the_one_that_s3_names(
    aws: LocalAws, s3: Any, to: Destination, root: Path
) -> None:
    """Composite of the same cut, against the service's own."""
    publish(root, to, s3, report=_quiet)

    named = aws.client("s3").head_object(Bucket=to.bucket, Key=blob_key(WEIGHTS), ChecksumMode="ENABLED")
    weights = root / "weights.safetensors"
    cut = PartHash(weights.stat().st_size)
    cut.update(weights.read_bytes())
    assert named["ChecksumSHA256"] == composite(cut.digests())
    assert part_size(weights.stat().st_size) == MIN_PART_BYTES


def test_parts_that_s3_put_together_otherwise_are_no_release(
    aws: LocalAws, proxy: FaultProxy, s3: Any, to: Destination, root: Path
) -> None:
    """S3 names the checksum of what it made; it must be the one of what was sent."""

    async def another(exchange: Exchange) -> None:
        answer = await exchange.forward()
        head, _, body = answer.partition(b"\r\n\r\n")
        start = body.index(b"<ChecksumSHA256>") + len(b"<ChecksumSHA256>")
        await exchange.answer(head + b"\r\n\r\n" + body[:start] + b"AAAA" + body[start + 4 :])

    proxy.spoil(lambda r: r.method == "POST" and "uploadId" in r.query, another)
    with pytest.raises(StoredWrong, match="AAAA"):
        publish(root, to, s3, report=_quiet)

    keys = [e["Key"] for e in aws.client("s3").list_objects_v2(Bucket=to.bucket)["Contents"]]
    assert not any(key.endswith("manifest.json") for key in keys)
