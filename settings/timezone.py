"""Time zones by their IANA names."""

from __future__ import annotations

import zoneinfo


def check_zone(text: str) -> str:
    """Return ``text`` as it is, such as ``Europe/Paris``.

    Raises:
        ValueError: no time zone of the IANA data base.
    """
    known = zoneinfo.available_timezones()
    if known and text not in known:
        raise ValueError("no time zone of that name, such as UTC or Europe/Paris")
    return text
