"""Ships of a hand-made model to an S3 on loopback, each in a process that may be killed."""

from __future__ import annotations

import contextlib
import os
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from artifact import failpoints
from artifact.release import Throughput
from artifact.verify import VerifiedArtifact
from cli.alone import alone
from cli.compiling import Runner
from cli.kept import Speed
from cli.project import Project
from cli.shipping import Vouching, compile_artifact, publish_artifact
from compile.drafts import beside
from compile.package import install
from compile.request import CompiledArtifact, CompileRequest
from tests.compile.cache.world import HERE, Compiler
from tests.kit.folders import CONTENT

NAME = "ships"
SPEED = Speed(throughput=Throughput(per_second=12.5, measured=True, source="a test"), load_seconds=0.25)
SIGNATURES = {"manifest.dsse.json": b"a signature", "sbom.cdx.json": b"a list of packages"}
ACTED = "acted"
LARGE = bytes(range(256)) * 4096 * 18
"""Enough for a file to be sent in parts."""


@dataclass
class Yard:
    """One project and its bucket. ``work`` has a line for everything expensive that was finished."""

    root: Path
    s3: Any
    bucket: str
    session: Any
    fresh: bool = False
    large: bool = False
    work: Path = field(init=False)

    def __post_init__(self) -> None:
        self.work = self.root / "work"
        self.work.touch()

    def project(self) -> Project:
        project = Project(settings_path=self.root / "traceship.toml", stage=None)
        project.__dict__["_session"] = self.session  # loading botocore's models is most of a tiny ship
        return project

    def compile(self) -> Path:
        return compile_artifact(self.project(), runner=self._runner(), fresh=self.fresh).path

    def ship(self) -> None:
        """What the command does, with a compiler, a clock and a pen that are quick."""
        project = self.project()
        with alone(project.state, "traceship ship"):
            path = compile_artifact(project, runner=self._runner(), fresh=self.fresh).path
            publish_artifact(project, path, measure=self._measure, vouching=Vouching(None, self._sign))

    def in_a_process(self, *, fault: tuple[str, str, int] | None = None) -> int:
        """Ship in a forked process; how that ended: its exit code, negative for a signal."""
        child = os.fork()
        if child == 0:
            self._child(fault)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def start(self) -> int:
        """Ship in a forked process and return its id at once."""
        child = os.fork()
        if child == 0:
            self._child(None)
        return child

    def _child(self, fault: tuple[str, str, int] | None) -> NoReturn:
        code = 1
        try:
            with (self.root / "talk").open("a") as talk, contextlib.redirect_stderr(talk):
                if fault is not None:
                    failpoints.arm(fault[0], fault[1], nth=fault[2])
                try:
                    self.ship()
                    code = 0
                except Exception:
                    traceback.print_exc()
                if failpoints.acted():
                    self.note(ACTED)
        finally:
            os._exit(code)

    def note(self, line: str) -> None:
        with self.work.open("a") as file:
            file.write(f"{line}\n")

    def done(self) -> list[str]:
        return self.work.read_text().splitlines()

    def talk(self) -> str:
        return (self.root / "talk").read_text()

    def lock(self) -> bytes:
        return (self.root / "release.lock.json").read_bytes()

    def objects(self) -> dict[str, tuple[int, str]]:
        """Key to size and ETag of everything in the bucket."""
        found = self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return {entry["Key"]: (entry["Size"], entry["ETag"]) for entry in found}

    def uploads(self) -> dict[str, int]:
        """Key to the number of times that it was sent: the bucket keeps every version."""
        counted: dict[str, int] = {}
        for version in self.s3.list_object_versions(Bucket=self.bucket).get("Versions", []):
            counted[version["Key"]] = counted.get(version["Key"], 0) + 1
        return counted

    def leftovers(self) -> list[str]:
        """What a finished ship must not leave in its state folder."""
        state = self.root / ".traceship"
        drafts = [path for path in state.rglob("*") if path.name.endswith((".partial", ".docker"))]
        return sorted(str(path.relative_to(state)) for path in [*drafts, *state.glob("archives")])

    def _runner(self) -> Runner:
        return Runner(build=self._build, environment=HERE, name="local")

    def _build(self, request: CompileRequest) -> CompiledArtifact:
        with beside(request.out) as folder:
            staging = folder / "artifact"
            compiler = Compiler(answer=LARGE if self.large else CONTENT["golden.json"])
            made = compiler(replace(request, out=staging))
            install(staging, request.out, made.digest)
        self.note("compiled")
        return replace(made, path=request.out)

    def _measure(self, _root: Path) -> Speed:
        self.note("measured")
        return SPEED

    def _sign(self, _artifact: VerifiedArtifact) -> dict[str, bytes]:
        self.note("signed")
        return SIGNATURES


def make_yard(root: Path, model: Path, s3: Any, bucket: str, session: Any, *, large: bool = False) -> Yard:
    """A project in ``root`` with an empty bucket; ``model`` is shared, so that all yards ship the same."""
    root.mkdir()
    text = f'[project]\nname = "{NAME}"\n[model]\nsource = "{model}"\n[compile]\nbuckets = ["1x32"]\n'
    (root / "traceship.toml").write_text(text)
    empty(s3, bucket)
    return Yard(root=root, s3=s3, bucket=bucket, session=session, large=large)


def empty(s3: Any, bucket: str) -> None:
    """Remove every version of everything, and what was never finished."""
    for upload in s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
        s3.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    found = s3.list_object_versions(Bucket=bucket)
    for entry in [*found.get("Versions", []), *found.get("DeleteMarkers", [])]:
        s3.delete_object(Bucket=bucket, Key=entry["Key"], VersionId=entry["VersionId"])
