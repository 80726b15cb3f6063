"""A release in S3 in, a verified folder or a verdict out. Pairs with ``compile/publish.py``.

A process of its own, before ``serve``: the server needs no AWS permission and opens no
connection. The manifest's digest comes from the stack, not from S3, and is checked before
anything else is asked for; the folder appears under its name only when it is whole.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from artifact import serving
from artifact.aws import AwsClient, BucketMissing, client_config, is_local, translated
from artifact.envelope import MAX_ENVELOPE_BYTES
from artifact.errors import ProofFailed, TraceshipError, UsageError
from artifact.keys import PublicKey
from artifact.listing import digest_file
from artifact.manifest import MANIFEST, MANIFEST_DIGEST, File, Manifest
from artifact.packed import verify_packed
from artifact.release import ARCHIVE, SIGNATURE_FILE, blob_key
from artifact.trust import SignatureMissing, check_signature, signature_path
from artifact.verify import MAX_MANIFEST_BYTES, VerifiedArtifact, listed, parse_manifest, verify
from inference_code.log import logger
from inference_code.option_values import OptionInvalid
from inference_code.options import given_signature, pinned_digest, pinned_keys
from inference_code.place import CannotWrite, put, staged

_CHUNK = 1024 * 1024
_ATTEMPTS = 3
_SHA256 = re.compile("[0-9a-f]{64}")


class ReleaseMissing(TraceshipError):
    """The bucket holds no such release, or only part of one."""

    id = "release-missing"

    def __init__(self, *, key: str, bucket: str) -> None:
        super().__init__(
            what="the release is not in the bucket",
            why=f"s3://{bucket}/{key} does not exist",
            fix="publish it with `traceship ship`, or deploy the lock of a release that was published",
        )
        self.key = key


class DownloadChanged(ProofFailed):
    """What came from S3 is not what the manifest, or the stack, names."""

    id = "download-changed"

    def __init__(self, *, file: str, why: str) -> None:
        super().__init__(
            what=f"{file} in S3 is not the file that was published",
            why=why,
            fix="find out who wrote that object, then publish again with `traceship ship`",
        )
        self.file = file


class DownloadBroken(TraceshipError):
    """The connection to S3 broke off in the middle of a file, each time."""

    id = "download-broken"

    def __init__(self, *, file: str) -> None:
        super().__init__(
            what=f"{file} could not be downloaded",
            why=f"the connection broke off {_ATTEMPTS} times",
            fix="check the network to S3, then run the command again",
        )


@dataclass(frozen=True)
class FetchOptions:
    """``owner``: twelve-digit account that must own the bucket, or None to trust its name.

    ``keys``: of which one must have signed the manifest. ``signature``: the envelope; ``None``: the
    release's own.
    """

    bucket: str
    prefix: str
    digest: str
    to: Path
    owner: str | None
    keys: tuple[PublicKey, ...] = ()
    signature: bytes | None = None


def fetch_options(
    environ: Mapping[str, str],
    *,
    release: str | None = None,
    digest: str | None = None,
    to: str | None = None,
    owner: str | None = None,
    keys: Sequence[str] = (),
    signature: str | None = None,
) -> FetchOptions:
    """Arguments first, then the environment. Without a digest, the one in the release's name counts.

    Raises:
        OptionInvalid: names the argument or the variable.
    """
    url = release or environ.get(serving.ENV_RELEASE) or ""
    parts = urlsplit(url)
    prefix = parts.path.strip("/")
    if parts.scheme != "s3" or not parts.netloc or not prefix:
        raise OptionInvalid(name="--release", value=url, wanted="s3://BUCKET/releases/NAME/DIGEST")
    pinned = pinned_digest(environ, digest)
    last = prefix.rsplit("/", 1)[-1]
    if pinned is None and not _SHA256.fullmatch(last):
        raise OptionInvalid(name="--digest", value="", wanted="the manifest's SHA-256, 64 hex digits")
    account = owner or environ.get(serving.ENV_BUCKET_OWNER) or None
    if account is not None and not re.fullmatch("[0-9]{12}", account):
        raise OptionInvalid(name="--expected-bucket-owner", value=account, wanted="a twelve-digit account")
    return FetchOptions(
        bucket=parts.netloc,
        prefix=prefix,
        digest=pinned or last,
        to=Path(to or environ.get(serving.ENV_MODEL_DIR) or serving.MODEL_DIR),
        owner=account,
        keys=pinned_keys(environ, keys),
        signature=given_signature(environ, signature),
    )


def s3_client() -> AwsClient:
    """A client from the environment's credentials, region and endpoint.

    Raises:
        AwsDenied: there is no region or no such profile.
    """
    import boto3

    with translated("make an S3 client"):
        return boto3.client("s3", config=client_config(local=is_local()))


def fetch(options: FetchOptions, s3: AwsClient) -> VerifiedArtifact:
    """Download the release to ``options.to`` and verify it; a whole folder is left as it is.

    Where keys are pinned, the signature is verified before anything is downloaded but the envelope,
    which is put beside the folder unless it was given.

    Raises:
        SignatureMissing, WrongKey, …: from ``artifact.trust``; nothing was downloaded.
        ReleaseMissing, DownloadChanged, DownloadBroken: see there; nothing is left behind.
        BucketMissing, AwsDenied, AwsUnreachable, AwsRefused: what S3 said.
        CannotWrite, PlaceTaken: about the folder.
    """
    to = options.to
    envelope = _checked_envelope(options, s3)[1] if options.keys else None
    there = _already_there(to, options.digest)
    if there is not None:
        _put_beside(to, envelope)
        logger.info("already fetched", extra={"digest": there.digest, "path": str(to)})
        return there
    with staged(to) as folder:
        with translated(f"fetch the release from the bucket {options.bucket}"):
            _Download(options, s3, partial(_created, folder)).run()
        whole = verify(folder, digest=options.digest)
        put(folder, to)
    _put_beside(to, envelope)
    # the very files that were read; whoever loads them (``serve``) reads and hashes them once more
    artifact = replace(whole, root=listed(to, digest=options.digest).root)
    logger.info("fetched", extra={"digest": artifact.digest, "path": str(to)})
    return artifact


@dataclass(frozen=True)
class WholeRelease:
    """What a release that was checked holds, and who signed it; None where no key was pinned."""

    manifest: Manifest
    signer: PublicKey | None


def verify_release(options: FetchOptions, s3: AwsClient) -> WholeRelease:
    """Stream all that a release consists of and compare it; nothing is written, ``to`` is not looked at.

    The blobs are what ``fetch`` brings to an instance, the archive is what SageMaker unpacks.

    Raises:
        ReleaseMissing, DownloadChanged, DownloadBroken, UnknownSchema, ArtifactChanged: see there.
        SignatureMissing, WrongKey, …: from ``artifact.trust``, where keys are pinned.
        BucketMissing, AwsDenied, AwsUnreachable, AwsRefused: what S3 said.
    """
    signer = _checked_envelope(options, s3)[0] if options.keys else None
    with translated(f"read the release from the bucket {options.bucket}"):
        download = _Download(options, s3, _nowhere)
        manifest = download.run()
        download.archive()
    return WholeRelease(manifest=manifest, signer=signer)


def _checked_envelope(options: FetchOptions, s3: AwsClient) -> tuple[PublicKey, bytes | None]:
    """Who signed, and the release's envelope if it had to be fetched; it or the given one fits the digest."""
    envelope = options.signature
    if envelope is None:
        key = f"{options.prefix}/{SIGNATURE_FILE}"
        try:
            with translated(f"fetch the signature from the bucket {options.bucket}"):
                envelope = _get(options, s3, key)["Body"].read(MAX_ENVELOPE_BYTES + 1)
        except ReleaseMissing:
            raise SignatureMissing(place=f"s3://{options.bucket}/{key}") from None
    signer = check_signature(options.digest, envelope, options.keys)
    logger.info("signature verified", extra={"digest": options.digest, "key": signer.id})
    return signer, envelope if options.signature is None else None


def _put_beside(to: Path, envelope: bytes | None) -> None:
    if envelope is None:
        return
    place = signature_path(to)
    try:
        place.write_bytes(envelope)
    except OSError as error:
        raise CannotWrite(path=place, why=error.strerror or str(error)) from error


def _created(folder: Path, path: str) -> BinaryIO:
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.open("wb")


def _nowhere(path: str) -> BinaryIO:  # noqa: ARG001 - where ``_created`` would write
    return Path(os.devnull).open("wb")


class _Download:
    """Manifest first, then each blob once, to wherever ``opened`` leads."""

    def __init__(self, options: FetchOptions, s3: AwsClient, opened: Callable[[str], BinaryIO]) -> None:
        self._options = options
        self._s3 = s3
        self._opened = opened

    def run(self) -> Manifest:
        data = self._manifest()
        manifest = parse_manifest(data)
        for file in manifest.files:
            self._blob(file)
        for name, content in ((MANIFEST, data), (MANIFEST_DIGEST, digest_file(self._options.digest))):
            with self._opened(name) as out:
                out.write(content)
        return manifest

    def archive(self) -> None:
        for _ in range(_ATTEMPTS):
            body = self._get(f"{self._options.prefix}/{ARCHIVE}")["Body"]
            try:
                verify_packed(body, digest=self._options.digest)
                return
            except _damages():
                continue
            except ProofFailed as error:
                raise DownloadChanged(file=ARCHIVE, why=str(error)) from error
        raise DownloadBroken(file=ARCHIVE)

    def _manifest(self) -> bytes:
        key = f"{self._options.prefix}/{MANIFEST}"
        data: bytes = self._get(key)["Body"].read(MAX_MANIFEST_BYTES + 1)
        found = hashlib.sha256(data).hexdigest()
        if found != self._options.digest:
            pinned = self._options.digest
            raise DownloadChanged(
                file=MANIFEST,
                why=f"its sha256 begins {found[:12]}, the digest asked for begins {pinned[:12]}",
            )
        return data

    def _blob(self, file: File) -> None:
        for _ in range(_ATTEMPTS):
            found = self._stream(blob_key(file.sha256), file)
            if found is not None:
                break
        else:
            raise DownloadBroken(file=file.path)
        if found != file.sha256:
            raise DownloadChanged(
                file=file.path, why=f"its sha256 begins {found[:12]}, the manifest says {file.sha256[:12]}"
            )

    def _stream(self, key: str, file: File) -> str | None:
        """Write the object of ``file``, at most its size and a chunk; None if it arrived cut or damaged."""
        body = self._get(key)["Body"]
        digest, written = hashlib.sha256(), 0
        try:
            with self._opened(file.path) as out:
                while written <= file.size and (chunk := body.read(_CHUNK)):
                    digest.update(chunk)
                    written += out.write(chunk)
        except _damages():
            return None
        return digest.hexdigest()

    def _get(self, key: str) -> AwsClient:
        return _get(self._options, self._s3, key)


def _damages() -> tuple[type[Exception], ...]:
    """What tells that an answer arrived cut or damaged, so that it is worth asking again."""
    from botocore import exceptions

    return (
        exceptions.FlexibleChecksumError,
        exceptions.IncompleteReadError,
        exceptions.ReadTimeoutError,
        exceptions.ResponseStreamingError,
    )


def _get(options: FetchOptions, s3: AwsClient, key: str) -> AwsClient:
    from botocore.exceptions import ClientError

    owner = {"ExpectedBucketOwner": options.owner} if options.owner else {}
    try:
        return s3.get_object(Bucket=options.bucket, Key=key, **owner)
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code"))
        if code in {"NoSuchKey", "404"}:
            raise ReleaseMissing(key=key, bucket=options.bucket) from None
        if code == "NoSuchBucket":
            raise BucketMissing(bucket=options.bucket, why="there is no such bucket") from None
        raise


def _already_there(to: Path, digest: str) -> VerifiedArtifact | None:
    try:
        return verify(to, digest=digest)
    except (UsageError, ProofFailed):
        # Absent, another release, or damaged: all three are mended by fetching.
        return None
