"""The compile stack as its client sees it. ``cli/cloud.py`` finds one in an account."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from artifact.aws import AwsClient
from compile.cache.environment import Environment, in_batch
from compile.cache.remembered import Remembered

MODELS, COMPILED = "models", "compiled"
"""Prefixes of the bucket that jobs may read from and write to (``infra/compile_stack.py``)."""


@dataclass(frozen=True)
class Clients:
    """boto3 clients of the account and region of the deployment."""

    s3: AwsClient
    states: AwsClient
    batch: AwsClient
    logs: AwsClient


@dataclass(frozen=True)
class Deployment:
    """Where rows go. ``machine`` is an ARN, ``queues`` are names or ARNs, ``image`` ends in its digest.

    ``account`` must own the bucket. ``remembered`` spares hashing a model's files again. ``pause``
    returns after the time between two looks at an execution. ``give_up_after``: lasting failures of a row.
    """

    account: str
    bucket: str
    machine: str
    queues: tuple[str, ...]
    log_group: str
    image: str
    clients: Clients
    remembered: Remembered
    pause: Callable[[], None]
    give_up_after: int = 3

    @property
    def environment(self) -> Environment:
        """What shapes an artifact there, for its key."""
        return in_batch(self.image)
