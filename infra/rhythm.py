"""How fast alarms react. A rollout's pauses are compared with it, so it lies apart from the CDK."""

from __future__ import annotations

PERIOD_SECONDS = 60
EVALUATIONS = 2
REACTION_SECONDS = PERIOD_SECONDS * EVALUATIONS
"""Shortest time from the first bad minute to the alarm."""
