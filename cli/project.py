"""The folder that a command works in: its settings, its lock, and the AWS account it talks to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import click

from artifact.aws import AwsClient, client_config, is_local, translated
from artifact.canonical import encode
from artifact.errors import UsageError
from artifact.failpoints import failpoint
from artifact.release import LOCK_FILE, ReleaseLock
from compile.durable import naming, sync_file, sync_folder
from infra.lock import LockMissing, read_lock
from settings.load import load
from settings.model import Settings

STATE_FOLDER = ".traceship"


@dataclass(frozen=True)
class Project:
    """Paths, settings and AWS of one command. Nothing is read before it is asked for."""

    settings_path: Path
    stage: str | None

    @classmethod
    def of(cls, ctx: click.Context) -> Project:
        """The project that the command line names."""
        found = ctx.find_root().obj
        return cls(settings_path=Path(found["settings"]), stage=found["stage"])

    @property
    def root(self) -> Path:
        """The folder of the settings file; the lock and our working files lie there."""
        return self.settings_path.resolve().parent

    @property
    def lock_path(self) -> Path:
        return self.root / LOCK_FILE

    @property
    def state(self) -> Path:
        """Working files that may be deleted at any time."""
        return self.root / STATE_FOLDER

    @cached_property
    def settings(self) -> Settings:
        return load(self.settings_path, stage=self.stage)

    def lock(self) -> ReleaseLock:
        """Return the lock.

        Raises:
            LockMissing, LockInvalid: see there.
        """
        lock = read_lock(self.lock_path)
        if lock is None:
            raise LockMissing(path=self.lock_path, sections="this command")
        return lock

    def write_lock(self, lock: ReleaseLock) -> None:
        """Replace the lock in one step; a reader sees the old one or the new one, after a power cut too."""
        partial = self.lock_path.with_suffix(".partial")
        with failpoint("lock.write"), naming(self.lock_path):
            partial.write_bytes(encode(lock))
            sync_file(partial)
        with failpoint("lock.replace"):
            partial.replace(self.lock_path)
            sync_folder(self.root)

    @cached_property
    def region(self) -> str:
        """Region of the settings, else of the environment."""
        with translated("find the region"):
            return str(self.settings.project.region or self._session.region_name or "us-east-1")

    @cached_property
    def account(self) -> str:
        """Account of the credentials in use, which must be the one of the settings if they name one.

        Raises:
            WrongAccount: they differ.
        """
        found = self._caller["Account"]
        wanted = self.settings.project.account
        if wanted is not None and wanted != found:
            raise WrongAccount(found=found, wanted=wanted)
        return found

    @property
    def caller(self) -> str:
        """ARN of the credentials in use."""
        return self._caller["Arn"]

    @cached_property
    def _caller(self) -> dict[str, str]:
        with translated("learn which account these credentials belong to"):
            found = self.client("sts").get_caller_identity()
        return {name: str(found[name]) for name in ("Account", "Arn")}

    def client(self, service: str) -> AwsClient:
        """A boto3 client with bounded time-outs and the SDK's standard retries."""
        config = client_config(local=is_local())
        with translated(f"reach {service}"):
            return self._session.client(service, region_name=self.settings.project.region, config=config)

    @cached_property
    def _session(self) -> Any:
        import boto3

        return boto3.Session(region_name=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"))


class WrongAccount(UsageError):
    """The credentials belong to another account than the settings name."""

    id = "wrong-account"

    def __init__(self, *, found: str, wanted: str) -> None:
        super().__init__(
            what="these credentials are for another AWS account",
            why=f"they belong to {found}, the settings say {wanted}",
            fix="set AWS_PROFILE to a profile of that account, or correct project.account",
        )
