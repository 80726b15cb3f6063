"""The real CDK CLI, run from this checkout's pinned copies of Node and aws-cdk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from artifact.errors import TraceshipError
from cli.console import talk
from cli.failure import SubprocessFailed
from cli.project import Project

CHECKOUT = Path(__file__).resolve().parent.parent
_CLI = CHECKOUT / "node_modules/aws-cdk/bin/cdk"


class CdkMissing(TraceshipError):
    """The CDK CLI is not installed in this checkout."""

    id = "cdk-missing"

    def __init__(self) -> None:
        super().__init__(
            what="the CDK CLI is not installed in this checkout",
            why="node_modules/aws-cdk is not there",
            fix="run `make setup`",
        )


def node() -> Path:
    """The Node.js that the set-up installed with the Python packages."""
    return Path(sys.prefix) / "bin/node"


@dataclass(frozen=True)
class Cdk:
    """Commands on one app: the settings file, stage and service it synthesises, and where output goes."""

    settings: Path
    stage: str | None
    service: str | None
    out: Path
    quiet: bool = False
    """Write what the CLI prints to ``cdk.log`` beside ``out`` and show it only when it fails."""

    @classmethod
    def of(cls, project: Project, *, quiet: bool = False) -> Cdk:
        """The app of a project, or of the one service of it that was named."""
        stage = "" if project.stage is None else f"@{project.stage}"
        out = project.state / f"cdk.out{stage}"
        return cls(project.settings_path, project.stage, project.service, out=out, quiet=quiet)

    @property
    def log(self) -> Path:
        return self.out.parent / "cdk.log"

    def synth(self, *, foundation: bool) -> None:
        """Synthesise all stacks into ``out``; the policies run here and fail it."""
        context = ["-c", f"settings={self.settings.resolve()}"]
        context += ["-c", f"stage={self.stage}"] if self.stage is not None else []
        context += ["-c", f"service={self.service}"] if self.service is not None else []
        context += ["-c", "foundation=true"] if foundation else []
        self._run(["synth", "--quiet", "--output", str(self.out), *context], doing="synthesise the stacks")

    def bootstrap(self, account: str, region: str) -> None:
        """Create or update the CDKToolkit stack of an account and region."""
        self._run(
            ["bootstrap", f"aws://{account}/{region}", "--app", str(self.out)], doing="bootstrap the CDK"
        )

    def deploy(
        self, stacks: list[str], outputs: Path, *, import_existing: bool = False
    ) -> dict[str, dict[str, str]]:
        """Deploy ``stacks`` of the assembly and return their outputs by stack.

        ``import_existing``: take resources that are there under a name of the template into the stack.
        """
        outputs.unlink(missing_ok=True)
        arguments = ["deploy", *stacks, "--require-approval", "never", "--outputs-file", str(outputs)]
        arguments += ["--import-existing-resources"] if import_existing else []
        self._run([*arguments, "--app", str(self.out), "--progress", "events"], doing="deploy the stacks")
        return json.loads(outputs.read_text()) if outputs.exists() else {}

    def _run(self, arguments: list[str], *, doing: str) -> None:
        if not _CLI.exists():
            raise CdkMissing
        command = [str(node()), str(_CLI), *arguments, "--no-notices"]
        code = self._quietly(command) if self.quiet else _loudly(command)
        if code != 0:
            shown = f"cdk {arguments[0]}"
            raise SubprocessFailed(
                program=shown,
                doing=doing,
                code=code,
                fix="read the CLI's lines above, correct what they name, then run again",
            )

    def _quietly(self, command: list[str]) -> int:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a+", encoding="utf-8") as log:
            begin = log.seek(0, os.SEEK_END)
            code = subprocess.run(
                command, cwd=CHECKOUT, env=_environment(), stdout=log, stderr=subprocess.STDOUT, check=False
            ).returncode
            if code != 0:
                log.seek(begin)
                talk(log.read())
        return code


def _loudly(command: list[str]) -> int:
    # stdout of the CLI is talk, not our data.
    return subprocess.run(
        command, cwd=CHECKOUT, env=_environment(), stdout=sys.stderr, check=False
    ).returncode


def _environment() -> dict[str, str]:
    environment = dict(os.environ)
    environment["PATH"] = f"{node().parent}{os.pathsep}{environment.get('PATH', '')}"
    environment.setdefault("CDK_DISABLE_CLI_TELEMETRY", "true")
    environment.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "1")
    return environment
