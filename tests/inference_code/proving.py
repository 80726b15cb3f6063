"""A loaded model through the self-check of a server's start."""

from __future__ import annotations

from inference_code.load import LoadedModel
from inference_code.selfcheck import costs, selfcheck


def proven(model: LoadedModel) -> dict[str, float]:
    """Replay the golden set in this process; return seconds of one run by bucket name."""
    selfcheck(model, model)
    return costs(model, model)
