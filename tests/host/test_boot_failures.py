"""Boots in a root of their own: each failure leaves its reason in one line and has the instance replaced.

User data is that of the template; files, commands and the unit's lines are run as they stand there, fetch is
the real one. Stand-ins: docker, the driver, the server, the ``aws`` command's outside, AWS on loopback.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from artifact.manifest import MANIFEST
from artifact.release import blob_key, release_prefix
from tests.host.loopback_aws import GROUP, Aws
from tests.host.root import Root, reason_for_none
from tests.infra.conftest import cpu, inf1
from tests.infra.worlds import DIGEST, World, text_of
from tests.kit.folders import CONTENT, write_folder

__all__ = ["cpu", "inf1"]

pytestmark = pytest.mark.skipif(
    reason_for_none() is not None, reason=f"no mount namespace here: {reason_for_none()}"
)

BUCKET = "releases-of-a-test"
INSTANCE = "i-0123456789abcdef0"
SLOT = f"/{BUCKET}/fleets/traceship-fleet/replacements/0"
CHIPS = 4


@dataclass
class Host:
    """An instance of the fleet, before its boot."""

    aws: Aws
    root: Root
    world: World
    digest: str
    told: dict[str, Any] = field(default_factory=dict)

    def boot(self, **options: Any) -> dict[str, Any]:
        data = text_of(
            self.world.properties("fleet", "AWS::EC2::LaunchTemplate")["LaunchTemplateData"]["UserData"]
        )
        data = re.sub(r"<traceship-artifacts:ExportsOutputRef\w+>", BUCKET, data)
        data = re.sub(r"<Logs\w+>", "/traceship/traceship/fleet", data).replace(DIGEST, self.digest)
        data = data.replace("8080", str(_free_port()))
        self.told = self.root.boot(data, self.aws.url, **options)
        return self.told

    def lines(self) -> list[str]:
        """What the last start left in the journal."""
        return str(self.told["journal"][-1]).splitlines()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _host(world: World, aws: Aws, folder: Path, **root: Any) -> Host:
    digest = write_folder(folder / "release", CONTENT)
    prefix = release_prefix("traceship", digest)
    aws.put(f"/{BUCKET}/{prefix}/{MANIFEST}", (folder / "release" / MANIFEST).read_bytes())
    for data in CONTENT.values():
        aws.put(f"/{BUCKET}/{blob_key(hashlib.sha256(data).hexdigest())}", data)
    return Host(aws=aws, root=Root(folder / "root", **root), world=world, digest=digest)


@pytest.fixture
def host(inf1: World, aws: Aws, tmp_path: Path) -> Host:
    """An Inf1 instance with nothing wrong."""
    return _host(inf1, aws, tmp_path, devices=CHIPS, driver="2.24.13.0")


def _no_device(host: Host) -> None:
    host.root.devices = CHIPS - 1


def _wrong_driver(host: Host) -> None:
    host.root.driver = "2.25.1.0"


def _no_driver(host: Host) -> None:
    host.root.driver = None


def _s3_denied(host: Host) -> None:
    host.aws.denied.add("read")


def _digest_mismatch(host: Host) -> None:
    key = next(key for key in host.aws.objects if key.endswith(MANIFEST))
    host.aws.put(key, b"{}")


def _pull_denied(host: Host) -> None:
    host.root.faults = ("pull-denied",)


def _disk_full(host: Host) -> None:
    host.root.disk = 4096


def _no_owner_match(host: Host) -> None:
    host.root.faults = ("no-owner",)


def _server_crashes(host: Host) -> None:
    host.root.faults = ("crash",)


FAILURES = {
    "no-device": (_no_device, "no device: /dev/neuron3 is missing, this instance type has 4 chips"),
    "wrong-driver": (_wrong_driver, "wrong driver: the Neuron driver is 2.25.1.0, Inf1 needs 2.24.*"),
    "no-driver": (_no_driver, "wrong driver: the Neuron driver is none, Inf1 needs 2.24.*"),
    "s3-denied": (_s3_denied, '"error": "aws-denied"'),
    "digest-mismatch": (_digest_mismatch, '"error": "download-changed"'),
    "pull-denied": (_pull_denied, "pull access denied for traceship/serving"),
    "disk-full": (_disk_full, "No space left on device"),
    "no-firewall-rule": (
        _no_owner_match,
        "no rule keeps the server from this instance's metadata: Warning",
    ),
    "server-crashes": (_server_crashes, "NRT init failed"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failed_boot_says_why_in_one_line_and_the_instance_is_marked(host: Host, failure: str) -> None:
    """In the journal and in the log group; after the third time, Unhealthy, with the fleet's slot."""
    spoil, reason = FAILURES[failure]
    spoil(host)

    told = host.boot(starts=1, failed=2)

    assert told["results"] == ["exit-code"]
    marked = "traceship-host: marked this instance Unhealthy: "
    (line,) = [line for line in host.lines() if line.startswith(marked)]
    assert reason in line
    assert host.aws.log == [line]
    assert host.aws.called("SetInstanceHealth") == [
        {"HealthStatus": "Unhealthy", "InstanceId": INSTANCE, "ShouldRespectGracePeriod": "false",
         "Version": "2011-01-01"}
    ]  # fmt: skip
    assert reason in host.aws.objects[SLOT][0].decode()


def test_an_instance_has_three_starts_and_one_slot_for_all_further_ones(host: Host) -> None:
    """A fault of a moment replaces nobody; each failure has its line. While its successor starts, an
    instance that fails on takes nothing more of the fleet's hour."""
    _wrong_driver(host)

    assert host.boot(starts=4)["results"] == ["exit-code"] * 4

    words = [
        "failed 1 of 3 times",
        "failed 2 of 3 times",
        "marked this instance",
        "marked this instance",
    ]
    assert [word in line for word, line in zip(words, host.aws.log)] == [True] * 4
    assert len(host.aws.log) == 4


def test_a_slow_start_is_a_failure_at_once(host: Host) -> None:
    """systemd's limit covers everything up to the first 200; nobody waits for that three times."""
    host.root.faults = ("slow",)

    assert host.boot(starts=1, limit=6.0)["results"] == ["timeout"]

    assert "marked this instance Unhealthy: slow start: not ready within 900 seconds" in host.aws.log[-1]
    assert len(host.aws.called("SetInstanceHealth")) == 1


def test_a_launch_that_waits_is_abandoned_and_costs_the_fleet_no_slot(host: Host) -> None:
    """The instance has served nobody, so nothing is lost with it."""
    host.aws.waiting = True
    _pull_denied(host)

    host.boot(starts=1, failed=2)

    (call,) = host.aws.called("CompleteLifecycleAction")
    assert (call["LifecycleActionResult"], call["LifecycleHookName"]) == ("ABANDON", "Ready")
    assert (call["AutoScalingGroupName"], call["InstanceId"]) == (GROUP, INSTANCE)
    assert "abandoned the launch of this instance: docker: Error response" in host.aws.log[-1]
    assert host.aws.called("SetInstanceHealth") == []
    assert SLOT not in host.aws.objects


@pytest.mark.parametrize("waiting", [True, False])
def test_a_good_boot_lets_the_launch_continue(host: Host, waiting: bool) -> None:
    """Once; and a start without a launch, after a reboot, is as good."""
    host.aws.waiting = waiting

    told = host.boot()

    assert told["results"] == ["ready"]
    assert "traceship-host: preflight passed: 4 chips, driver 2.24.13.0" in host.lines()
    calls = [call["LifecycleActionResult"] for call in host.aws.called("CompleteLifecycleAction")]
    assert calls == ["CONTINUE"] * waiting
    assert host.aws.called("SetInstanceHealth") == []
    assert told["enabled"][3:] == ["traceship.service", "traceship-watch.service"]


def test_lines_of_the_containers_say_which_instance_it_was(host: Host) -> None:
    """And which release: many instances write to one log group."""
    _digest_mismatch(host)

    host.boot(starts=1)

    (refused,) = [json.loads(line) for line in host.lines() if line.startswith("{") and "refused" in line]
    assert (refused["instance"], refused["release"]) == (INSTANCE, host.digest[:12])


def test_the_servers_user_is_kept_from_the_instances_credentials_once(host: Host) -> None:
    """Whoever fetches is not; a start that failed and is tried again leaves no second rule."""
    host.root.faults = ("crash",)

    host.boot(starts=2)

    rules = (host.root.folder / "run/rules").read_text().splitlines()
    assert rules == ["OUTPUT --destination 169.254.169.254 --match owner --uid-owner 10002 --jump REJECT"]


def test_an_answer_to_the_hook_that_was_lost_is_given_again(host: Host) -> None:
    """The hook would otherwise end a good instance when its time is over."""
    host.aws.waiting, host.aws.lost = True, 2

    assert host.boot()["results"] == ["ready"]

    assert len(host.aws.called("CompleteLifecycleAction")) == 1


def test_a_cpu_instance_boots_without_chips_and_without_a_watch(cpu: World, aws: Aws, tmp_path: Path) -> None:
    """No preflight, no driver, no device; its launch continues all the same."""
    host = _host(cpu, aws, tmp_path)
    aws.waiting = True

    told = host.boot()

    assert told["results"] == ["ready"]
    assert "preflight" not in "".join(told["journal"])
    assert told["enabled"][3:] == ["traceship.service"]
    assert len(aws.called("CompleteLifecycleAction")) == 1


def test_the_preflight_comes_before_anything_is_asked_of_s3(host: Host) -> None:
    """A host that cannot serve fetches nothing."""
    _no_device(host)

    host.boot(starts=1)

    assert not (host.root.folder / "run/fetched").exists()
    assert not any("fetched" in line for line in host.lines())


@pytest.mark.parametrize(("age", "marked"), [(60.0, 0), (3500.0, 0), (3700.0, 1)])
def test_a_slot_that_is_in_use_keeps_a_broken_instance(host: Host, age: float, marked: int) -> None:
    """Until its hour is over; the instance says loudly that it stays."""
    host.aws.put(SLOT, b"i-other\n", age=age)
    _wrong_driver(host)

    host.boot(starts=1, failed=2)

    assert len(host.aws.called("SetInstanceHealth")) == marked
    assert ("NOT REPLACED, the fleet used its 1 of the hour" in host.aws.log[-1]) == (not marked)


@pytest.mark.parametrize(("denied", "words"), [("write", "the fleet's slots could not be asked"),
                                               ("health", "Auto Scaling refused")])  # fmt: skip
def test_without_an_answer_nothing_is_replaced(host: Host, denied: str, words: str) -> None:
    """And the line says so."""
    host.aws.denied.add(denied)
    _wrong_driver(host)

    host.boot(starts=1, failed=2)

    assert host.aws.called("SetInstanceHealth") == []
    assert f"NOT REPLACED, {words}" in host.aws.log[-1]


def test_without_a_log_group_the_reason_is_in_the_journal(host: Host) -> None:
    """And the instance is marked all the same."""
    host.aws.denied.add("logs")
    _wrong_driver(host)

    host.boot()

    assert any(
        "marked this instance Unhealthy: traceship-host: wrong driver" in line for line in host.lines()
    )
    assert any("the log group was not reached" in line for line in host.lines())
    assert len(host.aws.called("SetInstanceHealth")) == 1
