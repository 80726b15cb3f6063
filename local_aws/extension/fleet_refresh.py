"""Instance refresh: every outdated instance is replaced, new before old, or all go back.

A new instance must answer before an old one is terminated, whatever MinHealthyPercentage allows.
Checkpoint delays and bake time are cut to ``LONGEST_WAIT_SECONDS``: the order of events is the
real one, the waiting is not. A named alarm in ALARM stops the refresh, as on AWS.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from local_aws.extension import fleet_stores as stores
from local_aws.extension.fleet_engine import FleetEngine, LaunchFailed, timestamp
from local_aws.extension.fleet_stores import Record, Template

LONGEST_WAIT_SECONDS = 1.0
_RUNNING = ("Pending", "InProgress", "Baking", "Cancelling", "RollbackInProgress")
_KEPT = 20


class RefreshStopped(Exception):
    """The refresh cannot go on; the message is the reason."""


@dataclass(frozen=True, kw_only=True)
class Preferences:
    """What of RefreshPreferences changes what happens here. ``given`` is shown by Describe."""

    skip_matching: bool
    auto_rollback: bool
    checkpoints: tuple[int, ...]
    checkpoint_delay: float
    bake_time: float
    alarms: tuple[str, ...]
    given: Record

    @classmethod
    def parse(cls, given: Record) -> Preferences:
        """From the API or from a template; a number may be a string.

        Defaults: SkipMatching is true in a template and false in the API, so callers set it.
        """
        checkpoints = tuple(int(percent) for percent in given.get("CheckpointPercentages") or [])
        return cls(
            skip_matching=_truth(given.get("SkipMatching", False)),
            auto_rollback=_truth(given.get("AutoRollback", False)),
            checkpoints=checkpoints,
            checkpoint_delay=float(given.get("CheckpointDelay", 3600 if checkpoints else 0)),
            bake_time=float(given.get("BakeTime", 0)),
            alarms=tuple((given.get("AlarmSpecification") or {}).get("Alarms") or []),
            given=given,
        )


class Refresh:
    """One refresh of one group."""

    def __init__(
        self, engine: FleetEngine, group: Record, target: Template, preferences: Preferences
    ) -> None:
        self._engine = engine
        self._group = group
        self._target = target
        self._preferences = preferences
        self._interrupted = threading.Event()
        self._wish: Literal["cancel", "roll back"] = "cancel"
        self.record: Record = {
            "InstanceRefreshId": str(uuid.uuid4()),
            "AutoScalingGroupName": group["AutoScalingGroupName"],
            "Status": "Pending",
            "StartTime": timestamp(),
            "PercentageComplete": 0,
            "InstancesToUpdate": len(self._outdated(target)),
            "Preferences": preferences.given,
            "DesiredConfiguration": {"LaunchTemplate": target.specification()},
            "Strategy": "Rolling",
        }
        group["InstanceRefreshes"] = [self.record, *group.get("InstanceRefreshes", [])][:_KEPT]

    def interrupt(self, wish: Literal["cancel", "roll back"]) -> None:
        """Stop after the instance in hand; then stay as it is, or go back."""
        self._wish = wish
        self.record["Status"] = "Cancelling" if wish == "cancel" else "RollbackInProgress"
        self._interrupted.set()

    def run(self, previous: Template) -> bool:
        """Replace instances until all run the target; whether that succeeded.

        Args:
            previous: what a rollback launches again.
        """
        with self._engine.lock(self._group):
            try:
                self._replace_all()
            except RefreshStopped as stop:
                self._give_up(str(stop), previous)
                return False
            self._finish("Successful")
            return True

    def _replace_all(self) -> None:
        if not self._interrupted.is_set():
            self.record["Status"] = "InProgress"
        outdated = self._outdated(self._target)
        reached: set[int] = set()
        self._check()
        for done, entry in enumerate(outdated, start=1):
            self._replace(entry, self._target)
            self.record["InstancesToUpdate"] = len(outdated) - done
            self.record["PercentageComplete"] = 100 * done // len(outdated)
            self._check()
            self._pause_at_checkpoints(reached)
        if self._preferences.bake_time:
            self.record["Status"] = "Baking"
            self._wait(self._preferences.bake_time)

    def _replace(self, old: Record, template: Template) -> None:
        """One new instance that answers, then one old instance less.

        Raises:
            RefreshStopped: the new one does not come up; it has been terminated again.
        """
        try:
            new = self._engine.launch(self._group, template)
        except LaunchFailed as failure:
            raise RefreshStopped(str(failure)) from failure
        try:
            self._engine.await_ready(new)
        except LaunchFailed as failure:
            self._engine.terminate(self._group, [new], "the replacement did not come into service")
            raise RefreshStopped(str(failure)) from failure
        self._engine.terminate(self._group, [old], "replaced by an instance refresh")

    def _pause_at_checkpoints(self, reached: set[int]) -> None:
        percent = self.record["PercentageComplete"]
        new = {one for one in self._preferences.checkpoints if one <= percent < 100} - reached
        if new:
            reached |= new
            self._wait(self._preferences.checkpoint_delay)

    def _wait(self, seconds: float) -> None:
        self._interrupted.wait(min(seconds, LONGEST_WAIT_SECONDS))
        self._check()

    def _check(self) -> None:
        if self._interrupted.is_set():
            raise RefreshStopped("stopped by the caller")
        ringing = stores.alarms_ringing(self._preferences.alarms)
        if ringing:
            raise RefreshStopped(f"CloudWatch alarm in ALARM: {', '.join(ringing)}")

    def _give_up(self, reason: str, previous: Template) -> None:
        cancelled = self._interrupted.is_set() and self._wish == "cancel"
        asked_back = self._interrupted.is_set() and self._wish == "roll back"
        if cancelled:
            self._finish("Cancelled", reason)
        elif asked_back or self._preferences.auto_rollback:
            self._roll_back(reason, previous)
        else:
            self._finish("Failed", reason)

    def _roll_back(self, reason: str, previous: Template) -> None:
        changed = [
            one for one in self._group["Instances"] if one["LaunchTemplate"] != previous.specification()
        ]
        self.record.update(Status="RollbackInProgress", StatusReason=reason)
        self.record["RollbackDetails"] = {
            "RollbackReason": reason,
            "RollbackStartTime": timestamp(),
            "PercentageCompleteOnRollback": self.record["PercentageComplete"],
            "InstancesToUpdateOnRollback": len(changed),
        }
        try:
            for entry in changed:
                self._replace(entry, previous)
        except RefreshStopped as stop:
            self._finish("RollbackFailed", f"{reason}; and back: {stop}")
            return
        self._finish("RollbackSuccessful", reason)

    def _finish(self, status: str, reason: str = "") -> None:
        self.record.update(Status=status, EndTime=timestamp())
        if reason:
            self.record["StatusReason"] = reason[:1000]

    def _outdated(self, template: Template) -> list[Record]:
        instances = list(self._group["Instances"])
        if not self._preferences.skip_matching:
            return instances
        return [
            one
            for one in instances
            if one["LaunchTemplate"] != template.specification()
            or one["InstanceType"] != template.instance_type
        ]


class Refreshes:
    """The refresh that runs in each group, if one does."""

    def __init__(self, engine: FleetEngine) -> None:
        self._engine = engine
        self._running: dict[str, Refresh] = {}

    def begin(self, group: Record, target: Template, preferences: Preferences) -> Refresh:
        """A refresh that is Pending; its ``run`` does the work."""
        refresh = Refresh(self._engine, group, target, preferences)
        self._running[group["AutoScalingGroupARN"]] = refresh
        return refresh

    def running(self, group: Record) -> Refresh | None:
        """The refresh that has not ended."""
        refresh = self._running.get(group["AutoScalingGroupARN"])
        return refresh if refresh is not None and refresh.record["Status"] in _RUNNING else None

    def stop_all(self) -> None:
        """Interrupt every refresh, for the end of the process."""
        for refresh in self._running.values():
            if refresh.record["Status"] in _RUNNING:
                refresh.interrupt("cancel")


def template_preferences(policy: Mapping[str, Any]) -> Preferences:
    """From CloudFormation's ``AutoScalingInstanceRefresh``: matching is skipped, failure goes back."""
    given = {"SkipMatching": True, **(policy.get("Preferences") or {}), "AutoRollback": True}
    return Preferences.parse(given)


def _truth(value: object) -> bool:
    return str(value).lower() == "true"
