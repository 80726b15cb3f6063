"""Several services in one app: what they share, what each has of its own, and the locks that they run."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import msgspec
import pytest

from artifact.release import Ami, Image, ReleaseLock, release_prefix
from infra import names, policy
from infra.app import Service, add_stacks, build
from infra.incompatible import LockOfAnotherPlace
from infra.lock import CompileImagesDiffer, LockMissing, seen_by
from settings.load import load_all
from settings.model import Settings
from tests.infra.worlds import IMAGE, lock_of, make_app

TEXT = """
[fleet]
instance_types = ["inf1.xlarge"]

[service.search]
fleet = { min_size = 2 }
endpoint = { instance_type = "ml.inf1.xlarge" }

[service.answers.fleet]

[service.batch]
release = "search"
fleet = { max_size = 9 }
"""
NAMED = ("RoleName", "LaunchTemplateName", "DashboardName", "LogGroupName", "EndpointName", "ModelName",
         "EndpointConfigName", "BucketName", "StateMachineName", "AutoScalingGroupName", "Name")  # fmt: skip
"""Properties that are the resource's name in the account."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Templates by stack, with all policies."""
    folder = tmp_path_factory.mktemp("shop")
    app, settings = make_app(folder / "out"), _settings(folder)
    build(app, [Service(each, _lock(each)) for each in settings])
    policy.synthesise(app, settings)
    ending = ".template.json"
    return {
        p.name.removesuffix(ending): json.loads(p.read_text()) for p in (folder / "out").glob(f"*{ending}")
    }


def _settings(folder: Path) -> tuple[Settings, ...]:
    path = folder / "traceship.toml"
    path.write_text(TEXT, encoding="utf-8")
    return load_all(path)


def _lock(settings: Settings, **changes: Any) -> ReleaseLock:
    """A lock of its own for each release."""
    name = names.release_name(settings)
    digest = name.encode().hex().ljust(64, "0")[:64]
    lock = lock_of("inf1", name=name, digest=digest)
    location = msgspec.structs.replace(lock.location, prefix=release_prefix(name, digest))
    return msgspec.structs.replace(lock, location=location, **changes)


def test_the_foundation_is_there_once_and_each_service_has_its_own_stacks(shop: dict[str, Any]) -> None:
    """Stacks are named by project, service and role."""
    assert sorted(shop) == [
        "traceship-answers-fleet",
        "traceship-artifacts",
        "traceship-batch-fleet",
        "traceship-compile",
        "traceship-network",
        "traceship-search-endpoint",
        "traceship-search-fleet",
    ]


def test_the_command_knows_the_stacks_in_the_order_in_which_they_deploy(tmp_path: Path) -> None:
    """Without starting Node, as one service and as all."""
    search, answers, batch = _settings(tmp_path)

    assert names.stack_names([search, answers, batch])[3:] == (
        "traceship-search-fleet",
        "traceship-search-endpoint",
        "traceship-answers-fleet",
        "traceship-batch-fleet",
    )
    assert names.stack_names([answers])[3:] == ("traceship-answers-fleet",)


def test_no_two_resources_of_all_stacks_have_one_name(shop: dict[str, Any]) -> None:
    """CloudFormation would refuse the second, hours into a deployment."""
    found = Counter(
        (body["Type"], key, json.dumps(body["Properties"][key]))
        for template in shop.values()
        for body in template["Resources"].values()
        for key in NAMED
        if key in body.get("Properties", {}) and "Ref" not in body["Properties"][key]
    )

    assert len(found) > 15
    assert [name for name, times in found.items() if times > 1] == []


def test_each_service_carries_the_digest_of_its_own_release(shop: dict[str, Any], tmp_path: Path) -> None:
    """And of no other; two that run one release carry the same."""
    digests = {str(each.service): _lock(each).digest for each in _settings(tmp_path)}

    assert digests["batch"] == digests["search"] != digests["answers"]
    for stack in (name for name in shop if name.endswith(("-fleet", "-endpoint"))):
        text, own = json.dumps(shop[stack]), digests[stack.split("-")[1]]
        assert own in text
        assert not any(digest in text for digest in digests.values() if digest != own)


def test_metrics_and_logs_of_services_are_told_apart(shop: dict[str, Any]) -> None:
    """By the name of their stack."""
    for stack in (name for name in shop if name.endswith("-fleet")):
        text = json.dumps(shop[stack])
        assert f"/traceship/traceship/{stack.removeprefix('traceship-')}" in text
        assert f"TRACESHIP_SERVICE={stack}" in text


def test_tags_tell_the_service(tmp_path: Path) -> None:
    """So that a bill can be split by it; what is shared has no such tag."""
    app, settings = make_app(tmp_path / "out"), _settings(tmp_path)
    add_stacks(app, [Service(each, _lock(each)) for each in settings])

    def service(stack: str) -> str | None:
        found = app.node.find_child(f"traceship-{stack}")
        assert isinstance(found, cdk.Stack)
        return found.tags.tag_values().get("traceship:service")

    told = {stack: service(stack) for stack in ("answers-fleet", "search-endpoint", "artifacts")}
    assert told == {"answers-fleet": "answers", "search-endpoint": "search", "artifacts": None}


def test_two_services_with_machine_images_share_the_door_of_image_builder(tmp_path: Path) -> None:
    """A VPC has one private name of each AWS service: CloudFormation would refuse the second endpoint."""
    path = tmp_path / "traceship.toml"
    images = "".join(f"[service.{name}.image]\n" for name in ("search", "answers"))
    shared = "\n".join(["[image]", *(f'{key} = "{value}"' for key, value in IMAGE.items())])
    path.write_text(f"{TEXT}\n{shared}\n{images}", encoding="utf-8")
    app, settings = make_app(tmp_path / "out"), load_all(path)
    add_stacks(app, [Service(each, _lock(each)) for each in settings])

    app.synth()

    templates = [json.loads(p.read_text()) for p in (tmp_path / "out").glob("*.template.json")]
    resources = [r for template in templates for r in template["Resources"].values()]
    named = Counter(
        json.dumps(r["Properties"]["ServiceName"])
        for r in resources
        if r["Type"] == "AWS::EC2::VPCEndpoint" and r["Properties"].get("PrivateDnsEnabled")
    )
    assert set(named.values()) == {1}
    assert any("imagebuilder" in name for name in named)
    assert sum(r["Type"] == "AWS::ImageBuilder::ImagePipeline" for r in resources) == 2


def test_tags_tell_the_stage(tmp_path: Path) -> None:
    """A stack's name does not, and a deploy must not take another stage's for its own."""
    made = {}
    for stage in (None, "prod"):
        app, settings = make_app(tmp_path / f"out@{stage}"), _settings(tmp_path)
        staged = [each.of(stage=stage, service=each.service, runs=each.runs) for each in settings]
        add_stacks(app, [Service(each, _lock(each)) for each in staged])
        stacks = [each for each in app.node.children if isinstance(each, cdk.Stack)]
        made[stage] = {each.tags.tag_values().get("traceship:stage") for each in stacks}

    assert made == {None: {None}, "prod": {"prod"}}


def test_what_is_shared_has_the_tags_and_the_topic_that_all_have(tmp_path: Path) -> None:
    """Not those of the service that happens to stand first, which would change with the order."""
    path, topic = tmp_path / "traceship.toml", "arn:aws:sns:eu-west-1:111122223333:"
    common = f'[compile.aws]\nreverify_hour = 3\n[alarms]\ntopic_arn = "{topic}all"\n[tags]\nowner = "ml"\n'
    own = f'\n[service.search.tags]\nowner = "search"\n[service.search.alarms]\ntopic_arn = "{topic}search"\n'
    path.write_text(common + TEXT + own, encoding="utf-8")
    app, settings = make_app(tmp_path / "out"), load_all(path)
    add_stacks(app, [Service(each, _lock(each)) for each in settings])
    stacks = {each.stack_name: each for each in app.node.children if isinstance(each, cdk.Stack)}
    templates = {
        p.name.split(".")[0]: p.read_text() for p in Path(app.synth().directory).glob("*.template.json")
    }

    owners = {name: stack.tags.tag_values()["owner"] for name, stack in stacks.items()}
    assert {name for name, owner in owners.items() if owner == "search"} == {
        "traceship-search-fleet",
        "traceship-search-endpoint",
    }
    assert f"{topic}all" in templates["traceship-compile"]
    assert f"{topic}search" not in templates["traceship-compile"]
    assert f"{topic}search" in templates["traceship-search-fleet"]


def test_a_service_without_its_lock_is_refused_by_the_name_of_the_lock(tmp_path: Path) -> None:
    """The others' locks are no help."""
    app, settings = make_app(tmp_path / "out"), _settings(tmp_path)

    with pytest.raises(LockMissing, match=r"release\.answers\.lock\.json"):
        build(app, [Service(each, None if each.service == "answers" else _lock(each)) for each in settings])

    assert app.node.children == []


def test_the_lock_of_another_service_is_refused(tmp_path: Path) -> None:
    """A lock copied to another name would serve another model."""
    app, settings = make_app(tmp_path / "out"), _settings(tmp_path)

    with pytest.raises(LockOfAnotherPlace, match="project or service"):
        build(app, [Service(each, _lock(settings[0])) for each in settings])


def test_services_that_disagree_on_the_compile_image_are_refused(tmp_path: Path) -> None:
    """They share one compile stage."""
    app, settings = make_app(tmp_path / "out"), _settings(tmp_path)
    other = Image(repository="traceship/compile", digest="12" * 32, placeholder=False)
    locks = [_lock(settings[0]), _lock(settings[1], compile_image=other), _lock(settings[2])]

    with pytest.raises(CompileImagesDiffer) as refused:
        build(app, [Service(each, lock) for each, lock in zip(settings, locks)])

    assert "121212121212" in refused.value.why
    assert refused.value.exit_code == 2
    assert app.node.children == []


@pytest.mark.parametrize(
    ("runs", "stage", "file"),
    [
        (None, None, "release.lock.json"),
        (None, "prod", "release@prod.lock.json"),
        ("search", None, "release.search.lock.json"),
        ("search", "prod", "release.search@prod.lock.json"),
    ],
)
def test_every_service_and_stage_has_a_lock_of_its_own(
    runs: str | None, stage: str | None, file: str
) -> None:
    """What runs in production is no accident of what runs in development."""
    assert names.lock_file(Settings().of(stage=stage, service=runs, runs=runs)) == file


def test_a_service_that_runs_another_ones_release_reads_its_lock(tmp_path: Path) -> None:
    """One release, two fleets."""
    batch = _settings(tmp_path)[2]

    assert names.lock_file(batch) == "release.search.lock.json"
    assert names.release_name(batch) == "traceship-search"
    assert names.endpoint_name(batch) == "traceship-batch"


def test_each_service_captures_and_tries_for_itself(tmp_path: Path) -> None:
    """Its own prefix in S3, its own canary's lock, policies and all; the other one has neither."""
    path = tmp_path / "traceship.toml"
    path.write_text(
        '[endpoint]\ninstance_type = "ml.inf1.xlarge"\n[service.search.endpoint]\ncanary = {}\n'
        "capture = { percent = 1 }\n[service.answers.endpoint]\n",
        encoding="utf-8",
    )
    app, settings = make_app(tmp_path / "out"), load_all(path)
    search, answers = settings
    digest = "cd" * 32
    name = names.release_name(search)
    where = msgspec.structs.replace(_lock(search).location, prefix=release_prefix(name, digest))
    canary = msgspec.structs.replace(_lock(search), digest=digest, location=where)

    build(app, [Service(search, _lock(search), canary), Service(answers, _lock(answers))])
    policy.synthesise(app, settings)

    texts = {
        role: (tmp_path / "out" / f"traceship-{role}-endpoint.template.json").read_text()
        for role in ("search", "answers")
    }
    assert "/captured/traceship-search/*" in texts["search"]
    assert names.canary_variant(digest) in texts["search"]
    assert "captured" not in texts["answers"]
    assert "canary" not in texts["answers"]
    assert names.canary_lock_file(search) == "release.search.canary.lock.json"


def test_one_service_alone_leaves_what_all_share_as_it_is(shop: dict[str, Any], tmp_path: Path) -> None:
    """Deploying one of them must not take from the stacks below what another one needs."""
    app, settings = make_app(tmp_path / "out"), _settings(tmp_path)
    locks = [None if each.service == "batch" else _lock(each) for each in settings]

    build(app, [Service(each, lock) for each, lock in zip(settings, locks)], only="answers")
    policy.synthesise(app, settings)

    found = {
        p.name.split(".")[0]: json.loads(p.read_text()) for p in (tmp_path / "out").glob("*.template.json")
    }
    assert sorted(found) == [
        "traceship-answers-fleet",
        "traceship-artifacts",
        "traceship-compile",
        "traceship-network",
    ]
    assert all(found[stack] == shop[stack] for stack in found)


def test_each_fleet_of_one_release_boots_its_own_machine_image(tmp_path: Path) -> None:
    """A release is shipped with one AMI, that of its own service; another fleet's type may want another."""
    (tmp_path / "traceship.toml").write_text(
        TEXT.replace("fleet = { max_size = 9 }", 'fleet = { ami = "ami-0123456789abcdef0" }')
    )
    search, answers, batch = load_all(tmp_path / "traceship.toml")
    shipped = _lock(search, ami=Ami(id="ami-0aaaaaaaaaaaaaaaa", placeholder=False))

    seen = seen_by(batch, shipped)

    assert seen is not None
    assert (seen.ami.id, seen.ami.placeholder) == ("ami-0123456789abcdef0", False)
    assert msgspec.structs.replace(seen, ami=shipped.ami) == shipped
    assert seen_by(search, shipped) == shipped
    app = make_app(tmp_path / "out")
    add_stacks(app, [Service(search, shipped), Service(answers, _lock(answers)), Service(batch, seen)])
    app.synth()
    images = {
        stack: re.findall(r'"ImageId": "(ami-[0-9a-f]+)"', path.read_text())
        for stack in ("search", "batch")
        for path in (tmp_path / "out").glob(f"traceship-{stack}-fleet.template.json")
    }
    assert images == {"search": ["ami-0aaaaaaaaaaaaaaaa"], "batch": ["ami-0123456789abcdef0"]}


def test_a_follower_without_an_image_of_its_own_has_a_placeholder(tmp_path: Path) -> None:
    """Not the other fleet's, which nobody chose for it."""
    search, _, batch = _settings(tmp_path)

    seen = seen_by(batch, _lock(search, ami=Ami(id="ami-0aaaaaaaaaaaaaaaa", placeholder=False)))

    assert seen is not None
    assert seen.ami.placeholder
    assert seen_by(batch, None) is None
