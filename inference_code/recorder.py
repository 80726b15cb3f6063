"""What is told of every request: to the model's metrics, and to the log."""

from __future__ import annotations

import time
from collections import Counter

from inference_code.exposition import Exposition
from inference_code.identity import Identity
from inference_code.log import RequestLog, release_name
from inference_code.metrics import Metrics
from inference_code.trail import Trail


class Recorder:
    """One for a server, whatever it serves."""

    def __init__(self, log: RequestLog) -> None:
        self._refused: Counter[str] = Counter()
        self.exposition = Exposition(lambda: log.dropped, lambda: dict(self._refused))
        self._log = log

    def metrics(self, model: str, *, deadline: float) -> Metrics:
        """Metrics for ``model``, which are on the page from now on."""
        found = Metrics(model, deadline=deadline)
        self.exposition.add(found)
        return found

    def refused(self, reason: str) -> None:
        """A connection was ended before it brought a request; only the event loop calls this.

        There is no line for it: whoever can make a server log can fill its log.
        """
        self._refused[reason] += 1

    def request(
        self,
        metrics: Metrics | None,
        identity: Identity,
        trail: Trail,
        *,
        method: str,
        route: str,
        status: int,
    ) -> None:
        """A request was answered, or its client is gone.

        Args:
            metrics: of the model that was asked, whose ``began`` was called; None: not a question to
                a model. Then it has a line only if it was refused: platforms ask /ping all day.
        """
        ended = time.monotonic()
        if metrics is not None:
            metrics.finished(status, trail, ended)
        elif status < 400:
            return
        if self._log.wants(status):
            facts = identity.facts()
            if metrics is not None:
                facts["model"] = metrics.model
                if metrics.digest:
                    facts["release"] = release_name(metrics.digest)
            facts |= {"method": method, "route": route, "status": status}
            _add(facts, trail, ended)
            self._log.write(time.time(), facts)


def _add(facts: dict[str, object], trail: Trail, ended: float) -> None:
    facts["ms"] = _ms(ended - trail.started)
    if trail.error:
        facts["error"] = trail.error
    stages = trail.stages(ended)
    if stages:
        facts["stages_ms"] = {stage: _ms(seconds) for stage, seconds in stages}
    if trail.inputs:
        facts |= {"inputs": trail.inputs, "tokens": trail.tokens}
    if trail.buckets:
        facts |= {"buckets": trail.buckets, "workers": trail.workers}


def _ms(seconds: float) -> float:
    """To two digits. ``round`` would print the number and read it again, seven times for each line."""
    return int(seconds * 100_000 + 0.5) / 100
