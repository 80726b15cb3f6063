"""What ``traceship compile --explain`` says about the cache: the key's fields, and what differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compile.cache.through import Explanation

_GROUPS_BY_COUNT = ("weights", "code", "files", "spelling", "config")
_MOST_DIFFERENCES = 20


def explanation_data(explanation: Explanation) -> dict[str, Any]:
    """For scripts: the key, all that it holds, and every difference to the nearest entry."""
    near = explanation.nearest
    return {
        "key": explanation.key.digest,
        "hit": explanation.hit,
        "holds": explanation.key.document,
        "nearest": None if near is None else near.key,
        "differs": [] if near is None else [vars(difference) for difference in near.differences],
    }


def explanation_text(explanation: Explanation) -> str:
    """For people: long groups by their number of fields."""
    lines = [f"cache key {explanation.key.digest} holds:"]
    for name, value in explanation.key.document.items():
        lines.append(f"  {name}: {_holding(name, value)}")
    if explanation.hit:
        return "\n".join([*lines, "an entry has this key: it was used"])
    near = explanation.nearest
    if near is None:
        return "\n".join([*lines, "no entry had this key, and there is none of this model"])
    lines.append(f"no entry had this key; the nearest one, {near.key}, differs in:")
    lines += [f"  {difference}" for difference in near.differences[:_MOST_DIFFERENCES]]
    left = len(near.differences) - _MOST_DIFFERENCES
    return "\n".join([*lines, f"  and {left} more (all of them with --json)"] if left > 0 else lines)


def _holding(name: str, value: Any) -> str:
    if name in _GROUPS_BY_COUNT and isinstance(value, dict):
        return f"{len(value)} digests" if name != "config" else f"{len(value)} values"
    if isinstance(value, dict):
        return ", ".join(f"{key} {inner}" for key, inner in value.items() if inner is not None) or "none"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
