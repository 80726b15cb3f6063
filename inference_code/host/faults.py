"""What makes an instance unfit to serve, and what is said when it cannot be replaced."""

from __future__ import annotations

from collections.abc import Sequence

from artifact.errors import TraceshipError

_REPLACE = "let the instance be replaced; if it comes back on others, see docs/host.md"


class HostFault(TraceshipError):
    """The instance must not serve any more."""

    id = "host-fault"


class UncorrectedMemory(HostFault):
    """A chip read memory that it could not correct: what it computed since may be wrong."""

    id = "uncorrected-memory-error"

    def __init__(self, *, device: int, kind: str, events: int) -> None:
        super().__init__(
            what=f"the memory of chip {device} is damaged", why=f"{kind}: {events}", fix=_REPLACE
        )


class HardwareErrors(HostFault):
    """Executions failed for the hardware's sake."""

    id = "neuron-hardware-errors"

    def __init__(self, *, events: int) -> None:
        super().__init__(
            what="the chips fail", why=f"{events} executions ended with a hardware error", fix=_REPLACE
        )


class DeviceMissing(HostFault):
    """A chip that the instance type has is not there."""

    id = "device-missing"

    def __init__(self, *, missing: Sequence[int], chips: int) -> None:
        names = ", ".join(f"/dev/neuron{number}" for number in missing)
        super().__init__(what=f"{names} is missing", why=f"the instance type has {chips} chips", fix=_REPLACE)


class DriverLost(HostFault):
    """The Neuron driver does not answer, or sees fewer chips than there are."""

    id = "neuron-driver-lost"

    def __init__(self, *, why: str) -> None:
        super().__init__(what="the Neuron driver does not answer for all chips", why=why, fix=_REPLACE)


class ServerNotReady(HostFault):
    """The server has not been ready for longer than a start may take."""

    id = "server-not-ready"

    def __init__(self, *, seconds: float, last: str) -> None:
        super().__init__(
            what=f"the server has not been ready for {seconds:.0f} seconds", why=last, fix=_REPLACE
        )


class ReplacementRefused(TraceshipError):
    """The fleet has replaced all that it may within the hour; a bad image must not eat it."""

    id = "replacement-refused"

    def __init__(self, *, slots: int) -> None:
        super().__init__(
            what="this instance is broken and will NOT be replaced now",
            why=f"the fleet used its {slots} of the hour",
            fix="look whether all instances have this fault (machine image, driver); see docs/host.md",
        )


class ReplacementUnknown(TraceshipError):
    """Nobody could be asked, or Auto Scaling refused; without an answer nothing is replaced."""

    id = "replacement-unknown"

    def __init__(self, *, why: str) -> None:
        super().__init__(
            what="this instance is broken and could NOT be replaced",
            why=why,
            fix="replace it by hand: `aws autoscaling set-instance-health --health-status Unhealthy`",
        )
