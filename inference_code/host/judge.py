"""Reports, device nodes and ``/ping`` -> a fault, or none. Knows no clock and asks nobody."""

from __future__ import annotations

from collections.abc import Sequence

from inference_code.host.faults import (
    DeviceMissing,
    DriverLost,
    HardwareErrors,
    HostFault,
    ServerNotReady,
    UncorrectedMemory,
)
from inference_code.host.reports import Report

LOOKS_IN_A_ROW = 3
"""What may be a glitch of a look counts when so many in a row agree."""


class Judge:
    """Damage stays; what may heal is forgotten when it has.

    ``chips``: how many the instance type has. ``ready_within``: seconds that the server may be away.
    """

    def __init__(self, *, chips: int, ready_within: float) -> None:
        self._chips = chips
        self._ready_within = ready_within
        self._damage: HostFault | None = None
        self._driver: HostFault | None = None
        self._driver_looks = 0
        self._missing: tuple[int, ...] = ()
        self._missing_looks = 0
        self._away_since: float | None = None
        self._away: HostFault | None = None

    def fault(self) -> HostFault | None:
        """The worst that is known now."""
        missing = None
        if self._missing_looks >= LOOKS_IN_A_ROW:
            missing = DeviceMissing(missing=self._missing, chips=self._chips)
        driver = self._driver if self._driver_looks >= LOOKS_IN_A_ROW else None
        return self._damage or missing or driver or self._away

    def report(self, report: Report) -> None:
        """Corrected errors only count (figures.py): the chip did its work."""
        for (device, kind), events in report.ecc.items():
            if kind.endswith("_uncorrected") and events:
                self._damage = self._damage or UncorrectedMemory(device=device, kind=kind, events=events)
        if events := report.errors.get("hardware", 0):
            self._damage = self._damage or HardwareErrors(events=events)
        why = report.driver_error
        if not why and report.devices is not None and report.devices < self._chips:
            why = f"it sees {report.devices} chips of {self._chips}"
        self._driver = DriverLost(why=why) if why else None
        self._driver_looks = self._driver_looks + 1 if why else 0

    def devices(self, missing: Sequence[int]) -> None:
        """A look at the device nodes: which of them are not there."""
        self._missing = tuple(missing)
        self._missing_looks = self._missing_looks + 1 if missing else 0

    def ping(self, trouble: str | None, now: float) -> None:
        """A look at ``/ping``: why it was not 200, or None; ``now`` in seconds of any steady clock."""
        if trouble is None:
            self._away_since = self._away = None
            return
        if self._away_since is None:
            self._away_since = now
        away = now - self._away_since
        self._away = ServerNotReady(seconds=away, last=trouble) if away >= self._ready_within else None
