"""The bill of materials of an artifact: CycloneDX 1.6, as JSON.

The model is the subject, with the digest of its manifest and of every file; below it the checkpoint
that it was made from, the packages that made it and the container they ran in. Spelt by hand, since
it is a page of JSON; the tests hold it against the schema that the format's own library ships.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from artifact.canonical import encode
from artifact.manifest import File, Manifest
from artifact.verify import VerifiedArtifact
from compile.packages import Package

_MODEL = "model"
_SOURCE = "source"
_IMAGE = "image"


def sbom(
    artifact: VerifiedArtifact,
    packages: Sequence[Package],
    *,
    tool_version: str,
    image: str | None = None,
    when: datetime | None = None,
) -> bytes:
    """The document of ``artifact``.

    Args:
        packages: that built it.
        image: the container that it was compiled in, ``NAME@sha256:…``.
        when: it was compiled; in UTC.
    """
    components = [_source(artifact.manifest), *(_library(package) for package in packages)]
    if image is not None:
        components.append(_container(image))
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            **({} if when is None else {"timestamp": f"{when:%Y-%m-%dT%H:%M:%SZ}"}),
            "tools": {"components": [{"type": "application", "name": "traceship", "version": tool_version}]},
            "component": _model(artifact),
        },
        "components": components,
        "dependencies": [
            {"ref": _MODEL, "dependsOn": [component["bom-ref"] for component in components]},
        ],
    }
    # an equal document has an equal serial number
    serial = uuid.uuid5(uuid.NAMESPACE_URL, encode(document).decode())
    return encode({**document, "serialNumber": serial.urn})


def _model(artifact: VerifiedArtifact) -> dict[str, Any]:
    manifest = artifact.manifest
    return {
        "bom-ref": _MODEL,
        "type": "machine-learning-model",
        "name": f"{manifest.architecture} for {manifest.task} on {manifest.requires.target}",
        "version": f"sha256:{artifact.digest}",
        "hashes": _hashes(artifact.digest),
        "modelCard": {
            "modelParameters": {
                "task": manifest.task,
                "architectureFamily": manifest.architecture,
                "inputs": [{"format": _tensor(t.name, t.dtype, t.shape)} for t in manifest.inputs],
                "outputs": [{"format": _tensor(t.name, t.dtype, t.shape)} for t in manifest.outputs],
            }
        },
        "components": [_file(file, "artifact") for file in manifest.files],
    }


def _source(manifest: Manifest) -> dict[str, Any]:
    source = manifest.source
    found = {
        "bom-ref": _SOURCE,
        "type": "machine-learning-model",
        "name": source.id,
        "components": [_file(file, _SOURCE) for file in source.files],
    }
    if source.revision is not None:
        found["version"] = source.revision
    if source.id.startswith("pypi:"):
        found["purl"] = Package(name=source.id.removeprefix("pypi:"), version=source.revision or "").purl
    if source.id.startswith("hub:"):
        version = "" if source.revision is None else f"@{quote(source.revision, safe='')}"
        found["purl"] = f"pkg:huggingface/{quote(source.id.removeprefix('hub:'))}{version}"
    return found


def _file(file: File, owner: str) -> dict[str, Any]:
    return {
        "bom-ref": f"{owner}/{file.path}",
        "type": "file",
        "name": file.path,
        "hashes": _hashes(file.sha256),
    }


def _library(package: Package) -> dict[str, Any]:
    return {
        "bom-ref": package.purl,
        "type": "library",
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
    }


def _container(image: str) -> dict[str, Any]:
    name, _, digest = image.rpartition("@")
    hexadecimal = digest.removeprefix("sha256:")
    return {
        "bom-ref": _IMAGE,
        "type": "container",
        "name": name or "compile image",
        "version": digest,
        "hashes": _hashes(hexadecimal),
    }


def _hashes(sha256: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": sha256}]


def _tensor(name: str, dtype: str, shape: Sequence[str | int]) -> str:
    return f"{name} {dtype} ({', '.join(map(str, shape))})"
