"""What ``serve`` is told: arguments first, then the environment, then the platform's defaults."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from artifact import serving
from artifact.keys import PublicKey, read_key, read_keys
from artifact.trust import read_envelope_file
from inference_code.emf import MAX_INTERVAL_SECONDS
from inference_code.engine import Limits
from inference_code.log import one_in
from inference_code.option_values import OptionInvalid, number, switch, whole_number
from inference_code.served import (
    MAX_DEADLINE_SECONDS,
    MAX_QUEUE,
    MAX_WINDOW_MS,
    MAX_WORKERS,
    MIN_DEADLINE_SECONDS,
    ServedModel,
    read_models,
)

LAME_DUCK_SECONDS = 2.0
"""After SIGTERM /ping fails for so long before the port closes, so that balancers look away first."""

_SHA256 = re.compile("[0-9a-f]{64}")
_SERVICE = re.compile(r"[A-Za-z0-9_.-]{1,128}")


@dataclass(frozen=True)
class ServeOptions:
    """``digest`` None and no ``keys``: serve whatever verifies. Port 0: any free one, named in the log.

    ``signature``: the envelope; ``None``: the one beside the folder. ``workers`` None: as many as fit.
    ``release``: name/digest, where the environment names the place in S3. ``log_one_in``: see
    ``log.RequestLog``. ``emf_seconds`` between two lines for CloudWatch, 0: none; ``service``: their
    dimension.
    ``openai``: answer OpenAI's route, too. ``named``: several models, instead of the one at ``path``.
    """

    path: Path
    digest: str | None
    host: str
    port: int
    limits: Limits
    lame_duck: float = LAME_DUCK_SECONDS
    keys: tuple[PublicKey, ...] = ()
    signature: bytes | None = None
    workers: int | None = None
    release: str = ""
    log_one_in: int = 1
    emf_seconds: int = 0
    service: str = "traceship"
    openai: bool = False
    named: tuple[ServedModel, ...] = ()

    @property
    def models(self) -> tuple[ServedModel, ...]:
        """What to serve."""
        one = ServedModel(
            name=serving.DEFAULT_MODEL,
            path=self.path,
            limits=self.limits,
            digest=self.digest,
            keys=self.keys,
            signature=self.signature,
            workers=self.workers,
            release=self.release,
        )
        return self.named or (one,)


def serve_options(
    environ: Mapping[str, str],
    *,
    path: str | None = None,
    host: str | None = None,
    port: str | None = None,
    digest: str | None = None,
    keys: Sequence[str] = (),
    signature: str | None = None,
    lame_duck: str | None = None,
    workers: str | None = None,
    models: str | None = None,
) -> ServeOptions:
    """Return the options, each validated.

    Raises:
        OptionInvalid: names the argument or the variable.
        KeyUnusable, SignatureMissing, EnvelopeUnreadable: about the files that were named.
        LogOptionInvalid: TRACESHIP_LOG.
        ModelsFileInvalid: the file that names several models.
    """
    limits, pinned, file = (
        _limits(environ),
        pinned_keys(environ, keys),
        models or environ.get(serving.ENV_MODELS),
    )
    if file and (path or digest or signature):
        raise OptionInvalid(
            name="--models", value=file, wanted="given alone: the file has path, digest and signature"
        )
    return ServeOptions(
        path=Path(path or environ.get(serving.ENV_MODEL_DIR) or serving.MODEL_DIR),
        digest=pinned_digest(environ, digest),
        keys=pinned,
        named=read_models(Path(file), limits, pinned) if file else (),
        signature=given_signature(environ, signature),
        host=host or environ.get(serving.ENV_HOST) or "127.0.0.1",
        port=_port(environ, port),
        limits=limits,
        openai=switch(serving.ENV_OPENAI, environ.get(serving.ENV_OPENAI)),
        workers=_workers(environ, workers),
        release="/".join(environ.get(serving.ENV_RELEASE, "").split("/")[-2:]),
        log_one_in=one_in(environ),
        emf_seconds=_emf_seconds(environ),
        service=_service(environ),
        lame_duck=LAME_DUCK_SECONDS if lame_duck is None else number("--lame-duck", lame_duck, at_most=20),
    )


def pinned_digest(environ: Mapping[str, str], digest: str | None = None) -> str | None:
    """The digest that an argument or TRACESHIP_DIGEST pins, or None."""
    name, value = ("--digest", digest) if digest else (serving.ENV_DIGEST, environ.get(serving.ENV_DIGEST))
    if not value:
        return None
    if not _SHA256.fullmatch(value):
        raise OptionInvalid(name=name, value=value, wanted="a SHA-256 of 64 small hex digits")
    return value


def pinned_keys(environ: Mapping[str, str], files: Sequence[str] = ()) -> tuple[PublicKey, ...]:
    """The keys in PEM ``files``, or those of TRACESHIP_PUBLIC_KEYS; none: no signature is asked for.

    Raises:
        OptionInvalid: a file cannot be read.
        KeyUnusable: it holds no key of ours.
    """
    if files:
        return tuple(_key_in(file) for file in files)
    lines = environ.get(serving.ENV_PUBLIC_KEYS)
    return read_keys(lines, name=serving.ENV_PUBLIC_KEYS) if lines else ()


def given_signature(environ: Mapping[str, str], file: str | None = None) -> bytes | None:
    """The envelope in ``file``, or the one of TRACESHIP_SIGNATURE, or None.

    Raises:
        OptionInvalid: the variable does not hold base64.
        SignatureMissing, EnvelopeUnreadable: there is no such file, or it is none.
    """
    if file:
        return read_envelope_file(Path(file))
    value = environ.get(serving.ENV_SIGNATURE)
    if not value:
        return None
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        shown = value[:16] + "…"
        raise OptionInvalid(
            name=serving.ENV_SIGNATURE, value=shown, wanted="the base64 of an envelope"
        ) from None


def _key_in(file: str) -> PublicKey:
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise OptionInvalid(name="--key", value=file, wanted="a readable PEM file") from None
    return read_key(text, name=file)


def _port(environ: Mapping[str, str], port: str | None) -> int:
    name, value = ("--port", port) if port else (serving.ENV_PORT, environ.get(serving.ENV_PORT))
    if not value:
        return serving.PORT
    if not value.isascii() or not value.isdigit() or int(value) > 65_535:
        raise OptionInvalid(name=name, value=value, wanted="a port from 0 to 65535")
    return int(value)


def _workers(environ: Mapping[str, str], workers: str | None) -> int | None:
    name, value = (
        ("--workers", workers) if workers else (serving.ENV_WORKERS, environ.get(serving.ENV_WORKERS))
    )
    return whole_number(name, value, at_most=MAX_WORKERS) if value else None


def _emf_seconds(environ: Mapping[str, str]) -> int:
    value = environ.get(serving.ENV_EMF) or "0"
    return whole_number(serving.ENV_EMF, value, at_least=0, at_most=MAX_INTERVAL_SECONDS)


def _service(environ: Mapping[str, str]) -> str:
    value = environ.get(serving.ENV_SERVICE) or "traceship"
    if not _SERVICE.fullmatch(value):
        wanted = "1 to 128 of A-Z, a-z, 0-9, _, . and -"
        raise OptionInvalid(name=serving.ENV_SERVICE, value=value, wanted=wanted)
    return value


def _limits(environ: Mapping[str, str]) -> Limits:
    plain = Limits()
    window, deadline, queue = (
        environ.get(name)
        for name in (serving.ENV_BATCH_WINDOW_MS, serving.ENV_DEADLINE_SECONDS, serving.ENV_QUEUE_LIMIT)
    )
    return Limits(
        queue=int(number(serving.ENV_QUEUE_LIMIT, queue, at_least=1, at_most=MAX_QUEUE))
        if queue
        else plain.queue,
        deadline=number(
            serving.ENV_DEADLINE_SECONDS,
            deadline,
            at_least=MIN_DEADLINE_SECONDS,
            at_most=MAX_DEADLINE_SECONDS,
        )
        if deadline
        else plain.deadline,
        window=number(serving.ENV_BATCH_WINDOW_MS, window, at_most=MAX_WINDOW_MS) / 1000
        if window
        else plain.window,
    )
