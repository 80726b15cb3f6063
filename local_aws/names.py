"""What the launcher, the server and the processes that the server starts agree on.

Standard library only: both interpreters import it.
"""

from __future__ import annotations

from pathlib import Path

LOOPBACK = "127.0.0.1"
ACCOUNT = "000000000000"
REGION = "us-east-1"
ACCESS_KEY = "testing"
"""Any key is accepted; a 12-digit one would choose another account."""

ENV_PORT = "TRACESHIP_LOCAL_PORT"
ENV_STATE = "TRACESHIP_LOCAL_STATE"
"""State folder; also the mark by which ``down`` knows the processes that belong to it."""
ENV_PYTHON = "TRACESHIP_PYTHON"
"""The project's interpreter: replicas and compile jobs run in it, not in the server's."""

INTERNAL_PREFIX = "/_traceship/"
READY = "ready"
"""Answers 200 and the server's pid once everything that was restored runs again."""

UNREAD = "unread"
"""Answers the properties that no provisioner looked at."""

FAULTS = "faults"
"""Takes and answers the calls that are to fail (extension/faults.py)."""


def endpoint(port: int) -> str:
    """The URL that every AWS client on this machine talks to (CDK needs the name, not the number)."""
    return f"http://localhost:{port}"


def record(state: Path) -> Path:
    """JSON with pid and port of the server that holds the lock."""
    return state / "server.json"


def lock(state: Path) -> Path:
    """Locked by the server for as long as it lives, so a reused pid is never taken for it."""
    return state / "server.lock"


def log(state: Path) -> Path:
    """Everything the server printed since the last ``up`` that started one."""
    return state / "server.log"


def client_environment(state: Path, port: int) -> dict[str, str]:
    """What makes an AWS client talk to this server and to nothing else."""
    nowhere = str(state / "no-aws-config")
    return {
        "AWS_ENDPOINT_URL": endpoint(port),
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": ACCESS_KEY,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": nowhere,
        "AWS_SHARED_CREDENTIALS_FILE": nowhere,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": f"localhost,{LOOPBACK}",
        "no_proxy": f"localhost,{LOOPBACK}",
    }


FOREIGN = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CA_BUNDLE",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
)
"""Variables of a real account that must not be set beside ``client_environment``."""
