"""Why a worker could not serve."""

from __future__ import annotations

import signal

from artifact.errors import ProofFailed, TraceshipError
from inference_code.workers.messages import Refused


class WorkerRefused(TraceshipError):
    """A worker could not load the graphs; id, reason and exit code are those that it gave."""

    id = "worker-refused"

    def __init__(self, refused: Refused) -> None:
        super().__init__(what=refused.what, why=refused.why, fix=refused.fix)
        self.id = refused.id  # type: ignore[misc]
        self.exit_code = refused.exit_code  # type: ignore[misc]


class WorkerEnded(TraceshipError):
    """A worker's process ended by itself or was killed before it could serve."""

    id = "worker-ended"

    def __init__(self, *, number: int, code: int) -> None:
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        memory = (
            ", which is how the kernel ends what takes too much memory" if code == -signal.SIGKILL else ""
        )
        super().__init__(
            what=f"worker {number} ended before it could serve",
            why=f"{how}{memory}",
            fix="read its lines in the log; give the machine more memory, or set TRACESHIP_WORKERS lower",
        )


class GraphRaised(ProofFailed):
    """A graph raised in a worker. In a self-check that is no proof; a client is told ``InferenceFailed``."""

    id = "graph-raised"

    def __init__(self, *, number: int, error: str) -> None:
        super().__init__(
            what=f"worker {number} cannot run a graph",
            why=f"it raised {error}",
            fix="read its trace in the log; replace this machine, or if every machine fails, compile again",
        )


class WorkerHangs(TraceshipError):
    """A worker's process is there and does not get its graphs loaded."""

    id = "worker-hangs"

    def __init__(self, *, number: int, seconds: float) -> None:
        super().__init__(
            what=f"worker {number} does not load its graphs",
            why=f"it was not done after {seconds:g} seconds",
            fix="look for the driver's messages in the log; replace the machine if it happens again",
        )
