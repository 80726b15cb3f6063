"""The whole path on one machine: model in, answers from an endpoint that the CDK deployed.

Every step calls what the command of that name calls; nothing here is a short cut. The demo has
a project of its own under ``.traceship/demo`` with its own settings, lock and local AWS.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifact.errors import Conflict, ProofFailed
from artifact.golden import largest_difference
from artifact.interpreter import module_command
from artifact.release import ReleaseLock
from cli.commands.init import settings_text
from cli.console import step, talk
from cli.deploying import deploy
from cli.failure import SubprocessFailed
from cli.looking import look
from cli.project import Project
from cli.shipping import compile_artifact, publish_artifact
from fleet.invoke import invoke_endpoint, invoke_server
from infra.names import endpoint_name, stack_names

if TYPE_CHECKING:
    from fleet.status import Status
    from local_aws.conformance import Inventory
    from local_aws.launcher import LocalAws

PAIRS = (
    ("A man is eating a plate of pasta.", "Somebody is having a meal."),
    ("The endpoint answers within a second.", "Requests to the service are served quickly."),
    ("The cat sleeps on the warm roof.", "Quarterly revenue rose by eight percent."),
)
"""Sentence pairs: two that mean the same, one that does not."""


MARK = ".traceship-demo"
"""An empty file that marks a folder as a demo's, so that the next demo may remove it."""


class NotADemo(Conflict):
    """The demo's folder holds something that no demo put there."""

    id = "not-a-demo"

    def __init__(self, *, folder: Path) -> None:
        super().__init__(
            what=f"{folder} cannot be the demo's folder",
            why="it is not empty and no demo made it, and a demo begins by removing the one before",
            fix="give an empty or new folder with `traceship demo --folder PATH`",
        )


class NotAsAsked(ProofFailed):
    """What was deployed is not what the templates ask for."""

    id = "not-as-asked"

    def __init__(self, *, problems: tuple[str, ...]) -> None:
        super().__init__(
            what=f"{len(problems)} resources are not what the templates ask for",
            why="; ".join(problems),
            fix="run the demo with --keep and look at those resources",
        )


@dataclass(frozen=True)
class Demonstration:
    """What the demo found. ``largest_difference`` is to the untraced model, over all numbers."""

    digest: str
    release: str
    seconds: float
    similarities: tuple[float, ...]
    largest_difference: float
    replicas: list[dict[str, Any]]
    inventory: dict[str, int]
    not_compared: list[str]
    status: Status


def demonstrate(home: Path, *, keep: bool) -> Demonstration:
    """Run every step and return what was found. Stops everything it started unless ``keep``.

    Args:
        home: folder of the demo's project; whatever an earlier demo left in it is removed.

    Raises:
        Whatever a step raises; what was started is stopped first.
    """
    from local_aws import launcher

    started = time.monotonic()
    state = home / "local"
    _clear(home, state)
    (home / "traceship.toml").write_text(settings_text(name="demo", target="cpu", destroyable=True))
    project = Project(settings_path=home / "traceship.toml", stage=None)
    try:
        with step("[1/8] start the AWS on this machine"):
            local = launcher.up(state)
            local.apply_to(os.environ)
            talk(f"  {local.endpoint}, account {project.account}, state in {_shown(state)}")
        found = _run(project, local, started)
    except BaseException:
        launcher.down(state)
        raise
    if keep:
        talk(f'left running; look around with: eval "$(traceship local env --state {_shown(state)})"')
        talk(f"stop it with: traceship local down --state {_shown(state)}")
    else:
        with step("stop everything that was started"):
            launcher.down(state)
    return found


def _clear(home: Path, state: Path) -> None:
    """Remove an earlier demo, and never a folder that is anything else."""
    from local_aws import launcher

    if home.exists() and any(home.iterdir()):
        if not (home / MARK).exists():
            raise NotADemo(folder=home)
        launcher.down(state)
        shutil.rmtree(home)
    home.mkdir(parents=True, exist_ok=True)
    (home / MARK).touch()


def _run(project: Project, local: LocalAws, started: float) -> Demonstration:
    with step(
        f"[2/8] compile {project.settings.model.source} for cpu and prove it against the untraced model"
    ):
        root = compile_artifact(project).path
    with step("[3/8] bootstrap the CDK and deploy the stacks that need no release"):
        deploy(project, foundation=True, bootstrap=True, quiet=True)
    with step("[4/8] publish the artifact and write the lock"):
        lock = publish_artifact(project, root).lock
        talk(f"  release s3://{lock.location.bucket}/{lock.location.prefix}")
    with step("[5/8] deploy the fleet and the endpoint"):
        deploy(project, quiet=True)
    with step("[6/8] look at what runs"):
        replicas = _replicas(local)
        status = look(project)
        for row in replicas:
            talk(f"  {row['kind']} {row['id']}: {row['state']} at {row['address']} (pid {row['pid']})")
    with step("[7/8] ask the endpoint, the instance and the untraced model the same"):
        similarities, difference = _compare(project, replicas)
    with step("[8/8] compare every resource of the templates with what exists"):
        inventory = _inventory(project, local)
    _next_steps(project)
    seconds = time.monotonic() - started
    talk(f"the whole path took {seconds:.0f} s")
    return Demonstration(
        digest=lock.digest,
        release=_release(lock),
        seconds=round(seconds, 1),
        similarities=similarities,
        largest_difference=difference,
        replicas=replicas,
        inventory=dict(Counter(str(row.verdict) for row in inventory.rows)),
        not_compared=[f"{row.type_name} {row.logical_id}" for row in inventory.unsupported],
        status=status,
    )


def _compare(project: Project, replicas: list[dict[str, Any]]) -> tuple[tuple[float, ...], float]:
    texts = [text for pair in PAIRS for text in pair]
    request = {"inputs": texts}
    runtime = project.client("sagemaker-runtime")
    answers = invoke_endpoint(runtime, endpoint=endpoint_name(project.settings), request=request)
    expected = _untraced(project, texts)
    difference = largest_difference(expected, answers)
    for row in replicas:
        difference = max(difference, largest_difference(expected, invoke_server(row["address"], request)))
    similarities = tuple(_dot(answers[2 * n], answers[2 * n + 1]) for n in range(len(PAIRS)))
    for pair, similarity in zip(PAIRS, similarities):
        talk(f"  {similarity:+.3f}  {pair[0]} / {pair[1]}")
    talk(f"  largest difference to the untraced model, endpoint and instances: {difference:.1e}")
    return similarities, difference


def _untraced(project: Project, texts: list[str]) -> Any:
    from compile.source import resolve

    model = project.settings.model
    folder = str(resolve(model.source, revision=model.revision).folder)
    command = module_command("compile.reference", folder, model.pooling, str(model.normalize).lower())
    result = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, check=False)
    if result.returncode != 0:
        talk(result.stderr)
        raise SubprocessFailed(
            program="python -m compile.reference",
            doing="ask the untraced model",
            code=result.returncode,
            fix="run `make setup`, then the demo again",
        )
    return json.loads(result.stdout)


def _replicas(local: LocalAws) -> list[dict[str, Any]]:
    """The server processes behind the emulated AWS, as it lists them itself."""
    from local_aws.names import INTERNAL_PREFIX

    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"{local.endpoint}{INTERNAL_PREFIX}replicas", timeout=10) as answer:
        rows: list[dict[str, Any]] = json.load(answer)
        return rows


def _inventory(project: Project, local: LocalAws) -> Inventory:
    from local_aws.conformance import inventory

    names = stack_names([project.settings])
    folder = project.state / "cdk.out"
    templates = {name: json.loads((folder / f"{name}.template.json").read_text()) for name in names}
    found = inventory(local, names, templates)
    counts = Counter(str(row.verdict) for row in found.rows)
    talk("  " + ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())))
    for row in found.unsupported:
        talk(f"  not compared: {row.type_name} {row.logical_id} ({row.detail})")
    if found.problems:
        raise NotAsAsked(problems=found.problems)
    return found


def _next_steps(project: Project) -> None:
    place = _shown(project.root)
    talk("what to look at next:")
    talk(f"  {place}/release.lock.json     what runs: people commit this file")
    talk(f"  {place}/.traceship/cdk.out    the templates that were deployed")
    talk("  traceship demo --keep         the same, left running for `status`, `invoke` and your own calls")
    talk("  docs/first-deploy.md          the same on an AWS account with Inf1")


def _release(lock: ReleaseLock) -> str:
    return f"s3://{lock.location.bucket}/{lock.location.prefix}"


def _dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other))


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
