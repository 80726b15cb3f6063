"""Which artifacts a server serves: one, or those that a file names.

The file is a JSON list, one object a model; only name and path are needed:

    [{"name": "qa", "path": "/opt/models/qa", "digest": "…", "signature": "/opt/models/qa.dsse.json",
      "workers": 2, "queue_limit": 256, "deadline_seconds": 20, "batch_window_ms": 2}, …]

Each has workers, a queue and limits of its own. What an object leaves out is as for a single model.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import msgspec

from artifact.errors import UsageError
from artifact.keys import PublicKey
from artifact.trust import read_envelope_file
from inference_code.engine import Limits

MAX_WORKERS = 100
"""More than the 64 NeuronCores of the largest instance, and the numbers that a CloudWatch metric takes."""
MAX_QUEUE = 10_000
MIN_DEADLINE_SECONDS = 0.001
MAX_DEADLINE_SECONDS = 60.0
MAX_WINDOW_MS = 100.0


class ModelsFileInvalid(UsageError):
    """The file that names the models cannot be used."""

    id = "models-file-invalid"

    def __init__(self, *, path: str, why: str) -> None:
        super().__init__(
            what=f"the models of {path} cannot be served",
            why=why,
            fix='write a JSON list of {"name", "path"} with the optional keys of docs/serving-several.md',
        )


@dataclass(frozen=True)
class ServedModel:
    """``digest`` None and no ``keys``: serve whatever verifies. ``signature``: the envelope, or the one
    beside the folder. ``workers`` None: its share of the machine. ``release``: its name and digest in S3."""

    name: str
    path: Path
    limits: Limits
    digest: str | None = None
    keys: tuple[PublicKey, ...] = ()
    signature: bytes | None = None
    workers: int | None = None
    release: str = ""


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
    path: str
    digest: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")] | None = None
    signature: str | None = None
    workers: Annotated[int, msgspec.Meta(ge=1, le=MAX_WORKERS)] | None = None
    queue_limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_QUEUE)] | None = None
    deadline_seconds: (
        Annotated[float, msgspec.Meta(ge=MIN_DEADLINE_SECONDS, le=MAX_DEADLINE_SECONDS)] | None
    ) = None
    batch_window_ms: Annotated[float, msgspec.Meta(ge=0, le=MAX_WINDOW_MS)] | None = None


def read_models(file: Path, plain: Limits, keys: tuple[PublicKey, ...]) -> tuple[ServedModel, ...]:
    """The models that ``file`` names, in its order.

    Args:
        plain: limits of those that name none.
        keys: of which one must have signed each.

    Raises:
        ModelsFileInvalid: it cannot be read, is no such list, is empty, or names a model twice.
        SignatureMissing, EnvelopeUnreadable: about a signature that it names.
    """
    try:
        entries = msgspec.json.decode(file.read_bytes(), type=list[_Entry])
    except OSError as error:
        raise ModelsFileInvalid(path=str(file), why=error.strerror or str(error)) from None
    except msgspec.DecodeError as error:
        raise ModelsFileInvalid(path=str(file), why=str(error)) from None
    twice = [name for name, count in Counter(entry.name for entry in entries).items() if count > 1]
    if twice or not entries:
        why = f"it names {twice[0]} more than once" if twice else "it names none"
        raise ModelsFileInvalid(path=str(file), why=why)
    return tuple(_served(entry, plain, keys) for entry in entries)


def _served(entry: _Entry, plain: Limits, keys: tuple[PublicKey, ...]) -> ServedModel:
    limits = plain
    if entry.queue_limit is not None:
        limits = replace(limits, queue=entry.queue_limit)
    if entry.deadline_seconds is not None:
        limits = replace(limits, deadline=entry.deadline_seconds)
    if entry.batch_window_ms is not None:
        limits = replace(limits, window=entry.batch_window_ms / 1000)
    return ServedModel(
        name=entry.name,
        path=Path(entry.path),
        limits=limits,
        digest=entry.digest,
        keys=keys,
        signature=None if entry.signature is None else read_envelope_file(Path(entry.signature)),
        workers=entry.workers,
    )
