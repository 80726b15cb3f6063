"""A container image copied by its digest from one ECR repository to another, account or region.

Through ECR's own API, so that neither a container engine nor another tool is needed where a release
is promoted. Nothing is rebuilt: a manifest's bytes decide its digest, ECR refuses bytes
of another one, and every layer is hashed here on its way. A layer that is there is not sent again.

Source: ECR API reference (BatchGetImage, GetDownloadUrlForLayer, UploadLayerPart, PutImage) and the OCI
image specification for the fields of a manifest and of an index.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.request import urlopen

from artifact.aws import AwsClient, translated
from artifact.errors import ProofFailed, TraceshipError, UsageError

MANIFEST_TYPES = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
)
TIMEOUT_SECONDS = 60
"""Without a byte of a layer."""
TAG = "promoted-"
"""And the digest: the tag of a copy. ECR lets an image without one expire (infra/artifacts_stack.py)."""
_CHUNK = 1024 * 1024
_SHA256 = "sha256:"


class ImageAbsent(UsageError):
    """The repository does not hold the image that is to be copied."""

    id = "image-absent"

    def __init__(self, *, repository: str, digest: str) -> None:
        super().__init__(
            what=f"{repository} does not hold the image sha256:{digest[:12]}",
            why="the lock names it, but ECR does not find it there",
            fix="push it there again by its digest, or ship a release with an image that is there",
        )


class LayerDamaged(ProofFailed):
    """What a registry sent for a layer or a manifest is something else."""

    id = "layer-damaged"

    def __init__(self, *, repository: str, digest: str, found: str) -> None:
        super().__init__(
            what=f"{repository} sent something else for {digest[:19]}",
            why=f"the bytes that came have the digest {found[:19]}",
            fix="run the command again; if it stays so, that repository's image is damaged: push it anew",
        )


class LayerUnreachable(TraceshipError):
    """A registry does not send a layer."""

    id = "layer-unreachable"

    def __init__(self, *, repository: str, digest: str, why: str) -> None:
        super().__init__(
            what=f"{repository} does not send {digest[:19]}",
            why=why,
            fix="check the network and run the command again; what is copied is not sent twice",
        )


@dataclass(frozen=True)
class Repository:
    """A repository of a registry. ``registry``: the account that it belongs to."""

    ecr: AwsClient
    registry: str
    name: str

    @property
    def _place(self) -> dict[str, str]:
        return {"registryId": self.registry, "repositoryName": self.name}

    def manifest(self, digest: str) -> tuple[bytes, str] | None:
        """A manifest's bytes and media type by its digest (``sha256:…``); None if it is not there.

        Raises:
            LayerDamaged: the bytes have another digest.
        """
        answer = self.ecr.batch_get_image(
            **self._place, imageIds=[{"imageDigest": digest}], acceptedMediaTypes=list(MANIFEST_TYPES)
        )
        if not answer.get("images"):
            return None
        (image,) = answer["images"]
        data = image["imageManifest"].encode()
        found = _SHA256 + hashlib.sha256(data).hexdigest()
        if found != digest:
            raise LayerDamaged(repository=self.name, digest=digest, found=found)
        kind = image.get("imageManifestMediaType") or json.loads(data).get("mediaType", MANIFEST_TYPES[0])
        return data, kind

    def has_tag(self, tag: str) -> bool:
        """Whether an image has this tag."""
        wanted = [{"imageTag": tag}]
        kinds = list(MANIFEST_TYPES)
        answer = self.ecr.batch_get_image(**self._place, imageIds=wanted, acceptedMediaTypes=kinds)
        return bool(answer.get("images"))

    def lacks(self, layer: str) -> bool:
        """Whether a layer is not there."""
        answer = self.ecr.batch_check_layer_availability(**self._place, layerDigests=[layer])
        return not any(found.get("layerAvailability") == "AVAILABLE" for found in answer.get("layers", ()))

    def read(self, layer: str) -> Iterator[bytes]:
        """The bytes of a layer.

        Raises:
            LayerUnreachable: the link that ECR gives does not answer with them.
        """
        url = self.ecr.get_download_url_for_layer(**self._place, layerDigest=layer)["downloadUrl"]
        try:
            with urlopen(url, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - ECR's own link
                while chunk := answer.read(_CHUNK):
                    yield chunk
        except OSError as error:
            raise LayerUnreachable(repository=self.name, digest=layer, why=str(error)) from None

    def write(self, layer: str, chunks: Iterator[bytes]) -> int:
        """Store a layer; returns its bytes. What has another digest is never completed.

        Raises:
            LayerDamaged: the bytes have another digest.
        """
        begun = self.ecr.initiate_layer_upload(**self._place)
        upload, part_size = begun["uploadId"], int(begun["partSize"])
        digest, sent = hashlib.sha256(), 0
        for part in _parts(chunks, part_size):
            digest.update(part)
            self.ecr.upload_layer_part(
                **self._place,
                uploadId=upload,
                partFirstByte=sent,
                partLastByte=sent + len(part) - 1,
                layerPartBlob=part,
            )
            sent += len(part)
        found = _SHA256 + digest.hexdigest()
        if found != layer:
            raise LayerDamaged(repository=self.name, digest=layer, found=found)
        self.ecr.complete_layer_upload(**self._place, uploadId=upload, layerDigests=[layer])
        return sent

    def put(self, digest: str, manifest: bytes, kind: str, *, tag: str | None) -> None:
        """Store a manifest under its digest, which is what stacks name; ``tag``: what keeps it from
        expiring. One that is there already gets the tag beside those that it has."""
        self.ecr.put_image(
            **self._place,
            imageManifest=manifest.decode(),
            imageManifestMediaType=kind,
            imageDigest=digest,
            **({} if tag is None else {"imageTag": tag}),
        )


def copy_image(source: Repository, target: Repository, digest: str, *, report: Callable[[str], None]) -> int:
    """Make ``target`` hold the image ``digest`` (64 hex digits) of ``source``; returns the bytes sent.

    It gets a tag of its own, because a repository of ours deletes what has none; the images of an index
    stay as long as that does. An image that was copied before costs one question. Layers first, the
    manifest last: an image is in the registry whole or not at all, and a second run sends what is left.

    Raises:
        ImageAbsent: ``source`` does not hold it.
        LayerDamaged: bytes of another digest came; the image is not in ``target`` then.
        AwsDenied, AwsUnreachable, AwsRefused: what ECR said.
    """
    with translated(f"copy the image sha256:{digest[:12]} to {target.name}"):
        if target.has_tag(TAG + digest):
            return 0
        return _copied(source, target, _SHA256 + digest, report, tag=TAG + digest)


def _copied(
    source: Repository,
    target: Repository,
    digest: str,
    report: Callable[[str], None],
    *,
    tag: str | None = None,
) -> int:
    held = target.manifest(digest)
    if held is not None:
        if tag is not None:
            target.put(digest, *held, tag=tag)
        return 0
    found = source.manifest(digest)
    if found is None:
        raise ImageAbsent(repository=source.name, digest=digest.removeprefix(_SHA256))
    data, kind = found
    fields: dict[str, Any] = json.loads(data)
    sent = sum(_copied(source, target, child["digest"], report) for child in fields.get("manifests", ()))
    blobs = [fields["config"], *fields["layers"]] if "config" in fields else []
    for layer in dict.fromkeys(blob["digest"] for blob in blobs):
        if target.lacks(layer):
            size = target.write(layer, source.read(layer))
            report(f"copied {layer[:19]}, {size / 1e6:.1f} MB")
            sent += size
    target.put(digest, data, kind, tag=tag)
    return sent


def _parts(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """The same bytes in parts of ``size``, the last one shorter."""
    held = bytearray()
    for chunk in chunks:
        held += chunk
        while len(held) >= size:
            yield bytes(held[:size])
            del held[:size]
    if held:
        yield bytes(held)
