"""Scripts as the documents of Image Builder's components.

Source: Image Builder user guide, "Use the AWSTOE component document framework": phases build and validate
run on the machine that is built, test on one of the finished snapshot; a step fails with its script.
"""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
MAX_BYTES = 16_000
"""Of a document that a template may hold. Source: CloudFormation, AWS::ImageBuilder::Component, Data."""


@dataclass(frozen=True)
class Phase:
    """One script in one phase. ``minutes``: after which it has failed."""

    name: str
    script: str
    minutes: int

    def text(self, constants: Mapping[str, str]) -> str:
        """The phase as YAML; tokens in the constants resolve at deploy time."""
        head = [
            f"  - name: {self.name}",
            "    steps:",
            f"      - name: {self.script.removesuffix('.sh').capitalize()}",
            "        action: ExecuteBash",
            "        onFailure: Abort",
            "        maxAttempts: 1",
            f"        timeoutSeconds: {self.minutes * 60}",
            "        inputs:",
            "          commands:",
            "            - |",
        ]
        return "\n".join(head) + "\n" + textwrap.indent(self.program(constants), " " * 14)

    def program(self, constants: Mapping[str, str]) -> str:
        """The script with its constants above it."""
        exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in constants.items())
        return exports + (FOLDER / self.script).read_text(encoding="utf-8")


BUILD = (Phase("build", "build.sh", 60), Phase("validate", "validate.sh", 5))
TEST = (Phase("test", "test.sh", 45),)


def document(name: str, phases: tuple[Phase, ...], constants: Mapping[str, str]) -> str:
    """A component's document."""
    head = f"name: {name}\nschemaVersion: 1.0\nphases:\n"
    return head + "".join(phase.text(constants) for phase in phases)
