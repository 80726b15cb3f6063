"""User data: what an instance does at boot to fetch, verify and serve one release.

The machine image brings docker, amazon-ecr-credential-helper and, for Inf1, the Neuron driver.
At boot nothing is installed: two files are written and one unit is started. The local AWS reads
``SERVE_ENV_FILE`` from the same text and starts the same two commands as processes.
"""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass

import aws_cdk as cdk

from artifact import serving
from artifact.release import ReleaseLock, release_prefix
from infra.images import uri
from infra.signing import signing_environment
from infra.timing import CONTAINER_STOP_SECONDS, UNIT_STOP_SECONDS
from settings.model import Serve, Signing

UNIT = "traceship.service"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
INSTANCE_ENV_FILE = "/etc/traceship/instance.env"
DOCKER_CONFIG_FILE = "/root/.docker/config.json"
MODEL_DIR = "/var/lib/traceship/model"
ENV_IMAGE = "TRACESHIP_IMAGE"
USER_ID = 10001
"""Numeric, because the name need not exist in the image; not 0."""

START_LIMIT_SECONDS = 900
"""Pull and fetch must be done within this; longer means that something is wrong."""


@dataclass(frozen=True)
class Boot:
    """What one instance needs to know. ``chips``: Inferentia devices to hand to the container.

    ``service``: the fleet's name in the metrics.
    """

    lock: ReleaseLock
    serve: Serve
    signing: Signing
    bucket: str
    log_group: str
    chips: int
    service: str

    def user_data(self) -> str:
        """The cloud-config text; tokens in it resolve at deploy time."""
        files = (
            _file(serving.SERVE_ENV_FILE, self.serve_env(), mode="0644"),
            _file(DOCKER_CONFIG_FILE, self.docker_config(), mode="0600"),
            _file(UNIT_FILE, self.unit(), mode="0644"),
        )
        return "#cloud-config\nwrite_files:\n" + "".join(files) + _commands()

    def serve_env(self) -> str:
        """``KEY=value`` lines for both containers."""
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
        return "".join(f"{name}={value}\n" for name, value in values.items())

    def docker_config(self) -> str:
        """Docker logs in to the image's registry with the instance's own role."""
        host = uri(self.lock.serving_image).partition("/")[0]
        return json.dumps({"credHelpers": {host: "ecr-login"}}) + "\n"

    def unit(self) -> str:
        """The systemd unit: fetch, then serve, each in a container that may change nothing else."""
        return "\n".join(
            [
                "[Unit]",
                f"Description=traceship: serve {self.lock.name} {self.lock.digest[:12]}",
                "Requires=docker.service",
                "Wants=network-online.target",
                "After=docker.service network-online.target",
                "",
                "[Service]",
                f"EnvironmentFile={serving.SERVE_ENV_FILE}",
                f"EnvironmentFile={INSTANCE_ENV_FILE}",
                "ExecStartPre=-/usr/bin/docker rm --force traceship-fetch traceship-serve",
                f"ExecStartPre={self._fetch()}",
                f"ExecStart={self._serve()}",
                f"ExecStop=/usr/bin/docker stop -t {CONTAINER_STOP_SECONDS} traceship-serve",
                f"TimeoutStartSec={START_LIMIT_SECONDS}",
                f"TimeoutStopSec={UNIT_STOP_SECONDS}",
                "Restart=always",
                "RestartSec=5",
                "",
                "[Install]",
                "WantedBy=multi-user.target",
                "",
            ]
        )

    def _fetch(self) -> str:
        return self._run("fetch", volume=f"{MODEL_DIR}:{MODEL_DIR}", options=[])

    def _serve(self) -> str:
        devices = [f"--device /dev/neuron{chip}" for chip in range(self.chips)]
        stop = f"--stop-timeout {CONTAINER_STOP_SECONDS}"
        return self._run("serve", volume=f"{MODEL_DIR}:{MODEL_DIR}:ro", options=[*devices, stop])

    def _run(self, command: str, *, volume: str, options: list[str]) -> str:
        """Host networking: instance credentials stay one hop away, so a hop limit of 1 suffices."""
        parts = [
            f"/usr/bin/docker run --rm --name traceship-{command}",
            "--network host --read-only --tmpfs /tmp --env HOME=/tmp",
            f"--user {USER_ID}:{USER_ID} --cap-drop ALL --security-opt no-new-privileges",
            f"--env-file {serving.SERVE_ENV_FILE}",
            f"--volume {volume}",
            *options,
            f"--log-driver awslogs --log-opt awslogs-region={cdk.Aws.REGION}",
            f"--log-opt awslogs-group={self.log_group}",
            f"--log-opt awslogs-stream=${{INSTANCE_ID}}/{command}",
            f"${{{ENV_IMAGE}}} {command}",
        ]
        return " \\\n  ".join(parts)


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
    head = f"  - path: {path}\n    owner: root:root\n    permissions: '{mode}'\n    content: |\n"
    return head + textwrap.indent(content, " " * 6)


def _commands() -> str:
    instance_id = f'echo "INSTANCE_ID=$(cloud-init query instance_id)" > {INSTANCE_ENV_FILE}'
    rows = [
        ["install", "-d", "-o", str(USER_ID), "-g", str(USER_ID), MODEL_DIR],
        ["sh", "-c", instance_id],
        ["systemctl", "daemon-reload"],
        ["systemctl", "enable", "--now", "--no-block", UNIT],
    ]
    return "runcmd:\n" + "".join(f"  - {json.dumps(row)}\n" for row in rows)
