"""What ``traceship ship`` does: compile, verify, publish, lock. Run it again and it goes on.

A finished compile is kept under a key of everything that could change it, so that a rerun
after an interruption starts at the upload; blobs that S3 already has are not sent again.
"""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifact.manifest import Manifest
from artifact.release import (
    PLACEHOLDER_AMI,
    PLACEHOLDER_DIGEST,
    Ami,
    ArtifactFacts,
    Image,
    Location,
    ReleaseLock,
    Throughput,
)
from artifact.verify import verify
from cli.console import step, talk
from cli.failure import SubprocessFailed
from cli.project import Project
from infra.names import artifacts_bucket, repository
from settings.model import Settings

if TYPE_CHECKING:
    from compile.publish import Published

FETCH_BYTES_PER_SECOND = 25e6
"""Allowance for reading an artifact from S3 through a gateway endpoint; not measured."""


@dataclass(frozen=True)
class Shipped:
    """A release and the lock that names it."""

    lock: ReleaseLock
    published: Published


def publish_artifact(project: Project, root: Path) -> Shipped:
    """Upload the artifact at ``root``, then write the lock that names it.

    Raises:
        What ``compile.publish.publish`` raises; the lock is untouched then.
    """
    from compile.publish import Destination, publish

    to = Destination(
        account=project.account,
        region=project.region,
        bucket=artifacts_bucket(project.settings.project.name, project.account, project.region),
        name=project.settings.project.name,
    )
    with step(f"publish to s3://{to.bucket}"):
        published = publish(root, to, project.client("s3"), report=lambda line: talk(f"  {line}"))
    location = Location(account=to.account, region=to.region, bucket=to.bucket, prefix=published.prefix)
    lock = _lock(project.settings, verify(root).manifest, root, published, location)
    project.write_lock(lock)
    return Shipped(lock=lock, published=published)


def _lock(
    settings: Settings, manifest: Manifest, root: Path, published: Published, location: Location
) -> ReleaseLock:
    speed = _speed(root)
    size = sum(file.size for file in manifest.files)
    return ReleaseLock(
        tool_version=version("traceship"),
        name=settings.project.name,
        digest=published.digest,
        location=location,
        artifact=ArtifactFacts(
            task=manifest.task,
            architecture=manifest.architecture,
            buckets=manifest.buckets,
            requires=manifest.requires,
            waivers=manifest.waivers,
            files_bytes=size,
            archive_bytes=published.archive_bytes,
        ),
        serving_image=_image(settings.serve.image, repository(settings.project.name, "serving")),
        compile_image=_image(settings.compile.image, repository(settings.project.name, "compile")),
        ami=_ami(settings),
        throughput=Throughput(
            per_second=float(speed["per_second"]), measured=speed["measured"], source=speed["source"]
        ),
        startup_seconds=math.ceil(speed["load_seconds"] + size / FETCH_BYTES_PER_SECOND),
    )


def _speed(root: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "compile.measure", str(root)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        talk(result.stderr)
        raise SubprocessFailed(
            program="python -m compile.measure",
            doing="measure the artifact's speed",
            code=result.returncode,
            fix="run `traceship verify` on the artifact, then ship again",
        )
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def _image(pinned: str | None, repository: str) -> Image:
    if pinned is None:
        return Image(repository=repository, digest=PLACEHOLDER_DIGEST, placeholder=True)
    name, _, digest = pinned.partition("@sha256:")
    return Image(repository=name, digest=digest, placeholder=False)


def _ami(settings: Settings) -> Ami:
    if settings.fleet is None or settings.fleet.ami is None:
        return Ami(id=PLACEHOLDER_AMI, placeholder=True)
    return Ami(id=settings.fleet.ami, placeholder=False)


def digest_of(parts: Any) -> str:
    """SHA-256 of plain JSON data, for keys of things kept on this machine."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
