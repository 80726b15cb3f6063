"""An image copied by digest between two registries that behave as ECR's API is documented."""

# ruff: noqa: N803 - the argument names are boto3's

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.image_copy import (
    ImageAbsent,
    LayerDamaged,
    LayerUnreachable,
    Repository,
    _parts,
    copy_image,
)

KIND = "application/vnd.docker.distribution.manifest.v2+json"
INDEX = "application/vnd.oci.image.index.v1+json"
PART = 1000


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass
class Registry:
    """ECR's calls on one repository, in memory. ``url``: where its layers can be read."""

    url: str
    manifests: dict[str, tuple[str, str]] = field(default_factory=dict)
    layers: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def batch_get_image(self, *, imageIds: list[dict[str, str]], **at: Any) -> dict[str, Any]:
        self._called("batch_get_image", at)
        ((by, asked),) = imageIds[0].items()
        digest = self.tags.get(asked, "") if by == "imageTag" else asked
        if digest not in self.manifests:
            return {"images": [], "failures": [{"failureCode": "ImageNotFound"}]}
        text, kind = self.manifests[digest]
        return {"images": [{"imageManifest": text, "imageManifestMediaType": kind}]}

    def batch_check_layer_availability(self, *, layerDigests: list[str], **at: Any) -> dict[str, Any]:
        self._called("batch_check_layer_availability", at)
        (digest,) = layerDigests
        there = "AVAILABLE" if digest in self.layers else "UNAVAILABLE"
        return {"layers": [{"layerDigest": digest, "layerAvailability": there}]}

    def get_download_url_for_layer(self, *, layerDigest: str, **at: Any) -> dict[str, str]:
        self._called("get_download_url_for_layer", at)
        return {"downloadUrl": f"{self.url}/{layerDigest}"}

    def initiate_layer_upload(self, **at: Any) -> dict[str, Any]:
        self._called("initiate_layer_upload", at)
        upload = f"upload-{len(self.calls)}"
        self.uploads[upload] = b""
        return {"uploadId": upload, "partSize": PART}

    def upload_layer_part(
        self,
        *,
        uploadId: str,
        partFirstByte: int,
        partLastByte: int,
        layerPartBlob: bytes,
        **at: Any,
    ) -> None:
        self._called("upload_layer_part", at)
        assert partFirstByte == len(self.uploads[uploadId])
        assert partLastByte - partFirstByte + 1 == len(layerPartBlob) <= PART
        self.uploads[uploadId] += layerPartBlob

    def complete_layer_upload(self, *, uploadId: str, layerDigests: list[str], **at: Any) -> None:
        self._called("complete_layer_upload", at)
        data = self.uploads.pop(uploadId)
        assert layerDigests == [_digest(data)]
        self.layers[_digest(data)] = data

    def put_image(
        self,
        *,
        imageManifest: str,
        imageManifestMediaType: str,
        imageDigest: str,
        imageTag: str | None = None,
        **at: Any,
    ) -> None:
        self._called("put_image", at)
        if imageTag is not None:
            assert imageTag not in self.tags, "tags are immutable"
            self.tags[imageTag] = imageDigest
        assert _digest(imageManifest.encode()) == imageDigest
        fields = json.loads(imageManifest)
        assert {layer["digest"] for layer in fields.get("layers", [])} <= set(self.layers)
        assert {child["digest"] for child in fields.get("manifests", [])} <= set(self.manifests)
        self.manifests[imageDigest] = (imageManifest, imageManifestMediaType)

    def _called(self, name: str, at: dict[str, Any]) -> None:
        assert (at["registryId"], at["repositoryName"]) == ("111122223333", "shop/serving")
        self.calls.append(name)

    def hold(self, *layers: bytes) -> str:
        """An image of these layers; its digest, 64 hex digits."""
        for data in layers:
            self.layers[_digest(data)] = data
        config, *rest = ({"digest": _digest(data), "size": len(data)} for data in layers)
        return self._keep({"schemaVersion": 2, "config": config, "layers": rest}, KIND)

    def hold_index(self, *children: str) -> str:
        """An index of images that are there."""
        return self._keep({"manifests": [{"digest": f"sha256:{child}"} for child in children]}, INDEX)

    def _keep(self, fields: dict[str, Any], kind: str) -> str:
        text = json.dumps(fields)
        self.manifests[_digest(text.encode())] = (text, kind)
        return _digest(text.encode()).partition(":")[2]

    @property
    def repository(self) -> Repository:
        return Repository(ecr=self, registry="111122223333", name="shop/serving")


@pytest.fixture
def source() -> Iterator[Registry]:
    """A registry whose layers a real server on loopback gives out."""
    registry = Registry(url="")

    class Layers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = registry.layers.get(self.path[1:])
            self.send_response(200 if data is not None else 404)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Layers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    registry.url = f"http://127.0.0.1:{server.server_port}"
    yield registry
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def target() -> Registry:
    return Registry(url="nowhere")


def _copy(source: Registry, target: Registry, digest: str) -> int:
    return copy_image(source.repository, target.repository, digest, report=lambda _: None)


def test_the_same_bytes_are_there_under_the_same_digest(source: Registry, target: Registry) -> None:
    """Configuration and every layer, in parts as ECR asks for them."""
    digest = source.hold(b"configuration", b"layer" * 999, b"x" * PART)

    sent = _copy(source, target, digest)

    assert target.manifests == source.manifests
    assert target.layers == source.layers
    assert sent == sum(map(len, source.layers.values()))


def test_an_image_that_is_there_costs_one_question(source: Registry, target: Registry) -> None:
    """And no byte."""
    digest = source.hold(b"configuration", b"layer")
    _copy(source, target, digest)
    target.calls.clear()

    assert _copy(source, target, digest) == 0
    assert target.calls == ["batch_get_image"]


def test_a_copy_has_a_tag_because_the_repository_deletes_what_has_none(
    source: Registry, target: Registry
) -> None:
    """A stage that a release was promoted to months ago must still be able to start instances."""
    index = source.hold_index(source.hold(b"one", b"x"))

    _copy(source, target, index)

    assert list(target.tags.values()) == [f"sha256:{index}"]


def test_an_image_that_is_there_without_a_tag_gets_one(source: Registry, target: Registry) -> None:
    """Whoever pushed it by its digest; no byte is sent again."""
    digest = source.hold(b"configuration", b"layer")
    target.manifests.update(source.manifests)
    target.layers.update(source.layers)

    assert _copy(source, target, digest) == 0
    assert list(target.tags.values()) == [f"sha256:{digest}"]


def test_a_layer_that_is_there_is_not_sent_again(source: Registry, target: Registry) -> None:
    """What an interrupted copy left counts, and so does a base image."""
    digest = source.hold(b"configuration", b"base" * 500, b"own")
    target.layers[_digest(b"base" * 500)] = b"base" * 500

    assert _copy(source, target, digest) == len(b"configuration") + len(b"own")


def test_a_layer_that_an_image_names_twice_is_sent_once(source: Registry, target: Registry) -> None:
    """Empty layers repeat."""
    digest = source.hold(b"configuration", b"same", b"same")

    assert _copy(source, target, digest) == len(b"configuration") + len(b"same")


def test_an_index_comes_with_its_images(source: Registry, target: Registry) -> None:
    """Each of them before the index that names it."""
    index = source.hold_index(source.hold(b"one", b"x"), source.hold(b"two", b"x"))

    _copy(source, target, index)

    assert target.manifests == source.manifests


def test_an_image_that_the_source_does_not_hold_is_refused(source: Registry, target: Registry) -> None:
    """By name, before anything is sent."""
    with pytest.raises(ImageAbsent, match="shop/serving") as refused:
        _copy(source, target, "ab" * 32)

    assert refused.value.exit_code == 2
    assert set(target.calls) == {"batch_get_image"}


def test_a_damaged_layer_is_never_completed(source: Registry, target: Registry) -> None:
    """Nor is the image put."""
    digest = source.hold(b"configuration", b"layer")
    source.layers[_digest(b"layer")] = b"another"

    with pytest.raises(LayerDamaged) as refused:
        _copy(source, target, digest)

    assert refused.value.exit_code == 3
    assert _digest(b"layer") not in target.layers
    assert target.manifests == {}


def test_a_manifest_of_another_digest_is_refused(source: Registry, target: Registry) -> None:
    """The lock's digest decides, not what the registry says."""
    digest = source.hold(b"configuration", b"layer")
    source.manifests[f"sha256:{digest}"] = ('{"config": {}, "layers": []}', KIND)

    with pytest.raises(LayerDamaged):
        _copy(source, target, digest)

    assert target.manifests == {}


def test_a_link_that_does_not_answer_is_told_in_words(source: Registry, target: Registry) -> None:
    """Not as a traceback of the HTTP client."""
    digest = source.hold(b"configuration", b"layer")
    del source.layers[_digest(b"layer")]

    with pytest.raises(LayerUnreachable, match="404") as refused:
        _copy(source, target, digest)

    assert refused.value.exit_code == 1


@given(st.lists(st.binary(max_size=50), max_size=20), st.integers(1, 40))
def test_parts_are_the_same_bytes_in_the_size_that_was_asked_for(chunks: list[bytes], size: int) -> None:
    """All but the last one."""
    parts = list(_parts(iter(chunks), size))

    assert b"".join(parts) == b"".join(chunks)
    assert all(len(part) == size for part in parts[:-1])
    assert all(0 < len(part) <= size for part in parts)
