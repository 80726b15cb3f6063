"""A small project on a local AWS of its own: two real releases, prepared assemblies, the real CDK CLI."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from artifact.release import ReleaseLock, Throughput
from cli.kept import Speed
from cli.project import Project
from cli.shipping import publish_artifact
from infra.app import Service, add_stacks
from infra.entry import use_pinned_node
from infra.names import stack_names
from local_aws import names
from local_aws.conformance import Inventory, inventory
from local_aws.conformance.census import Census, census
from local_aws.launcher import CHECKOUT, LocalAws
from settings.model import Settings
from tests.infra.worlds import make_app, settings_of
from tests.kit.command import Answer, traceship
from tests.kit.handmade import Recipe, build, expected_answer

NAME = "life"
TEXT = "w1 w2 w3"
BASE: dict[str, Any] = {
    "project": {"name": NAME, "retain_data": False},
    "fleet": {"instance_types": ["c5.large"], "min_size": 1, "max_size": 2},
    "endpoint": {"instance_type": "ml.c5.large", "min_count": 1, "max_count": 2},
    "tags": {"stage": "one"},
}
RECIPES = {"first": Recipe(), "second": Recipe(pooling="none")}
"""Releases by name; their answers to ``TEXT`` differ."""


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """How one run of the CDK CLI ended."""

    code: int
    output: str


@dataclass
class World:
    """The project's folder, the AWS it is deployed to, and what is prepared for it."""

    folder: Path
    aws: LocalAws
    locks: dict[str, ReleaseLock] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        """What every assembly begins with."""
        return settings_of(BASE)

    @property
    def stacks(self) -> tuple[str, ...]:
        """Names of all stacks, in the order in which they deploy."""
        return stack_names([self.settings])

    def roles(self) -> dict[str, str]:
        """Role by name of its stack."""
        return {stack: stack.removeprefix(f"{NAME}-") for stack in self.stacks}

    def synthesise(
        self, assembly: str, settings: Settings, release: str | None, *, foundation: bool = False
    ) -> None:
        """Prepare an assembly of this name; the policies have tests of their own and are left out."""
        use_pinned_node()
        app = make_app(self.folder / assembly)
        lock = None if release is None else self.locks[release]
        add_stacks(app, [Service(settings, lock)], foundation=foundation)
        app.synth()

    def templates(self, assembly: str, stacks: tuple[str, ...] | None = None) -> dict[str, dict[str, Any]]:
        """Templates of an assembly by stack."""
        files = {name: self.folder / assembly / f"{name}.template.json" for name in stacks or self.stacks}
        return {name: json.loads(file.read_text()) for name, file in files.items()}

    def cdk(self, *arguments: str) -> Deployment:
        """Run the CDK CLI of the checkout."""
        environment = dict(os.environ)
        self.aws.apply_to(environment)
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        done = subprocess.run(
            [str(CHECKOUT / "node_modules/.bin/cdk"), *arguments, "--no-notices"],
            cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return Deployment(code=done.returncode, output=done.stdout + done.stderr)

    def deploy(self, assembly: str, *stacks: str, force: bool = False) -> Deployment:
        """Deploy the named stacks alone, or all of them."""
        chosen = [*stacks, "--exclusively"] if stacks else ["--all", "--concurrency", "2"]
        more = ["--force"] if force else []
        where = str(self.folder / assembly)
        return self.cdk("deploy", *chosen, *more, "--require-approval", "never", "--app", where)

    def bootstrap(self, assembly: str) -> None:
        """Prepare the account for the CDK."""
        where = f"aws://{names.ACCOUNT}/{names.REGION}"
        done = self.cdk("bootstrap", where, "--app", str(self.folder / assembly))
        assert done.code == 0, done.output

    def publish(self, release: str) -> None:
        """Make a release's artifact, publish it and keep its lock."""
        root = build(self.folder / release, RECIPES[release]).root
        project = Project(settings_path=self.folder / "traceship.toml", stage=None)
        speed = Speed(
            throughput=Throughput(per_second=50.0, measured=False, source="a test"), load_seconds=1.0
        )
        with self.environment():
            self.locks[release] = publish_artifact(project, root, measure=lambda _: speed).lock

    def command(self, *arguments: str | Path) -> Answer:
        """``traceship`` on the project's settings."""
        settings = ("--settings", self.folder / "traceship.toml")
        return traceship(*settings, *arguments, cwd=self.folder, env=self.aws.environment())

    @contextmanager
    def environment(self) -> Iterator[None]:
        """This process's own variables point at the local AWS meanwhile."""
        before = dict(os.environ)
        self.aws.apply_to(os.environ)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)

    def census(self) -> Census:
        return census(self.aws)

    def compare(self, assembly: str) -> Inventory:
        """All stacks beside the templates of an assembly."""
        return inventory(self.aws, self.stacks, self.templates(assembly))

    def fail(self, *faults: Mapping[str, Any]) -> None:
        """From now on these calls fail, and no others (local_aws/extension/faults.py)."""
        self._internal(names.FAULTS, json.dumps(faults).encode())

    def faults(self) -> list[dict[str, Any]]:
        """The faults with how often something ran into them."""
        found: list[dict[str, Any]] = self._internal(names.FAULTS)
        return found

    def replicas(self) -> list[dict[str, Any]]:
        """Server processes behind instances and endpoints."""
        found: list[dict[str, Any]] = self._internal("replicas")
        return found

    def status(self, stack: str) -> str:
        stacks = self.aws.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
        return str(stacks[0]["StackStatus"])

    def events(self, stack: str) -> list[dict[str, Any]]:
        """All events of a stack, latest first."""
        pages = self.aws.client("cloudformation").get_paginator("describe_stack_events")
        return [event for page in pages.paginate(StackName=stack) for event in page["StackEvents"]]

    def physical_ids(self) -> dict[tuple[str, str], tuple[str, str]]:
        """Type and physical id by stack and logical id."""
        cloudformation = self.aws.client("cloudformation")
        return {
            (stack, r["LogicalResourceId"]): (r["ResourceType"], r["PhysicalResourceId"])
            for stack in self.stacks
            for r in cloudformation.describe_stack_resources(StackName=stack)["StackResources"]
        }

    def _internal(self, route: str, body: bytes | None = None) -> Any:
        url = f"{self.aws.endpoint}{names.INTERNAL_PREFIX}{route}"
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(urllib.request.Request(url, data=body), timeout=30) as answer:
            return json.load(answer)


def answer_of(release: str) -> list[float]:
    """What a release says to ``TEXT``, computed without any server."""
    found: list[float] = expected_answer(RECIPES[release], TEXT)
    return found
