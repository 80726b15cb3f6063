"""What the instances of a fleet agree on beside the server: names, files and the share that may go.

``infra`` writes these into an instance's files; the script there (``infra/data/traceship-host.sh``) and
``inference_code/host`` read them.
"""

from __future__ import annotations

HOST_ENV_FILE = "/etc/traceship/host.env"
INSTANCE_ENV_FILE = "/etc/traceship/instance.env"
"""``INSTANCE_ID=…``: the only thing that an instance does not know from its launch template."""

ENV_INSTANCE = "INSTANCE_ID"
ENV_SERVE_USER = "TRACESHIP_SERVE_USER"
"""Number of the user that the server runs as, to whom the instance's metadata are shut."""
ENV_CHIPS = "TRACESHIP_CHIPS"
"""Inferentia chips that the instance type has; each is a device node /dev/neuronN."""
ENV_DRIVER = "TRACESHIP_DRIVER"
"""Version of the Neuron driver, ``2.24``: the first numbers of what the kernel reports."""
ENV_BUCKET = "TRACESHIP_BUCKET"
ENV_SLOT_PREFIX = "TRACESHIP_SLOT_PREFIX"
ENV_SLOTS = "TRACESHIP_SLOTS"
"""Where the fleet keeps its slots, and how many: objects ``PREFIX/0`` to ``PREFIX/SLOTS-1``."""
ENV_LOG_GROUP = "TRACESHIP_LOG_GROUP"
ENV_HOOK = "TRACESHIP_HOOK"
ENV_START_SECONDS = "TRACESHIP_START_SECONDS"
ENV_PING = "TRACESHIP_PING"
"""URL that answers 200 where the server is ready."""
ENV_METRICS_PORT = "TRACESHIP_HOST_METRICS_PORT"
"""Port on loopback where the watch answers Prometheus."""
ENV_DEVICES = "TRACESHIP_DEVICES"
"""Folder in which the watch finds the host's device nodes."""

SLOT_SECONDS = 3600
"""An instance that has itself replaced holds a slot of its fleet for so long."""

METRICS_DIMENSION = "Service"
"""The only one: what the watch writes and the stack's dashboard reads, in ``serving.METRICS_NAMESPACE``."""

NODE = "neuron"
"""Device nodes are called so, and a number from 0."""
