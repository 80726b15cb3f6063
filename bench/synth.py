"""``python -m bench.synth``: what the policies cost a `cdk synth` of all stacks.

The same app twice, by the real CDK CLI, with all policies (two cdk-nag packs, CloudFormation's own
validation, our rules) and with none; every figure is taken in this run, the rounds interleaved, the
best of each counts. Seconds on the clock, and of processor time, which says more on a busy machine.
Ends with 1 where the policies cost more than GOAL.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_EXAMPLE = _ROOT / "examples/inf1/traceship.toml"
GOAL = 1.5

_APP = """
import sys
from pathlib import Path
from infra.entry import use_pinned_node
use_pinned_node()
import aws_cdk as cdk
from infra.app import Service, add_stacks, build
from infra.lock import read_lock
from settings.load import load
example = Path(sys.argv[1])
settings, lock = load(example, stage=None), read_lock(example.parent / "release.lock.json")
app = cdk.App()
if sys.argv[2] == "policies":
    from infra.policy import synthesise
    build(app, [Service(settings, lock)])
    synthesise(app, [settings])
else:
    add_stacks(app, [Service(settings, lock)])
    app.synth()
"""
_OWN_VALIDATION = ("@aws-cdk/core:validateAgainstDefaultRules", "@aws-cdk/core:annotationsInValidationReport")


@dataclass(frozen=True)
class Spent:
    """Seconds of one synthesis. ``stacks``: templates that it wrote."""

    clock: float
    processor: float
    stacks: int


def _synth(folder: Path, kind: str) -> Spent:
    script, out = folder / "app.py", folder / "out"
    script.write_text(_APP)
    context = json.loads((_ROOT / "cdk.json").read_text())["context"]
    if kind == "none":
        context.update(dict.fromkeys(_OWN_VALIDATION, False))
    command = f"{sys.executable} {script} {_EXAMPLE} {kind}"
    (folder / "cdk.json").write_text(json.dumps({"app": command, "context": context}))
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(_ROOT),
        "CDK_DISABLE_CLI_TELEMETRY": "true",
        "AWS_EC2_METADATA_DISABLED": "true",
        "CI": "true",
    }
    cdk = [str(_ROOT / "node_modules/.bin/cdk"), "synth", "--quiet", "--no-notices", "--output", str(out)]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    result = subprocess.run(cdk, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    clock, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if result.returncode != 0:
        raise SystemExit(result.stderr)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(clock, spent, len(list(out.glob("*.template.json"))))


def main() -> int:
    """Run and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    runs: dict[str, list[Spent]] = {"none": [], "policies": []}
    for _ in range(rounds):
        for kind, found in runs.items():
            with tempfile.TemporaryDirectory() as folder:
                found.append(_synth(Path(folder), kind))
    stacks = {run.stacks for found in runs.values() for run in found}
    if len(stacks) != 1:
        raise SystemExit(f"the runs wrote {sorted(stacks)} stacks: nothing to compare")
    best = {
        kind: (min(run.clock for run in found), min(run.processor for run in found))
        for kind, found in runs.items()
    }
    for kind, (clock, processor) in best.items():
        print(f"{kind:10}{clock:8.2f} s{processor:8.2f} s of processor, {stacks.copy().pop()} stacks")
    ratios = [with_ / without for with_, without in zip(best["policies"], best["none"])]
    print(f"ratio     {ratios[0]:8.2f}  {ratios[1]:8.2f}, at most {GOAL} on the clock")
    return int(ratios[0] > GOAL)


if __name__ == "__main__":
    sys.exit(main())
