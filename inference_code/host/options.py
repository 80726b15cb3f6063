"""What the instance's files say, as the watch needs it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from artifact import host, serving
from inference_code.option_values import OptionInvalid


@dataclass(frozen=True)
class WatchOptions:
    """``ready_within``: seconds that the server may be away. ``interval``: seconds between two lines of
    metrics. ``metrics_port``: 0 for any free one. ``devices``: folder of the host's device nodes.
    """

    instance: str
    chips: int
    devices: Path
    ping: str
    ready_within: float
    bucket: str
    owner: str
    slot_prefix: str
    slots: int
    service: str
    digest: str
    interval: int
    metrics_port: int


def watch_options(environ: Mapping[str, str]) -> WatchOptions:
    """
    Raises:
        OptionInvalid: names the variable.
    """
    given = environ.get(serving.ENV_EMF) or "60"
    interval = "60" if given == "0" else given  # the server may be silent, a heartbeat may not
    return WatchOptions(
        instance=_text(environ, host.ENV_INSTANCE, "i-[0-9a-f]{8,17}"),
        chips=_whole(environ, host.ENV_CHIPS, 1),
        devices=Path(environ.get(host.ENV_DEVICES) or "/dev"),
        ping=_text(environ, host.ENV_PING, r"http://127\.0\.0\.1:[0-9]+/.*"),
        ready_within=float(_whole(environ, host.ENV_START_SECONDS, 1)),
        bucket=_text(environ, host.ENV_BUCKET, "[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"),
        owner=_text(environ, serving.ENV_BUCKET_OWNER, "[0-9]{12}"),
        slot_prefix=_text(environ, host.ENV_SLOT_PREFIX, "[^/].*[^/]"),
        slots=_whole(environ, host.ENV_SLOTS, 1),
        service=_text(environ, serving.ENV_SERVICE, ".{1,255}"),
        digest=_text(environ, serving.ENV_DIGEST, "[0-9a-f]{64}"),
        interval=_whole({serving.ENV_EMF: interval}, serving.ENV_EMF, 1),
        metrics_port=_whole(environ, host.ENV_METRICS_PORT, 0),
    )


def _text(environ: Mapping[str, str], name: str, pattern: str) -> str:
    value = environ.get(name) or ""
    if not re.fullmatch(pattern, value):
        raise OptionInvalid(name=name, value=value, wanted=f"a value like {pattern}")
    return value


def _whole(environ: Mapping[str, str], name: str, least: int) -> int:
    value = environ.get(name) or ""
    if not (value.isascii() and value.isdigit() and len(value) < 7 and int(value) >= least):
        raise OptionInvalid(name=name, value=value, wanted=f"a whole number from {least}")
    return int(value)
