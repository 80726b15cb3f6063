"""The folder that a command works in: its settings, its lock, and the AWS account it talks to."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import click

from artifact.aws import AwsClient, client_config, is_local, translated
from artifact.canonical import encode
from artifact.errors import UsageError
from artifact.failpoints import failpoint
from artifact.release import ReleaseLock
from compile.durable import naming, sync_file, sync_folder
from infra.canary import read_canary, wanted_canary
from infra.lock import LockMissing, read_lock, seen_by
from infra.names import canary_lock_file, lock_file
from settings.load import load, load_all
from settings.model import Settings

STATE_FOLDER = ".traceship"


@dataclass(frozen=True)
class Project:
    """Paths, settings and AWS of one command. Nothing is read before it is asked for."""

    settings_path: Path
    stage: str | None
    service: str | None = None
    profile: str | None = None
    """Of the AWS configuration; None: what the environment says."""
    canary: bool = False
    """Whether the lock to write is that of the canary (``for_canary``)."""

    @classmethod
    def of(cls, ctx: click.Context) -> Project:
        """The project that the command line names."""
        found = ctx.find_root().obj
        return cls(Path(found["settings"]), stage=found["stage"], service=found["service"])

    @property
    def root(self) -> Path:
        """The folder of the settings file; the lock and our working files lie there."""
        return self.settings_path.resolve().parent

    @property
    def lock_path(self) -> Path:
        """Of the service that was named, or of the only one; there may be no settings beside it."""
        if not self.settings_path.exists():
            return self.root / lock_file(
                Settings().of(stage=self.stage, service=self.service, runs=self.service)
            )
        name = canary_lock_file if self.canary else lock_file
        return self.root / name(self.settings)

    @property
    def lock_paths(self) -> tuple[Path, ...]:
        """Of every service."""
        if not self.settings_path.exists():
            return (self.lock_path,)
        return tuple(dict.fromkeys(self.root / lock_file(settings) for settings in self.all_settings))

    @property
    def state(self) -> Path:
        """Working files that may be deleted at any time."""
        return self.root / STATE_FOLDER

    @property
    def service_state(self) -> Path:
        """Working files of one service."""
        return self.state if self.settings.runs is None else self.state / "services" / self.settings.runs

    @cached_property
    def settings(self) -> Settings:
        """Of the service that was named, or of the only one."""
        return load(self.settings_path, stage=self.stage, service=self.service)

    @cached_property
    def all_settings(self) -> tuple[Settings, ...]:
        """Of every service, or of the one that was named."""
        return load_all(self.settings_path, stage=self.stage, service=self.service)

    @property
    def shared(self) -> Settings:
        """Of any service; for what all have in common."""
        return self.all_settings[0]

    @property
    def services(self) -> tuple[Project, ...]:
        """This project once for each of its services."""
        return tuple(replace(self, service=settings.service) for settings in self.all_settings)

    def lock(self) -> ReleaseLock:
        """Return the lock.

        Raises:
            LockMissing, LockInvalid: see there.
        """
        lock = seen_by(self.settings, read_lock(self.lock_path))
        if lock is None:
            raise LockMissing(path=self.lock_path, who="this command")
        return lock

    def canary_lock(self) -> ReleaseLock | None:
        """Return the canary's lock, None where the settings want no canary.

        Raises:
            CanaryLockMissing, LockInvalid: see there.
        """
        return wanted_canary(self.settings, read_canary(self.settings, self.root))

    def for_canary(self) -> Project:
        """The same project with the canary's lock in place of the release's.

        Raises:
            NoCanary: the settings have none.
        """
        endpoint = self.settings.endpoint
        if endpoint is None or endpoint.canary is None:
            raise NoCanary(settings=self.settings_path)
        return replace(self, canary=True)

    def check_ships(self) -> None:
        """See that the service has a release of its own to make.

        Raises:
            ReleaseOfAnother: it runs what another one ships.
        """
        settings = self.settings
        if settings.runs != settings.service:
            raise ReleaseOfAnother(service=str(settings.service), runs=str(settings.runs))

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
            return str(self.shared.project.region or self._session.region_name or "us-east-1")

    @cached_property
    def account(self) -> str:
        """Account of the credentials in use, which must be the one of the settings if they name one.

        Raises:
            WrongAccount: they differ.
        """
        found = self._caller["Account"]
        wanted = self.shared.project.account
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

    def client(self, service: str, region: str | None = None) -> AwsClient:
        """A boto3 client with bounded time-outs and the SDK's standard retries, in the project's region."""
        config = client_config(local=is_local())
        with translated(f"reach {service}"):
            return self._session.client(
                service, region_name=region or self.shared.project.region, config=config
            )

    @cached_property
    def _session(self) -> Any:
        import boto3

        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        return boto3.Session(region_name=region, profile_name=self.profile)


class ReleaseOfAnother(UsageError):
    """A service was to make a release, and runs another one's."""

    id = "release-of-another"

    def __init__(self, *, service: str, runs: str) -> None:
        super().__init__(
            what=f"the service {service} makes no release of its own",
            why=f'it runs what {runs} ships (release = "{runs}"), whose model its settings do not describe',
            fix=f"name that one: `traceship --service {runs} …`; what it ships, both run after a deploy",
        )


class WrongAccount(UsageError):
    """The credentials belong to another account than the settings name."""

    id = "wrong-account"

    def __init__(self, *, found: str, wanted: str) -> None:
        super().__init__(
            what="these credentials are for another AWS account",
            why=f"they belong to {found}, the settings say {wanted}",
            fix="set AWS_PROFILE to a profile of that account, or correct project.account",
        )


class NoCanary(UsageError):
    """A canary was asked for that the settings do not have."""

    id = "no-canary"

    def __init__(self, *, settings: Path) -> None:
        super().__init__(
            what=f"{settings} has no canary",
            why="a canary is a second release behind the endpoint, and no [endpoint.canary] asks for one",
            fix="add [endpoint.canary] (docs/endpoint.md), or leave out --canary",
        )
