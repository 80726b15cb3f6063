"""What a deploy asks AWS before it starts anything."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError

import cli.deploying
import cli.project
from artifact.release import Ami, Image, ReleaseLock, release_prefix
from cli.cdk import Cdk
from cli.deploying import deploy
from cli.owners import StackOfAnother
from fleet.offerings import TypeNotOffered
from settings.model import Settings
from tests.infra.worlds import CPU, EXISTING, PINNED, lock_of, settings_of

MANIFEST = b"{}"


class Aws:
    """A bucket with the release, and zones of which the second lacks c5.xlarge."""

    def get_object(self, **_: Any) -> dict[str, Any]:
        return {"Body": io.BytesIO(MANIFEST)}

    def head_object(self, **_: Any) -> dict[str, Any]:
        return {"ContentLength": _lock().artifact.archive_bytes}

    def get_paginator(self, _: str) -> Aws:
        return self

    def paginate(self, **_: Any) -> list[dict[str, Any]]:
        pairs = [("m5.xlarge", "eu-west-1a"), ("m5.xlarge", "eu-west-1c"), ("c5.xlarge", "eu-west-1a")]
        return [{"InstanceTypeOfferings": [{"InstanceType": name, "Location": zone} for name, zone in pairs]}]


class Project:
    """A project as far as it is needed before the CDK starts; anything further is an error here."""

    lock_path = Path("release.lock.json")

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.all_settings = (settings,)
        self.services = (self,)

    def lock(self) -> ReleaseLock:
        return _lock()

    def client(self, _: str) -> Aws:
        return Aws()


def _lock() -> ReleaseLock:
    digest = hashlib.sha256(MANIFEST).hexdigest()
    lock = lock_of("cpu", digest=digest)
    image = Image(repository="1.dkr.ecr.eu-west-1.amazonaws.com/a", digest="1" * 64, placeholder=False)
    return msgspec.structs.replace(
        lock,
        location=msgspec.structs.replace(lock.location, prefix=release_prefix("traceship", digest)),
        serving_image=image,
        compile_image=image,
        ami=Ami(id="ami-12345678", placeholder=False),
    )


class _Deployed(Exception):
    """The CDK was asked to deploy, with these options."""


def test_a_zone_without_the_fleets_type_ends_a_deploy_before_it_begins() -> None:
    """Nothing is synthesised: the project here has no folder for it."""
    project: Any = Project(settings_of(PINNED))

    with pytest.raises(TypeNotOffered) as refused:
        deploy(project)

    assert refused.value.what == "zone eu-west-1c does not offer c5.xlarge"


def test_in_a_network_that_is_there_the_zones_are_those_of_its_subnets() -> None:
    """The region's first two have nothing to do with it."""
    fleet = {"instance_types": ["m5.xlarge", "c5.xlarge"], "max_size": 2}
    project: Any = Project(settings_of(EXISTING, {"fleet": fleet}))

    with pytest.raises(TypeNotOffered) as refused:
        deploy(project)

    assert refused.value.what == "zone eu-west-1c does not offer c5.xlarge"


@pytest.mark.parametrize("asked", [(), ("compile",)])
def test_a_stack_that_another_stage_made_is_not_deployed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: tuple[str, ...]
) -> None:
    """Nor along with one that needs it. The CDK is not asked to: it would find nothing wrong."""

    class Formation:
        def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803 - AWS's name
            tags = {"traceship:project": "traceship", "traceship:stage": "dev"}
            rows = [{"Key": key, "Value": value} for key, value in tags.items()]
            if StackName not in ("CDKToolkit", "traceship-artifacts"):
                raise ClientError({"Error": {"Code": "ValidationError"}}, "DescribeStacks")
            return {"Stacks": [{"StackName": StackName, "Tags": rows}]}

    class FakeCdk:
        out = tmp_path

        @classmethod
        def of(cls, *_: Any, **__: Any) -> FakeCdk:
            return cls()

        def synth(self, **_: Any) -> None: ...

        def deploy(self, *_: Any, **options: Any) -> Any:
            raise _Deployed(options)

    class Prod(cli.project.Project):
        @property
        def account(self) -> str:
            return "111122223333"

        def client(self, service: str, region: str | None = None) -> Any:  # noqa: ARG002 - Project has it
            assert service == "cloudformation"
            return Formation()

    settings = tmp_path / "traceship.toml"
    settings.write_text("[project]\n[stage.prod]\n")
    monkeypatch.setattr(cli.deploying, "Cdk", FakeCdk)

    with pytest.raises(StackOfAnother) as refused:
        deploy(Prod(settings, stage="prod"), stacks=asked, foundation=True)

    assert "traceship-artifacts belongs to the project 'traceship' in stage 'dev'" in refused.value.what
    with pytest.raises(_Deployed) as deployed:
        deploy(Prod(settings, stage="prod"), stacks=asked, foundation=True, take_over=True)
    assert deployed.value.args == ({"import_existing": False},)


def test_zones_do_not_matter_where_no_fleet_is_deployed() -> None:
    """It goes on to the CDK, which this project has no place for."""
    project: Any = Project(settings_of({"endpoint": CPU["endpoint"]}))

    with pytest.raises(AttributeError, match="object has no attribute"):
        deploy(project)


@pytest.mark.parametrize("wanted", [False, True])
def test_what_is_there_already_is_imported_only_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: bool
) -> None:
    """A name that is taken by chance must not become a stack's."""
    asked: list[list[str]] = []
    monkeypatch.setattr(Cdk, "_run", lambda _self, arguments, **_: asked.append(arguments))

    cdk = Cdk(tmp_path / "traceship.toml", None, None, out=tmp_path)
    cdk.deploy(["shop-fleet"], tmp_path / "outputs.json", import_existing=wanted)

    assert ("--import-existing-resources" in asked[0]) == wanted
