"""A fault and a slot of the fleet -> an instance that Auto Scaling replaces."""

from __future__ import annotations

from enum import Enum

from artifact.aws import AwsClient, translated
from artifact.errors import TraceshipError
from artifact.host import SLOT_SECONDS
from inference_code.host.faults import HostFault, ReplacementRefused, ReplacementUnknown
from inference_code.host.slots import Slots
from inference_code.log import logger

ASK_AGAIN_SECONDS = 300.0
"""After a No, or no answer."""


class Outcome(Enum):
    """``MARKED``: Auto Scaling replaces the instance. Otherwise it stays, and says so loudly."""

    MARKED = "marked"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Replacement:
    """Asks for this instance, as often as is decent."""

    def __init__(self, slots: Slots, autoscaling: AwsClient, *, instance: str) -> None:
        self._slots = slots
        self._autoscaling = autoscaling
        self._instance = instance
        self._not_before = self._slot_until = float("-inf")
        self._slot: str | None = None

    def ask(self, fault: HostFault, now: float) -> Outcome | None:
        """``now`` in seconds of a steady clock; None where it was asked not long ago."""
        if now < self._not_before:
            return None
        outcome = self._ask(fault, now)
        # What was marked is gone long before; if not, the fleet may still have it replaced in an hour.
        self._not_before = now + (SLOT_SECONDS if outcome is Outcome.MARKED else ASK_AGAIN_SECONDS)
        return outcome

    def _ask(self, fault: HostFault, now: float) -> Outcome:
        facts = {"fault": fault.id, "fault_what": fault.what, "fault_why": fault.why}
        try:
            slot = self._held(fault, now)
            if slot is None:
                _log(ReplacementRefused(slots=self._slots.count), facts)
                return Outcome.REFUSED
            with translated("mark this instance Unhealthy"):
                self._autoscaling.set_instance_health(
                    InstanceId=self._instance, HealthStatus="Unhealthy", ShouldRespectGracePeriod=False
                )
        except TraceshipError as error:
            _log(ReplacementUnknown(why=str(error)), facts)
            return Outcome.UNKNOWN
        logger.error("marked Unhealthy", extra={**facts, "slot": slot, "fix": fault.fix})
        return Outcome.MARKED

    def _held(self, fault: HostFault, now: float) -> str | None:
        """A slot for an hour. Where Auto Scaling refused the mark the next try takes no other one."""
        if now >= self._slot_until:
            self._slot = self._slots.take(f"{self._instance} {fault.id}: {fault}\n")
            if self._slot is not None:
                self._slot_until = now + SLOT_SECONDS
        return self._slot


def _log(error: TraceshipError, facts: dict[str, str]) -> None:
    words = {"error": error.id, "what": error.what, "why": error.why, "fix": error.fix}
    logger.error("not replaced", extra={**words, **facts})
