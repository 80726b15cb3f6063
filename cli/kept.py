"""Work on an artifact that outlives a killed ship: its archive, its signatures, its measured speed.

Each lies in the state folder, with a record in the journal that says what it must be. It is taken
again only if it still is that; else it is made anew.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from artifact.failpoints import failpoint
from artifact.release import Throughput
from artifact.verify import VerifiedArtifact
from cli.journal import Journal
from compile.archive import Parcel, artifact_members, parcel_there, write_parcel
from compile.durable import sync_file, sync_folder, write_whole

ARCHIVES = "archives"
SIGNED = "signed"


@dataclass(frozen=True)
class Speed:
    """What was measured, or estimated, of an artifact. ``load_seconds``: from bytes to every graph loaded."""

    throughput: Throughput
    load_seconds: float


@dataclass(frozen=True)
class Packed:
    """An archive that was made once. ``checksum``: S3's of it."""

    size: int
    checksum: str | None


Measure = Callable[[Path], Speed]
Sign = Callable[[VerifiedArtifact], dict[str, bytes]]
"""Names of files that are published beside the manifest, and their bytes."""


@dataclass(frozen=True)
class Kept:
    """What is finished of one artifact's release. ``state`` is the project's state folder."""

    state: Path
    journal: Journal
    artifact: VerifiedArtifact

    def archive(self) -> Parcel:
        """model.tar.gz, written once."""
        path = self.state / ARCHIVES / f"{self.artifact.digest}.tar.gz"
        known = self.journal.outcome("package", self.artifact.digest)
        if known is not None and path.is_file():
            there = parcel_there(path)
            if there.checksum == known.get("checksum"):
                return there
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        with failpoint("archive.write"):
            made = write_parcel(artifact_members(self.artifact), partial)
        with failpoint("archive.rename"):
            _settle(partial, path)
        outcome = {"checksum": made.checksum, "bytes": made.size}
        self.journal.record("package", self.artifact.digest, outcome)
        return replace(made, path=path)

    def packed(self) -> Packed | None:
        """The archive if it was ever made here; the file may be gone."""
        known = self.journal.outcome("package", self.artifact.digest)
        return None if known is None else Packed(int(known["bytes"]), known.get("checksum"))

    def signed(self, sign: Sign, *, by: str) -> dict[str, bytes]:
        """The files that go beside the manifest: a signature is made once and then kept.

        Args:
            by: what would sign, so that another key signs anew.
        """
        folder = self.state / SIGNED / self.artifact.digest
        of = self._signing(by)
        known = self.journal.outcome("sign", of)
        if known is not None and (files := _read(folder, known)) is not None:
            return files
        with failpoint("sign.make"):
            files = sign(self.artifact)
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            with failpoint("sign.keep"):
                write_whole(folder / name, data)
        outcome = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        self.journal.record("sign", of, outcome)
        return files

    def was_signed(self, *, by: str) -> bool:
        """Whether this was ever signed here as ``by``."""
        return self.journal.outcome("sign", self._signing(by)) is not None

    def _signing(self, by: str) -> str:
        return f"{self.artifact.digest} by {by}"

    def speed(self, measure: Measure) -> Speed:
        """The figures of the lock, measured once."""
        known = self.journal.outcome("measure", self.artifact.digest)
        if known is not None:
            return Speed(throughput=Throughput(**known["throughput"]), load_seconds=known["load_seconds"])
        with failpoint("measure"):
            speed = measure(self.artifact.root)
        told = speed.throughput
        throughput = {"per_second": told.per_second, "measured": told.measured, "source": told.source}
        outcome = {"throughput": throughput, "load_seconds": speed.load_seconds}
        self.journal.record("measure", self.artifact.digest, outcome)
        return speed

    def finished(self) -> tuple[str, ...]:
        """Steps of this artifact that a ship has recorded, in their order."""
        records = (r for r in self.journal.records() if r["of"].startswith(self.artifact.digest))
        return tuple(dict.fromkeys(record["step"] for record in records))

    def drop(self) -> None:
        """Remove what only an unfinished release needs, of this and of abandoned ships."""
        with failpoint("ship.clean"):
            shutil.rmtree(self.state / ARCHIVES, ignore_errors=True)


def _settle(partial: Path, path: Path) -> None:
    """Give a written file its name; both survive a power cut."""
    sync_file(partial)
    partial.replace(path)
    sync_folder(path.parent)


def _read(folder: Path, known: dict[str, str]) -> dict[str, bytes] | None:
    """The files that ``known`` names, if all of them are still what was signed."""
    found = {}
    for name, sha256 in known.items():
        path = folder / name
        if not path.is_file() or hashlib.sha256(data := path.read_bytes()).hexdigest() != sha256:
            return None
        found[name] = data
    return found
