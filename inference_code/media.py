"""Content-Type and Accept of a request: which form the body has, and in which one the answer goes.

Accept is read as RFC 9110, section 12.5.1, has it: the most specific range that matches a type
gives its quality. What cannot be read in it says nothing.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from inference_code.errors import NotAcceptable, UnsupportedMediaType

JSON = "application/json"
LINES = "application/jsonlines"
CSV = "text/csv"
NPY = "application/x-npy"

ALIASES: Mapping[str, tuple[str, ...]] = {LINES: ("application/x-jsonlines", "application/x-ndjson")}
"""Other names of a type. A client that asks for one of them gets that one back."""

_READ = {JSON: JSON, LINES: LINES, CSV: CSV, **dict.fromkeys(ALIASES[LINES], LINES)}
_REMEMBERED = 64
"""Headers of which the meaning is kept: clients send the same ones again and again."""
_EVERYTHING = {b"", b"*/*"}
_UTF8 = {"utf-8", "utf8", "us-ascii"}
_HEADER = {"present", "absent"}
_QUALITY = re.compile(r"[01]|[01]?\.[0-9]{1,16}|[01]\.")


@dataclass(frozen=True)
class Content:
    """Form of a body. ``header``: its first row names the columns (RFC 4180, section 3)."""

    kind: str = JSON
    header: bool = False


def content_of(
    given: Sequence[bytes], encodings: Sequence[bytes] = (), *, readable: Sequence[str] = (JSON, LINES, CSV)
) -> Content:
    """The form that the Content-Type headers name.

    Raises:
        UnsupportedMediaType: none or several, an unknown one, not UTF-8, or compressed.
    """
    return _content(tuple(given), tuple(encodings), tuple(readable))


@functools.lru_cache(maxsize=_REMEMBERED)
def _content(given: tuple[bytes, ...], encodings: tuple[bytes, ...], readable: tuple[str, ...]) -> Content:
    wanted = " or ".join(readable)
    if len(given) != 1:
        found = "missing" if not given else "there more than once"
        raise UnsupportedMediaType(found=found, wanted=wanted)
    shown = _shown(given[0])
    name, *parameters = (part.strip().lower() for part in shown.split(";"))
    kind, settings = canonical(name), dict(_setting(part) for part in parameters if part)
    charset, header = settings.get("charset", "utf-8"), settings.get("header", "absent")
    if kind not in readable or charset not in _UTF8 or (kind == CSV and header not in _HEADER):
        raise UnsupportedMediaType(found=shown, wanted=wanted)
    for encoding in encodings:
        if encoding.strip().lower() != b"identity":
            raise UnsupportedMediaType(
                found=f"{shown} with the encoding {_shown(encoding)}", wanted=f"{wanted}, not compressed"
            )
    return Content(kind=kind, header=kind == CSV and header == "present")


def takes_all(accept: Sequence[bytes]) -> bool:
    """Whether the Accept headers plainly allow everything alike: the first of what is offered is chosen."""
    return not accept or (len(accept) == 1 and accept[0] in _EVERYTHING)


def chosen(accept: Sequence[bytes], offered: Sequence[str]) -> str:
    """The type to write, spelled as the client asked for it.

    Args:
        accept: the Accept headers; none or an empty one mean everything.
        offered: what can be written, the best first; that order decides between equal qualities.

    Raises:
        NotAcceptable: the client takes none of them.
    """
    asked = b", ".join(accept).strip()
    return _best(asked, tuple(offered)) if asked else offered[0]


@functools.lru_cache(maxsize=_REMEMBERED)
def _best(asked: bytes, offered: tuple[str, ...]) -> str:
    ranges = dict(_ranges(asked.decode("latin-1").lower()))
    best, found = 0.0, None
    for name in (spelled for kind in offered for spelled in (kind, *ALIASES.get(kind, ()))):
        quality = _quality(name, ranges)
        if quality > best:
            best, found = quality, name
    if found is None:
        raise NotAcceptable(found=_shown(asked), offered=", ".join(offered))
    return found


def canonical(name: str) -> str:
    """The type's own name, whichever of its names this is."""
    return _READ.get(name, name)


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    """Each media range with its quality; of two that are alike the last one counts."""
    for entry in accept.split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        quality = dict(_setting(part) for part in parameters).get("q", "1")
        if name and _QUALITY.fullmatch(quality) and float(quality) <= 1:
            # Java's HttpURLConnection says * for everything.
            yield "*/*" if name == "*" else name, float(quality)


def _quality(name: str, ranges: Mapping[str, float]) -> float:
    for wider in (name, name.partition("/")[0] + "/*", "*/*"):
        if wider in ranges:
            return ranges[wider]
    return 0.0


def _setting(part: str) -> tuple[str, str]:
    name, _, value = part.partition("=")
    return name.strip(), value.strip().strip('"')


def _shown(value: bytes) -> str:
    text = value[:200].decode("latin-1")
    return "".join(c if c.isprintable() else "?" for c in text)
