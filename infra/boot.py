"""User data: what an instance does at boot to check itself and to fetch, verify and serve one release.

The machine image brings docker, amazon-ecr-credential-helper, curl, the ``aws`` command and, for Inf1,
the Neuron driver and neuron-monitor (docs/host.md). At boot nothing is installed: a few files are
written and units are started. The local AWS reads ``SERVE_ENV_FILE`` from the same text and starts the
same two commands as processes.
"""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import aws_cdk as cdk

from artifact import host, serving
from artifact.release import ReleaseLock, release_prefix
from infra.images import uri
from infra.instances import INF1_DRIVER
from infra.names import READY_HOOK, replacement_slots
from infra.replacements import slots
from infra.signing import signing_environment
from infra.timing import start_seconds
from infra.units import (
    ENV_IMAGE,
    MODEL_DIR,
    MONITOR_CONFIG_FILE,
    SCRIPT_FILE,
    SERVE_USER_ID,
    UNIT,
    UNITS,
    USER_ID,
    WATCH_UNIT,
    Units,
)
from settings.model import Host, Serve, Signing

INSTANCE_ENV_FILE = host.INSTANCE_ENV_FILE
UNIT_FILE = f"{UNITS}/{UNIT}"
DOCKER_CONFIG_FILE = "/root/.docker/config.json"
SCRIPT = Path(__file__).parent / "data" / "traceship-host.sh"
MONITOR_PERIOD_SECONDS = 5
"""Between two reports of neuron-monitor; its default."""


@dataclass(frozen=True)
class Boot:
    """What one instance needs to know. ``chips``: Inferentia devices to hand to the container.

    ``service``: the fleet's name in the metrics. ``min_size``: fewest instances of the fleet, of which a
    tenth may have themselves replaced in an hour.
    """

    lock: ReleaseLock
    serve: Serve
    signing: Signing
    host: Host
    bucket: str
    log_group: str
    chips: int
    service: str
    min_size: int

    def user_data(self) -> str:
        """The cloud-config text; tokens in it resolve at deploy time."""
        units = Units(
            lock=self.lock,
            log_group=self.log_group,
            chips=self.chips,
            neuron_monitor=self.host.neuron_monitor,
        )
        files = [
            _file(serving.SERVE_ENV_FILE, self.serve_env(), mode="0644"),
            _file(host.HOST_ENV_FILE, self.host_env(), mode="0644"),
            _file(DOCKER_CONFIG_FILE, self.docker_config(), mode="0600"),
            _file(SCRIPT_FILE, _script(), mode="0755"),
            _file(UNIT_FILE, units.serve(), mode="0644"),
        ]
        if self.chips:
            files += [
                _file(MONITOR_CONFIG_FILE, monitor_config(), mode="0644"),
                _file(f"{UNITS}/{WATCH_UNIT}", units.watch(), mode="0644"),
            ]
        started = [UNIT, WATCH_UNIT] if self.chips else [UNIT]
        return "#cloud-config\nwrite_files:\n" + "".join(files) + _commands(started)

    def serve_env(self) -> str:
        """``KEY=value`` lines for the containers that fetch and serve."""
        prefix = release_prefix(self.lock.name, self.lock.digest)
        values = {
            serving.ENV_RELEASE: f"s3://{self.bucket}/{prefix}",
            serving.ENV_DIGEST: self.lock.digest,
            serving.ENV_BUCKET_OWNER: cdk.Aws.ACCOUNT_ID,
            "AWS_REGION": cdk.Aws.REGION,
            "AWS_DEFAULT_REGION": cdk.Aws.REGION,  # the one that boto3 in the image reads
            serving.ENV_MODEL_DIR: MODEL_DIR,
            serving.ENV_HOST: "0.0.0.0",  # noqa: S104 - the security group admits the load balancer only
            serving.ENV_PORT: str(serving.PORT),
            **serve_environment(self.serve, service=self.service),
            **signing_environment(self.signing, self.lock),
            ENV_IMAGE: uri(self.lock.serving_image),
        }
        return _lines(values)

    def host_env(self) -> str:
        """``KEY=value`` lines for ``traceship-host`` and the watch."""
        values = {
            host.ENV_SERVE_USER: str(SERVE_USER_ID),
            host.ENV_CHIPS: str(self.chips),
            host.ENV_DRIVER: self.lock.artifact.requires.neuron_driver or INF1_DRIVER,
            host.ENV_BUCKET: self.bucket,
            host.ENV_SLOT_PREFIX: replacement_slots(self.service),
            host.ENV_SLOTS: str(slots(self.min_size)),
            host.ENV_LOG_GROUP: self.log_group,
            host.ENV_HOOK: READY_HOOK,
            host.ENV_START_SECONDS: str(start_seconds(self.lock)),
            host.ENV_PING: f"http://127.0.0.1:{serving.PORT}{serving.PING}",
            **({host.ENV_METRICS_PORT: str(self.host.metrics_port)} if self.chips else {}),
        }
        return _lines(values)

    def docker_config(self) -> str:
        """Docker logs in to the image's registry with the instance's own role."""
        registry = uri(self.lock.serving_image).partition("/")[0]
        return json.dumps({"credHelpers": {registry: "ecr-login"}}) + "\n"


def monitor_config() -> str:
    """What neuron-monitor shall report: cores, memory, executions, and the chips' memory errors.

    Source: aws-neuron/aws-neuron-sdk:tools/neuron-sys-tools/neuron-monitor-user-guide.rst.
    """
    runtime = ("neuroncore_counters", "memory_used", "execution_stats")
    config = {
        "period": f"{MONITOR_PERIOD_SECONDS}s",
        "neuron_runtimes": [{"tag_filter": ".*", "metrics": [{"type": name} for name in runtime]}],
        "system_metrics": [{"type": "neuron_hw_counters"}],
    }
    return json.dumps(config) + "\n"


@cache
def _script() -> str:
    """Without its comments: user data has 16 KiB, and who reads the script on a host has docs/host.md."""
    lines = SCRIPT.read_text(encoding="utf-8").splitlines()
    return "".join(
        f"{line}\n" for at, line in enumerate(lines) if not at or not line.lstrip().startswith("#")
    )


def _lines(values: dict[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in values.items())


def serve_environment(serve: Serve, *, service: str) -> dict[str, str]:
    """``[serve]`` as the environment of the server, on an instance and in an endpoint alike.

    ``service``: what its metrics call the fleet or the endpoint.
    """
    return {
        serving.ENV_BATCH_WINDOW_MS: f"{serve.batch_window_ms:g}",
        serving.ENV_DEADLINE_SECONDS: f"{serve.deadline_seconds:g}",
        serving.ENV_QUEUE_LIMIT: str(serve.queue_limit),
        serving.ENV_LOG: serve.request_log,
        serving.ENV_EMF: str(serve.metrics_seconds),
        serving.ENV_SERVICE: service,
        **({serving.ENV_WORKERS: str(serve.workers)} if serve.workers else {}),
        **({serving.ENV_OPENAI: "1"} if serve.openai else {}),
    }


def _file(path: str, content: str, *, mode: str) -> str:
    head = f"- path: {path}\n  owner: root:root\n  permissions: '{mode}'\n  content: |\n"
    return head + textwrap.indent(content, " " * 4)


def _commands(units: list[str]) -> str:
    instance_id = f'echo "{host.ENV_INSTANCE}=$(cloud-init query instance_id)" > {INSTANCE_ENV_FILE}'
    rows = [
        ["install", "-d", "-o", str(USER_ID), "-g", str(USER_ID), MODEL_DIR],
        ["sh", "-c", instance_id],
        ["systemctl", "daemon-reload"],
        ["systemctl", "enable", "--now", "--no-block", *units],
    ]
    return "runcmd:\n" + "".join(f"- {json.dumps(row)}\n" for row in rows)
