"""Small worlds: settings, locks, and the templates that they become."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import msgspec

from artifact.manifest import Bucket, Requires, graph_path
from artifact.release import (
    PLACEHOLDER_AMI,
    PLACEHOLDER_DIGEST,
    Ami,
    ArtifactFacts,
    Device,
    Image,
    Location,
    ReleaseLock,
    Throughput,
    release_prefix,
)
from infra.app import Service, build
from settings.model import Settings

CHECKOUT = Path(__file__).resolve().parents[2]
DIGEST = "ab" * 32
BLOBS = tuple(sorted(hashlib.sha256(name).hexdigest() for name in (b"graph", b"weights", b"golden")))
CERTIFICATE = "arn:aws:acm:eu-west-1:111122223333:certificate/11111111-2222-3333-4444-555555555555"

CPU: dict[str, Any] = {
    "project": {"retain_data": False},
    "compile": {"aws": {"requests": True, "reverify_hour": 3}},
    "fleet": {"instance_types": ["c5.large"], "min_size": 1, "max_size": 2},
    "endpoint": {"instance_type": "ml.c5.large", "min_count": 1, "max_count": 2},
}
IMAGE: dict[str, Any] = {
    "parent_ami": "ami-0123456789abcdef0",
    "kernel": "6.1.155-176.282.amzn2023",
    "driver_version": "2.24.13.0",
    "driver_sha256": "12" * 32,
    "tools_version": "2.19.0.0",
    "tools_sha256": "34" * 32,
}
INF1: dict[str, Any] = {
    "compile": {"target": "inf1"},
    "image": IMAGE,
    "fleet": {"instance_types": ["inf1.6xlarge"], "min_size": 2},
    "endpoint": {"instance_type": "ml.inf1.xlarge", "min_count": 2},
}
PINNED: dict[str, Any] = {
    "project": {"account": "111122223333", "region": "eu-west-1", "zones": ["eu-west-1a", "eu-west-1c"]},
    "serve": {
        "deadline_seconds": 40,
        "batch_window_ms": 0.5,
        "queue_limit": 99,
        "openai": True,
        "workers": 3,
    },
    "fleet": {
        "instance_types": ["m5.xlarge", "c5.xlarge"],
        "min_size": 0,
        "max_size": 3,
        "certificate_arn": CERTIFICATE,
        "client_cidrs": ["10.9.0.0/16"],
    },
    "alarms": {"topic_arn": "arn:aws:sns:eu-west-1:111122223333:pager"},
}
NIGHT = {"name": "night", "cron": "0 20 * * *", "timezone": "Europe/Berlin", "min": 0, "max": 0, "desired": 0}
MORNING = {
    "name": "morning",
    "cron": "30 6 * * 1-5",
    "timezone": "Europe/Berlin",
    "min": 2,
    "max": 8,
    "desired": 3,
}
SPOT: dict[str, Any] = {
    "fleet": {
        "instance_types": ["c5.large", "m5.xlarge"],
        "min_size": 2,
        "max_size": 8,
        "on_demand_base": 1,
        "spot_percent": 60,
        "schedule": [NIGHT, MORNING],
        "certificate_arn": CERTIFICATE,
        "tls_policy": "TLS13-1-3-2021-06",
        "client_security_groups": ["sg-0123456789abcdef0"],
        "mtls": {"ca_bundle": "s3://authorities/clients/bundle.pem", "version": "3HL4kqt"},
    },
}
WARM: dict[str, Any] = {
    "compile": {"target": "inf1"},
    "fleet": {
        "instance_types": ["inf1.xlarge", "inf1.2xlarge"],
        "warm_pool": {"min_size": 2, "max_prepared": 3, "reuse_on_scale_in": True},
        "max_lifetime_days": 7,
    },
}
EXISTING: dict[str, Any] = {
    "compile": {
        "aws": {
            "compute": "ec2",
            "ami": "ami-0123456789abcdef0",
            "build_image": True,
            "requests": True,
            "max_parallel": 4,
            "keep_days": 30,
        }
    },
    "network": {
        "cidr": "10.1.0.0/16",
        "vpc_id": "vpc-0123456789abcdef0",
        "subnets": [
            {"id": "subnet-0000000a", "zone": "eu-west-1a", "route_table": "rtb-00000001"},
            {"id": "subnet-0000000c", "zone": "eu-west-1c", "route_table": "rtb-00000001"},
        ],
    },
    "fleet": {"instance_types": ["c5.large"], "min_size": 1, "max_size": 2},
    "endpoint": {"instance_type": "ml.c5.large", "min_count": 1, "max_count": 2},
}


CANARY: dict[str, Any] = {
    "compile": {"target": "inf1"},
    "endpoint": {
        "instance_type": "ml.inf1.xlarge",
        "max_count": 6,
        "canary": {"count": 2},
        "capture": {"percent": 5},
        "schedule": [
            {"name": "day", "cron": "0 7 ? * MON-FRI *", "timezone": "Europe/Paris", "min_count": 3,
             "max_count": 6},
            {"name": "night", "cron": "30 19 ? * * *", "min_count": 1, "max_count": 2},
        ],
    },
}  # fmt: skip
LATER: dict[str, Any] = {
    "endpoint": {
        "instance_type": "ml.c5.large",
        "min_count": 0,
        "max_count": 3,
        "async": {"max_age_minutes": 10},
        "deployment": {"canary_percent": 25},
    },
}
OTHER_DIGEST = "cd" * 32


def settings_of(*layers: dict[str, Any]) -> Settings:
    """Settings from plain tables, later ones winning key by key."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for section, values in layer.items():
            merged[section] = {**merged.get(section, {}), **values}
    return Settings.model_validate(merged)


def lock_of(target: str, **changes: Any) -> ReleaseLock:
    """A lock as `traceship ship` writes it when nothing was pinned."""
    inf1 = target == "inf1"
    lock = ReleaseLock(
        tool_version="0.1.0",
        name="traceship",
        digest=DIGEST,
        location=Location(
            account="111122223333",
            region="eu-west-1",
            bucket="traceship-artifacts-111122223333-eu-west-1",
            prefix=release_prefix("traceship", DIGEST),
        ),
        artifact=ArtifactFacts(
            task="feature-extraction",
            architecture="bert",
            buckets=(Bucket(batch=1, length=128, path=graph_path(1, 128)),),
            requires=Requires(
                target="inf1" if inf1 else "cpu",
                instance_families=("inf1",) if inf1 else (),
                torch="1.13.1" if inf1 else "2.13.0",
                torch_neuron="1.13.1.2.11.13.0" if inf1 else None,
                neuron_driver="2.24" if inf1 else None,
                memory_bytes=800 * 1024**2,
            ),
            waivers=(),
            files_bytes=95_000_000,
            archive_bytes=85_000_000,
            blobs=BLOBS,
            device=Device(cores=1, bytes=300 * 1024**2) if inf1 else msgspec.UNSET,
        ),
        serving_image=Image(repository="traceship/serving", digest=PLACEHOLDER_DIGEST, placeholder=True),
        compile_image=Image(repository="traceship/compile", digest=PLACEHOLDER_DIGEST, placeholder=True),
        ami=Ami(id=PLACEHOLDER_AMI, placeholder=True),
        throughput=Throughput(per_second=50.0, measured=True, source="a test"),
        startup_seconds=8,
    )
    return msgspec.structs.replace(lock, **changes)


def canary_lock_of(target: str, **changes: Any) -> ReleaseLock:
    """The lock of another release in the same place."""
    location = msgspec.structs.replace(
        lock_of(target).location, prefix=release_prefix("traceship", OTHER_DIGEST)
    )
    return lock_of(target, digest=OTHER_DIGEST, location=location, **changes)


def make_app(folder: Path) -> cdk.App:
    """An app with the feature flags of cdk.json, writing to ``folder``."""
    context = json.loads((CHECKOUT / "cdk.json").read_text(encoding="utf-8"))["context"]
    return cdk.App(outdir=str(folder), context=context, analytics_reporting=False)


@dataclass(frozen=True)
class World:
    """A synthesised app. ``templates`` by stack role."""

    folder: Path
    settings: Settings
    templates: dict[str, dict[str, Any]]

    def only(self, role: str, resource_type: str) -> dict[str, Any]:
        """The one resource of a type, whole (with its UpdatePolicy and DeletionPolicy)."""
        found = self.all(role, resource_type)
        assert len(found) == 1, f"{role} has {len(found)} of {resource_type}"
        return next(iter(found.values()))

    def properties(self, role: str, resource_type: str) -> dict[str, Any]:
        """Properties of the one resource of a type."""
        properties: dict[str, Any] = self.only(role, resource_type)["Properties"]
        return properties

    def all(self, role: str, resource_type: str) -> dict[str, dict[str, Any]]:
        """Resources of a type by logical id."""
        resources = self.templates[role]["Resources"]
        return {name: r for name, r in resources.items() if r["Type"] == resource_type}

    def policy(self, role: str, construct: str) -> list[dict[str, Any]]:
        """Statements of the customer-managed policy whose logical id begins with ``construct``."""
        policies = self.all(role, "AWS::IAM::ManagedPolicy")
        found = [p for name, p in policies.items() if name.startswith(construct)]
        assert len(found) == 1, f"{role} has {sorted(policies)}"
        statements: list[dict[str, Any]] = found[0]["Properties"]["PolicyDocument"]["Statement"]
        return statements


def synthesise(
    folder: Path,
    settings: Settings,
    lock: ReleaseLock | None,
    *,
    canary: ReleaseLock | None = None,
    foundation: bool = False,
) -> World:
    """Build and synthesise, policies included."""
    from infra import policy

    app = make_app(folder)
    build(app, [Service(settings, lock, canary)], foundation=foundation)
    policy.synthesise(app, [settings])
    prefix, suffix = f"{settings.project.name}-", ".template.json"
    templates = {
        path.name.removeprefix(prefix).removesuffix(suffix): json.loads(path.read_text(encoding="utf-8"))
        for path in folder.glob(f"*{suffix}")
    }
    return World(folder=folder, settings=settings, templates=templates)


PSEUDO = {"AWS::AccountId": "111122223333", "AWS::Region": "eu-west-1", "AWS::URLSuffix": "amazonaws.com",
          "AWS::Partition": "aws"}  # fmt: skip


def substituted(text: str) -> str:
    """A ``Fn::Sub`` whose names are pseudo parameters."""
    for name, meaning in PSEUDO.items():
        text = text.replace("${" + name + "}", meaning)
    assert "${" not in text, text
    return text


def text_of(value: Any) -> str:
    """A string with its joins and pseudo parameters resolved, other references shown as ``<name>``."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return " ".join(text_of(part) for part in value)
    if "Fn::Join" in value:
        separator, parts = value["Fn::Join"]
        return str(separator).join(text_of(part) for part in parts)
    if "Fn::Sub" in value:
        return substituted(value["Fn::Sub"])
    if "Ref" in value:
        return PSEUDO.get(value["Ref"], f"<{value['Ref']}>")
    if "Fn::Base64" in value:
        return text_of(value["Fn::Base64"])
    if "Fn::GetAtt" in value:
        return f"<{'.'.join(value['Fn::GetAtt'])}>"
    if "Fn::ImportValue" in value:
        return f"<{value['Fn::ImportValue']}>"
    raise AssertionError(f"no text: {value}")
