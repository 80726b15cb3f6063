"""What the platform does before it starts a container: fetch model.tar.gz, unpack it."""

from __future__ import annotations

import tarfile
from pathlib import Path
from urllib.parse import urlsplit

from botocore import exceptions

from local_aws.extension.own_clients import client
from local_aws.extension.registry import Server
from local_aws.extension.replicas import ReplicaFailed

_CHUNK_BYTES = 1 << 20


def fetch_and_unpack(server: Server, url: str, target: Path) -> None:
    """Download ``s3://bucket/key`` from our own S3, over HTTP, and unpack it into ``target``.

    Raises:
        ReplicaFailed: nothing there, no access, or not an archive that may be unpacked.
    """
    archive = target.parent / "model.tar.gz"
    _download(server, url, archive)
    try:
        with tarfile.open(archive, "r:gz") as tar:
            # "data" refuses absolute paths, "..", links that leave the folder, and devices.
            tar.extractall(target, filter="data")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ReplicaFailed(f"model data at {url} cannot be unpacked: {error}") from error
    archive.unlink()


def _download(server: Server, url: str, archive: Path) -> None:
    parts = urlsplit(url)
    try:
        answer = client(server, "s3").get_object(Bucket=parts.netloc, Key=parts.path.lstrip("/"))
        with archive.open("wb") as file:
            for chunk in answer["Body"].iter_chunks(_CHUNK_BYTES):
                file.write(chunk)
    except exceptions.ClientError as error:
        code = error.response.get("Error", {}).get("Code", "?")
        raise ReplicaFailed(
            f"Could not find model data at {url}. Please make sure that the role has permissions to read "
            f"it and that the object exists ({code})"
        ) from error
    except exceptions.BotoCoreError as error:
        raise ReplicaFailed(f"model data at {url} could not be read: {error}") from error
