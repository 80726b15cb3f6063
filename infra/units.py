"""The systemd units of an instance: the server's, and on Inf1 the one that watches the chips.

Every container is one of the serving image that may change nothing. systemd decides when a start has
failed; ``data/traceship-host.sh`` tells Auto Scaling.
"""

from __future__ import annotations

from dataclasses import dataclass

import aws_cdk as cdk

from artifact import host, serving
from artifact.release import ReleaseLock
from infra.timing import CONTAINER_STOP_SECONDS, UNIT_STOP_SECONDS, start_seconds

UNIT = "traceship.service"
WATCH_UNIT = "traceship-watch.service"
UNITS = "/etc/systemd/system"
SCRIPT_FILE = "/usr/local/sbin/traceship-host"
MONITOR_CONFIG_FILE = "/etc/traceship/neuron-monitor.json"
MODEL_DIR = "/var/lib/traceship/model"
HOST_DEVICES = "/host/dev"
ENV_IMAGE = "TRACESHIP_IMAGE"
USER_ID = 10001
"""Of the containers that ask AWS for something. Not 0; a number, because the image need not know a name."""
SERVE_USER_ID = 10002
"""Of the server, which asks AWS for nothing: its user is kept from the instance's credentials."""
WATCH_STOP_SECONDS = 10
RESTART_SECONDS = 15
"""Between two starts: long enough that a fault of three starts has lasted most of a minute."""


@dataclass(frozen=True)
class Units:
    """``chips``: Inferentia devices of the instance. ``neuron_monitor``: its program on the host."""

    lock: ReleaseLock
    log_group: str
    chips: int
    neuron_monitor: str

    def serve(self) -> str:
        """Check, fetch, serve, be ready; it is started once it is ready, or has failed."""
        preflight = [f"ExecStartPre={SCRIPT_FILE} preflight"] if self.chips else []
        return _text(
            [
                "[Unit]",
                f"Description=traceship: serve {self.lock.name} {self.lock.digest[:12]}",
                "Requires=docker.service",
                "Wants=network-online.target",
                "After=docker.service network-online.target",
                # It never gives up: traceship-host has the instance replaced, and may be refused.
                "StartLimitIntervalSec=0",
                "",
                "[Service]",
                *_environment(),
                "RuntimeDirectory=traceship",
                "RuntimeDirectoryPreserve=yes",
                "ExecStartPre=-/usr/bin/docker rm --force traceship-fetch traceship-serve",
                *preflight,
                f"ExecStartPre={SCRIPT_FILE} confine",
                f"ExecStartPre={self._fetch()}",
                f"ExecStart={self._serve()}",
                f"ExecStartPost={SCRIPT_FILE} ready",
                f"ExecStop=/usr/bin/docker stop -t {CONTAINER_STOP_SECONDS} traceship-serve",
                f"ExecStopPost={SCRIPT_FILE} stopped",
                f"TimeoutStartSec={start_seconds(self.lock)}",
                f"TimeoutStopSec={UNIT_STOP_SECONDS}",
                "Restart=always",
                f"RestartSec={RESTART_SECONDS}",
                "",
                "[Install]",
                "WantedBy=multi-user.target",
            ]
        )

    def watch(self) -> str:
        """neuron-monitor on the host, piped into a container: when either ends, both start again.

        It begins when the server has started or failed: until then preflight and start watch.
        """
        container = self._run(
            "watch",
            [
                "--interactive",
                f"--env-file {host.HOST_ENV_FILE}",
                f"--env-file {host.INSTANCE_ENV_FILE}",
                f"--env {host.ENV_DEVICES}={HOST_DEVICES}",
                f"--volume /dev:{HOST_DEVICES}:ro",
            ],
        )
        # A monitor that is not there must not keep the watch from looking at device nodes and /ping.
        pipe = f"{self.neuron_monitor} -c {MONITOR_CONFIG_FILE} | {container}"
        return _text(
            [
                "[Unit]",
                "Description=traceship: watch the Inferentia chips",
                "Requires=docker.service",
                f"After=docker.service {UNIT}",
                "StartLimitIntervalSec=0",
                "",
                "[Service]",
                *_environment(),
                "ExecStartPre=-/usr/bin/docker rm --force traceship-watch",
                f"ExecStart=/bin/sh -c '{pipe}'",
                f"ExecStop=/usr/bin/docker stop -t {WATCH_STOP_SECONDS} traceship-watch",
                f"TimeoutStopSec={UNIT_STOP_SECONDS}",
                "Restart=always",
                f"RestartSec={RESTART_SECONDS}",
                "",
                "[Install]",
                "WantedBy=multi-user.target",
            ]
        )

    def _fetch(self) -> str:
        return self._run("fetch", [f"--volume {MODEL_DIR}:{MODEL_DIR}"])

    def _serve(self) -> str:
        devices = [f"--device /dev/{host.NODE}{chip}" for chip in range(self.chips)]
        stop = f"--stop-timeout {CONTAINER_STOP_SECONDS}"
        model = f"--volume {MODEL_DIR}:{MODEL_DIR}:ro"
        return self._run("serve", [model, *devices, stop], user=SERVE_USER_ID)

    def _run(self, command: str, options: list[str], *, user: int = USER_ID) -> str:
        """Host networking: instance credentials stay one hop away, so a hop limit of 1 suffices, and the
        host's rules know whose a connection is."""
        parts = [
            f"/usr/bin/docker run --rm --name traceship-{command}",
            "--network host --read-only --tmpfs /tmp --env HOME=/tmp",
            f"--user {user}:{USER_ID} --cap-drop ALL --security-opt no-new-privileges",
            f"--env-file {serving.SERVE_ENV_FILE} --env {serving.ENV_INSTANCE}=${{{host.ENV_INSTANCE}}}",
            *options,
            f"--log-driver awslogs --log-opt awslogs-region={cdk.Aws.REGION}",
            f"--log-opt awslogs-group={self.log_group}",
            f"--log-opt awslogs-stream=${{{host.ENV_INSTANCE}}}/{command}",
            f"${{{ENV_IMAGE}}} {command}",
        ]
        return " \\\n  ".join(parts)


def _environment() -> list[str]:
    files = (serving.SERVE_ENV_FILE, host.HOST_ENV_FILE, host.INSTANCE_ENV_FILE)
    return [f"EnvironmentFile={file}" for file in files]


def _text(lines: list[str]) -> str:
    return "\n".join([*lines, ""])
