"""User data: what an instance does at boot, as text that cloud-init and the local AWS both read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import yaml

from artifact import host, serving
from artifact.release import release_prefix
from infra.boot import (
    DOCKER_CONFIG_FILE,
    INSTANCE_ENV_FILE,
    MODEL_DIR,
    SCRIPT,
    SCRIPT_FILE,
    SERVE_USER_ID,
    UNIT,
    UNIT_FILE,
    UNITS,
    USER_ID,
    WATCH_UNIT,
)
from infra.names import MAX_PROJECT_NAME
from tests.infra.worlds import CHECKOUT, DIGEST, INF1, World, lock_of, settings_of, synthesise, text_of

LONGER_NAMES = 800
"""What an account's bucket, log group and region add to the placeholders of a test, all told."""

LOCKED_DOWN = (
    "--read-only",
    "--cap-drop ALL",
    "--security-opt no-new-privileges",
)


def _user_data(world: World) -> str:
    template = world.properties("fleet", "AWS::EC2::LaunchTemplate")
    return text_of(template["LaunchTemplateData"]["UserData"])


def _files(world: World) -> dict[str, dict[str, Any]]:
    config = yaml.safe_load(_user_data(world))
    return {file["path"]: file for file in config["write_files"]}


def _environment(world: World) -> dict[str, str]:
    lines = _files(world)[serving.SERVE_ENV_FILE]["content"].splitlines()
    return dict(line.split("=", 1) for line in lines)


def _unit(world: World) -> dict[str, list[str]]:
    """Values of the unit by key, continued lines joined."""
    found: dict[str, list[str]] = {}
    for line in str(_files(world)[UNIT_FILE]["content"]).replace("\\\n", " ").splitlines():
        key, separator, value = line.partition("=")
        if separator:
            found.setdefault(key, []).append(re.sub(r" +", " ", value))
    return found


def test_it_is_a_cloud_config(cpu: World) -> None:
    """cloud-init looks at the first line, and at 16 KiB at most."""
    text = _user_data(cpu)

    assert text.startswith("#cloud-config\n")
    assert len(text.encode()) < 16_384
    assert set(yaml.safe_load(text)) == {"write_files", "runcmd"}


def test_the_environment_names_release_owner_and_limits(cpu: World) -> None:
    """Everything that fetch and serve need, and only what they know."""
    bucket = "<traceship-artifacts:ExportsOutputRefArtifacts"
    environment = _environment(cpu)

    assert environment.pop(serving.ENV_RELEASE).startswith(f"s3://{bucket}")
    assert environment == {
        serving.ENV_DIGEST: DIGEST,
        serving.ENV_BUCKET_OWNER: "111122223333",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        serving.ENV_MODEL_DIR: MODEL_DIR,
        serving.ENV_HOST: "0.0.0.0",
        serving.ENV_PORT: "8080",
        serving.ENV_BATCH_WINDOW_MS: "2",
        serving.ENV_DEADLINE_SECONDS: "20",
        serving.ENV_QUEUE_LIMIT: "256",
        serving.ENV_LOG: "all",
        serving.ENV_EMF: "60",
        serving.ENV_SERVICE: "traceship-fleet",
        "TRACESHIP_IMAGE": "111122223333.dkr.ecr.eu-west-1.amazonaws.com/traceship/serving@sha256:"
        + "0" * 64,
    }


def test_the_release_is_named_to_the_last_character(cpu: World) -> None:
    """Bucket, name and digest; a prefix would leave room for another release."""
    assert _environment(cpu)[serving.ENV_RELEASE].endswith(f"/releases/traceship/{DIGEST}")


def test_limits_of_the_settings_reach_the_server(pinned: World) -> None:
    """Fractions are written as the server parses them."""
    environment = _environment(pinned)

    assert float(environment[serving.ENV_BATCH_WINDOW_MS]) == 0.5
    assert float(environment[serving.ENV_DEADLINE_SECONDS]) == 40
    assert int(environment[serving.ENV_QUEUE_LIMIT]) == 99
    assert environment[serving.ENV_OPENAI] == "1"
    assert int(environment[serving.ENV_WORKERS]) == 3


def test_the_unit_fetches_then_serves(cpu: World) -> None:
    """Two containers of the same image; nothing runs if the fetch fails."""
    unit = _unit(cpu)

    leftovers, confine, fetch = unit["ExecStartPre"]
    assert confine == f"{SCRIPT_FILE} confine"
    assert leftovers.startswith("-/usr/bin/docker rm --force traceship-fetch traceship-serve")
    assert fetch.endswith("${TRACESHIP_IMAGE} fetch")
    assert unit["ExecStart"][0].endswith("${TRACESHIP_IMAGE} serve")
    assert not fetch.startswith("-")
    assert f":{MODEL_DIR} " in fetch
    assert f":{MODEL_DIR}:ro " in unit["ExecStart"][0]


def test_fetch_and_serve_are_arguments_of_the_images_entry_point() -> None:
    """In exec form, so that a stop reaches the server itself."""
    dockerfile = (CHECKOUT / "inference_code/Dockerfile").read_text()

    assert 'ENTRYPOINT ["python", "-m", "inference_code"]' in dockerfile


def test_the_containers_may_change_nothing(cpu: World) -> None:
    """Read-only, not root, no capabilities, no new privileges."""
    for command in (_unit(cpu)["ExecStartPre"][2], _unit(cpu)["ExecStart"][0]):
        for option in (*LOCKED_DOWN, f"--env-file {serving.SERVE_ENV_FILE}"):
            assert option in command
        assert "--privileged" not in command


def test_every_container_knows_on_which_instance_it_runs(inf1: World) -> None:
    """From the file that is written at boot; each line of the log says it."""
    texts = [str(_files(inf1)[f"{UNITS}/{name}"]["content"]) for name in (UNIT, WATCH_UNIT)]
    commands = re.findall(r"docker run .*", "".join(texts).replace("\\\n", " "))
    wanted = f"--env {serving.ENV_INSTANCE}=${{{host.ENV_INSTANCE}}}"

    assert [wanted in command for command in commands] == [True] * 3
    assert all(f"EnvironmentFile={INSTANCE_ENV_FILE}" in text for text in texts)


def test_the_server_has_a_user_of_its_own(cpu: World, inf1: World) -> None:
    """Who fetches and who watches asks AWS for something; the server does not, and is known by its user."""
    ((watch,),) = [
        re.findall(r"docker run .*", _files(inf1)[f"{UNITS}/{WATCH_UNIT}"]["content"].replace("\\\n", " "))
    ]
    fetch, serve = _unit(cpu)["ExecStartPre"][2], _unit(cpu)["ExecStart"][0]
    users = [re.findall(r"--user (\S+)", command) for command in (fetch, watch, serve)]

    assert users == [[f"{USER_ID}:{USER_ID}"], [f"{USER_ID}:{USER_ID}"], [f"{SERVE_USER_ID}:{USER_ID}"]]
    assert len({0, USER_ID, SERVE_USER_ID}) == 3


def test_one_device_a_chip_goes_to_the_server(cpu: World, inf1: World) -> None:
    """inf1.6xlarge has four chips; a cpu type has none, and fetching needs none."""
    devices = re.findall(r"--device (\S+)", _unit(inf1)["ExecStart"][0])

    assert devices == [f"/dev/neuron{n}" for n in range(4)]
    assert "--device" not in _user_data(cpu)
    assert "--device" not in str(_unit(inf1)["ExecStartPre"])


def test_stopping_outlasts_draining(cpu: World) -> None:
    """Server drains, then the container is killed, then the unit: in that order."""
    unit = _unit(cpu)
    container = int(re.findall(r"--stop-timeout (\d+)", unit["ExecStart"][0])[0])
    asked = int(re.findall(r"stop -t (\d+)", unit["ExecStop"][0])[0])

    assert serving.DRAIN_SECONDS <= container == asked < int(unit["TimeoutStopSec"][0])
    assert unit["Restart"] == ["always"]


def test_docker_logs_in_with_the_instances_own_role(cpu: World) -> None:
    """No password is written anywhere; only root reads the file."""
    file = _files(cpu)[DOCKER_CONFIG_FILE]

    assert json.loads(file["content"]) == {
        "credHelpers": {"111122223333.dkr.ecr.eu-west-1.amazonaws.com": "ecr-login"}
    }
    assert file["permissions"] == "0600"


def test_the_unit_is_started_without_waiting(cpu: World) -> None:
    """cloud-init ends before the fetch does; the folder belongs to the container's user."""
    commands = yaml.safe_load(_user_data(cpu))["runcmd"]

    assert commands[0] == ["install", "-d", "-o", str(USER_ID), "-g", str(USER_ID), MODEL_DIR]
    assert INSTANCE_ENV_FILE in commands[1][2]
    assert commands[-1] == ["systemctl", "enable", "--now", "--no-block", UNIT]


def test_the_host_knows_what_it_is_compared_with(inf1: World) -> None:
    """Chips of the type, the release's driver, the fleet's slots, the hook, the limit of a start."""
    lines = _files(inf1)[host.HOST_ENV_FILE]["content"].splitlines()
    environment = dict(line.split("=", 1) for line in lines)

    assert environment.pop(host.ENV_BUCKET).startswith("<traceship-artifacts:ExportsOutputRefArtifacts")
    assert environment.pop(host.ENV_LOG_GROUP).startswith("<Logs")
    assert environment == {
        host.ENV_SERVE_USER: str(SERVE_USER_ID),
        host.ENV_CHIPS: "4",
        host.ENV_DRIVER: "2.24",
        host.ENV_SLOT_PREFIX: "fleets/traceship-fleet/replacements",
        host.ENV_SLOTS: "1",
        host.ENV_HOOK: "Ready",
        host.ENV_START_SECONDS: "900",
        host.ENV_PING: "http://127.0.0.1:8080/ping",
        host.ENV_METRICS_PORT: "8081",
    }


def test_the_preflight_is_first_on_inf1_and_nowhere_else(cpu: World, inf1: World) -> None:
    """Before the fetch; ready and stopped tell of every start."""
    assert _unit(inf1)["ExecStartPre"][1] == f"{SCRIPT_FILE} preflight"
    assert "preflight" not in str(_unit(cpu))
    for unit in (_unit(cpu), _unit(inf1)):
        assert unit["ExecStartPost"] == [f"{SCRIPT_FILE} ready"]
        assert unit["ExecStopPost"] == [f"{SCRIPT_FILE} stopped"]
        assert unit["StartLimitIntervalSec"] == ["0"]


def test_a_watch_is_on_inf1_only_and_opens_no_device(cpu: World, inf1: World) -> None:
    """neuron-monitor is piped in; the container sees device nodes and can open none."""
    unit = _files(inf1)[f"{UNITS}/{WATCH_UNIT}"]["content"].replace("\\\n", " ")
    (command,) = re.findall(r"^ExecStart=/bin/sh -c '(.*)'$", unit, flags=re.MULTILINE)

    assert command.startswith("/opt/aws/neuron/bin/neuron-monitor -c /etc/traceship/neuron-monitor.json | ")
    assert "--volume /dev:/host/dev:ro" in command
    assert "--device" not in command
    assert all(option in command for option in LOCKED_DOWN)
    assert command.endswith("${TRACESHIP_IMAGE} watch")
    assert yaml.safe_load(_user_data(inf1))["runcmd"][-1][-1] == WATCH_UNIT
    assert WATCH_UNIT not in _user_data(cpu)


def test_the_script_on_the_host_is_the_one_of_the_checkout_without_its_comments(cpu: World) -> None:
    """Its first line and every command."""
    file = _files(cpu)[SCRIPT_FILE]
    commands = [line for line in SCRIPT.read_text().splitlines() if not line.lstrip().startswith("#")]

    assert file["permissions"] == "0755"
    assert file["content"].splitlines() == ["#!/bin/sh", *commands]


def test_the_largest_user_data_fits(tmp_path: Path) -> None:
    """EC2 takes 16 KiB: sixteen chips, the longest names, and as much signing as an environment holds."""
    name = "a" * MAX_PROJECT_NAME
    fleet = {"instance_types": ["inf1.24xlarge"], "min_size": 1000, "max_size": 1000}
    settings = settings_of({**INF1, "project": {"name": name}, "fleet": fleet})
    lock = lock_of("inf1", name=name)
    location = msgspec.structs.replace(lock.location, prefix=release_prefix(name, DIGEST))
    world = synthesise(tmp_path, settings, msgspec.structs.replace(lock, location=location))
    template = next(iter(world.all("fleet", "AWS::EC2::LaunchTemplate").values()))
    text = text_of(template["Properties"]["LaunchTemplateData"]["UserData"])
    signing = sum(len(variable) + 2 + serving.MAX_ENV_BYTES for variable in
                  (serving.ENV_PUBLIC_KEYS, serving.ENV_SIGNATURE))  # fmt: skip

    assert len(text.encode()) + signing + LONGER_NAMES < 16_384
    policy = [{key: text_of(value) if key == "Resource" else value for key, value in row.items()}
              for row in world.policy("fleet", "RolePolicy")]  # fmt: skip
    assert len(json.dumps(policy, separators=(",", ":"))) + LONGER_NAMES < 6_144
