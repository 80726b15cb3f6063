"""Where a release lies in S3, and release.lock.json as types.

``compile/publish.py`` writes a release, ``inference_code/fetch.py`` reads it, ``infra`` takes
everything it needs from the lock and looks nothing up.
"""

from __future__ import annotations

import base64
import binascii
from typing import Literal

import msgspec

from artifact.envelope import EnvelopeUnreadable
from artifact.manifest import Bucket, NonNegative, Positive, Record, Requires, Sha256, Task, Waiver

SCHEMA: Literal["traceship.lock/1"] = "traceship.lock/1"
LOCK_FILE = "release.lock.json"
ARCHIVE = "model.tar.gz"
SIGNATURE_FILE = "manifest.dsse.json"
PROVENANCE_FILE = "provenance.json"
SIGNED_PROVENANCE_FILE = "provenance.dsse.json"
SBOM_FILE = "sbom.cdx.json"
"""Beside the manifest of a release; what a key signed lies in an envelope."""

PLACEHOLDER_DIGEST = "0" * 64
PLACEHOLDER_AMI = "ami-00000000000000000"


def blob_key(sha256: str) -> str:
    """S3 key of a file's bytes; each file is stored once whatever release names it."""
    return f"blobs/sha256/{sha256}"


def release_prefix(name: str, digest: str) -> str:
    """S3 prefix of a release, without a slash at the end."""
    return f"releases/{name}/{digest}"


def manifest_key(name: str, digest: str) -> str:
    """S3 key that exists iff the release exists; written last."""
    return f"{release_prefix(name, digest)}/manifest.json"


def archive_key(name: str, digest: str) -> str:
    """S3 key of the archive that SageMaker unpacks."""
    return f"{release_prefix(name, digest)}/{ARCHIVE}"


class Location(Record, frozen=True, kw_only=True):
    """Where the release was published. ``account`` is checked on every S3 call."""

    account: str
    region: str
    bucket: str
    prefix: str


class Device(Record, frozen=True, kw_only=True):
    """What one copy takes of the Inferentia device: NeuronCores, and bytes of all its buckets."""

    cores: Positive
    bytes: Positive


class ArtifactFacts(Record, frozen=True, kw_only=True):
    """What synth needs of the manifest. Sizes in bytes.

    ``blobs``: digests of the files, sorted, each once, so that a role can be given these and no
    others; ``device`` for inf1 only. Neither is in locks from before, which no fleet takes
    (docs/decisions/0021-exact-keys.md).
    """

    task: Task
    architecture: str
    buckets: tuple[Bucket, ...]
    requires: Requires
    waivers: tuple[Waiver, ...]
    files_bytes: Positive
    archive_bytes: Positive
    blobs: tuple[Sha256, ...] | msgspec.UnsetType = msgspec.UNSET
    device: Device | msgspec.UnsetType = msgspec.UNSET


class Image(Record, frozen=True, kw_only=True):
    """A container image by digest. ``placeholder``: nobody looked it up; no real deploy."""

    repository: str
    digest: Sha256
    placeholder: bool


class Ami(Record, frozen=True, kw_only=True):
    """The machine image by id. ``placeholder``: nobody looked it up; no real deploy."""

    id: str
    placeholder: bool


class Throughput(Record, frozen=True, kw_only=True):
    """Requests per second of one replica, and where the figure comes from."""

    per_second: float
    measured: bool
    source: str


class Signed(Record, frozen=True, kw_only=True):
    """Who vouches for the manifest: the key's id, and the envelope in base64.

    The envelope is here, and from here in the template, so that no container needs to fetch one and
    nobody who can write the bucket can take it away (docs/decisions/0011-signatures.md).
    """

    key: Sha256
    envelope: str

    @property
    def data(self) -> bytes:
        """The envelope's own bytes.

        Raises:
            EnvelopeUnreadable: they are not spelt in base64.
        """
        try:
            return base64.b64decode(self.envelope, validate=True)
        except (binascii.Error, ValueError):
            raise EnvelopeUnreadable(why="the lock does not hold it in base64") from None


class ReleaseLock(Record, frozen=True, kw_only=True):
    """release.lock.json: what runs. Committed to git, written by ``traceship ship``."""

    schema: Literal["traceship.lock/1"] = SCHEMA
    tool_version: str
    name: str
    digest: Sha256
    location: Location
    artifact: ArtifactFacts
    serving_image: Image
    compile_image: Image
    ami: Ami
    throughput: Throughput
    startup_seconds: NonNegative
    signed: Signed | msgspec.UnsetType = msgspec.UNSET
