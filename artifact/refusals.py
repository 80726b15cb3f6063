"""Why an artifact is not trusted. Raised by verify.py, folder.py, listing.py and packed.py."""

from __future__ import annotations

from artifact.errors import ProofFailed, UsageError
from artifact.manifest import MANIFEST, SCHEMA


class NotAnArtifact(UsageError):
    """The path holds no artifact at all."""

    id = "not-an-artifact"

    def __init__(self, *, path: str, why: str) -> None:
        super().__init__(
            what=f"{path} is not an artifact",
            why=why,
            fix="give the folder that `traceship compile --out DIR` wrote, or its archive or release",
        )


class ArtifactChanged(ProofFailed):
    """A file is missing, added, replaced or changed since the artifact was made."""

    id = "artifact-changed"

    def __init__(self, *, file: str, why: str) -> None:
        super().__init__(
            what=f"{shown(file)} is not the file that was published",
            why=why,
            fix="fetch or compile the artifact again; do not edit it",
        )
        self.file = file


class AnotherArtifact(ProofFailed):
    """An artifact that agrees with itself and is still not the one that was asked for."""

    id = "another-artifact"

    def __init__(self, *, found: str, pinned: str) -> None:
        super().__init__(
            what="this is another artifact than the one that was asked for",
            why=f"the sha256 of its {MANIFEST} begins {found[:12]}, "
            f"the digest asked for begins {pinned[:12]}",
            fix="fetch the release of that digest; an older or another model never takes its place",
        )


class UnknownSchema(ProofFailed):
    """The manifest is of a version that this traceship does not know."""

    id = "unknown-schema"

    def __init__(self, *, found: str) -> None:
        super().__init__(
            what="the artifact's manifest cannot be read by this traceship",
            why=f"its schema is {found!r}, this version reads {SCHEMA!r}",
            fix="use the traceship version that made the artifact, or compile the model again",
        )


def shown(name: str) -> str:
    """A file name for people; one that could play with their terminal is quoted."""
    return name if name.isprintable() else ascii(name)
