"""Content-Type and Accept of a request: JSON in, JSON out, however it is spelt."""

from __future__ import annotations

from inference_code.errors import NotAcceptable, UnsupportedMediaType

_UTF8 = {"utf-8", "utf8", "us-ascii"}
_ACCEPTED = {"application/json", "application/*", "*/*"}


def check_content(content_type: bytes | None, encoding: bytes | None = None) -> None:
    """Raise UnsupportedMediaType for anything but uncompressed JSON in UTF-8."""
    if content_type is None:
        raise UnsupportedMediaType(found="missing")
    shown = _shown(content_type)
    kind, *parameters = (part.strip().lower() for part in shown.split(";"))
    charsets = [p.removeprefix("charset=").strip('"') for p in parameters if p.startswith("charset=")]
    if kind != "application/json" or not _UTF8.issuperset(charsets):
        raise UnsupportedMediaType(found=shown)
    if encoding is not None and encoding.lower() != b"identity":
        raise UnsupportedMediaType(found=f"{shown} with the encoding {_shown(encoding)}")


def check_accept(accept: bytes | None) -> None:
    """Raise NotAcceptable where the client takes no JSON. No header means everything."""
    if not accept or not accept.strip():
        return
    shown = _shown(accept)
    for entry in shown.lower().split(","):
        kind, *parameters = (part.strip() for part in entry.split(";"))
        if kind in _ACCEPTED and not any(_is_zero(p) for p in parameters):
            return
    raise NotAcceptable(found=shown)


def _is_zero(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    return name.strip() == "q" and value.strip().rstrip("0").rstrip(".") in {"", "0"}


def _shown(value: bytes) -> str:
    text = value[:200].decode("latin-1")
    return "".join(c if c.isprintable() else "?" for c in text)
