"""Which stacks there are, and what every one of them has in common."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from artifact.errors import UsageError
from infra.app import Service, build
from infra.incompatible import Incompatible
from infra.lock import LockInvalid, LockMissing, read_lock
from infra.names import stack_names
from tests.infra.worlds import CPU, PINNED, World, lock_of, make_app, settings_of, synthesise


def test_a_stack_exists_if_and_only_if_its_section_does(cpu: World, pinned: World) -> None:
    """The foundation always, the services as the settings say."""
    assert sorted(cpu.templates) == ["artifacts", "compile", "endpoint", "fleet", "network"]
    assert sorted(pinned.templates) == ["artifacts", "compile", "fleet", "network"]


def test_the_foundation_needs_no_lock_and_holds_no_service(foundation: World) -> None:
    """A first release is published into what exists before it."""
    assert sorted(foundation.templates) == ["artifacts", "compile", "network"]


def test_the_foundation_stays_the_same_when_the_services_arrive(foundation: World, cpu: World) -> None:
    """To the byte, exports too: deploying it alone must not take away what a service refers to."""
    for role in foundation.templates:
        assert foundation.templates[role] == cpu.templates[role]


@pytest.mark.parametrize("section", ["fleet", "endpoint"])
def test_a_service_without_a_lock_is_refused(tmp_path: Path, section: str) -> None:
    """The error names the section and the two commands that make a lock, and adds no stack."""
    app = make_app(tmp_path)

    with pytest.raises(LockMissing) as refused:
        build(app, [Service(settings_of({section: CPU[section]}), None)])

    assert refused.value.exit_code == 2
    assert f"[{section}]" in refused.value.why
    assert "traceship deploy --foundation" in refused.value.fix
    assert app.node.children == []


def test_an_incompatible_release_adds_no_stack(tmp_path: Path) -> None:
    """The gate is asked before anything is built."""
    app = make_app(tmp_path)

    with pytest.raises(Incompatible):
        build(app, [Service(settings_of(CPU), lock_of("inf1"))])

    assert app.node.children == []


def test_stack_names_are_those_of_the_app(cpu: World) -> None:
    """The command deploys by these names without starting Node."""
    found = {path.name.partition(".")[0] for path in cpu.folder.glob("*.template.json")}

    assert set(stack_names([cpu.settings])) == found
    assert stack_names([cpu.settings], foundation=True) == (
        "traceship-artifacts",
        "traceship-network",
        "traceship-compile",
    )


def test_no_account_is_in_a_template_unless_it_is_set(cpu: World, pinned: World) -> None:
    """The lock knows an account; the templates take the one that they are deployed to."""
    for template in cpu.templates.values():
        assert "111122223333" not in json.dumps(template)
    assert "111122223333" in json.dumps(pinned.templates["fleet"])


def test_nothing_is_looked_up(cpu: World, pinned: World) -> None:
    """Not even when account and region are known, which is when the CDK starts to look zones up."""
    for world in (cpu, pinned):
        manifest = json.loads((world.folder / "manifest.json").read_text())
        assert manifest.get("missing", []) == []
        assert "dummy" not in json.dumps(world.templates)


def test_two_apps_in_one_process_give_the_same_bytes(cpu: World, tmp_path: Path) -> None:
    """Nothing of an earlier app leaks into the next one."""
    again = synthesise(tmp_path, cpu.settings, lock_of("cpu"))

    assert again.templates == cpu.templates


def test_tags_of_the_settings_are_on_every_stack(tmp_path: Path) -> None:
    """They travel as stack tags, which CloudFormation puts on each resource."""
    synthesise(tmp_path, settings_of({"tags": {"team": "search"}}), None)

    manifest = json.loads((tmp_path / "manifest.json").read_text())
    stacks = [a for a in manifest["artifacts"].values() if a["type"] == "aws:cloudformation:stack"]
    assert len(stacks) == 3
    assert all(stack["properties"]["tags"]["team"] == "search" for stack in stacks)


def test_references_between_stacks_are_strong(cpu: World) -> None:
    """A producer cannot be deleted under its consumers."""
    text = json.dumps(cpu.templates["fleet"])

    assert "Fn::ImportValue" in text
    assert "Fn::GetStackOutput" not in text


def test_only_the_place_of_the_data_is_protected_from_deletion(cpu: World, inf1: World) -> None:
    """And only while data is to be retained."""
    assert _protected(inf1) == {"traceship-artifacts"}
    assert _protected(cpu) == set()


def test_an_absent_lock_is_none_and_a_broken_one_an_error(tmp_path: Path) -> None:
    """A lock edited by hand is refused with what is wrong about it."""
    path = tmp_path / "release.lock.json"
    assert read_lock(path) is None

    path.write_text('{"schema": "traceship.lock/9"}')

    with pytest.raises(LockInvalid) as refused:
        read_lock(path)
    assert isinstance(refused.value, UsageError)
    assert str(path) in refused.value.what


def test_settings_pin_account_and_region(pinned: World) -> None:
    """With both given, a deploy with other credentials is refused by the CDK itself."""
    manifest = json.loads((pinned.folder / "manifest.json").read_text())

    places = {a["environment"] for a in manifest["artifacts"].values() if "environment" in a}
    assert f"aws://{PINNED['project']['account']}/{PINNED['project']['region']}" in places


def _protected(world: World) -> set[str]:
    manifest = json.loads((world.folder / "manifest.json").read_text())
    return {
        name
        for name, a in manifest["artifacts"].items()
        if a.get("properties", {}).get("terminationProtection")
    }
