"""What an instance's user data tells the server: the ``serve.env`` that cloud-init would write."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import yaml

from artifact.serving import SERVE_ENV_FILE

_HEADER = "#cloud-config"


class UserDataUnreadable(Exception):
    """The user data holds no environment for the server; the message says what was looked for."""


def serve_environment(user_data: str) -> dict[str, str]:
    """The variables in ``SERVE_ENV_FILE``.

    Args:
        user_data: base64 of a ``#cloud-config`` document with ``write_files``, as a launch
            template carries it.

    Raises:
        UserDataUnreadable: not base64, not such a document, or no such file in it.
    """
    for file in _cloud_config(user_data).get("write_files") or []:
        if file.get("path") == SERVE_ENV_FILE:
            return parse_env(_content(file))
    raise UserDataUnreadable(f"the user data writes no {SERVE_ENV_FILE}")


def parse_env(text: str) -> dict[str, str]:
    """``KEY=value`` lines as systemd's EnvironmentFile reads them: comments and quotes go."""
    variables = {}
    for line in text.splitlines():
        stripped = line.strip()
        if not stripped or stripped[0] in "#;":
            continue
        name, separator, value = stripped.partition("=")
        if not separator:
            raise UserDataUnreadable(f"{SERVE_ENV_FILE} has a line that is not KEY=value: {stripped[:60]}")
        variables[name.strip()] = _unquoted(value.strip())
    return variables


def _cloud_config(user_data: str) -> dict[str, Any]:
    try:
        text = base64.b64decode(user_data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise UserDataUnreadable(f"the user data is not base64 of text: {error}") from error
    if not text.startswith(_HEADER):
        raise UserDataUnreadable(f"the user data does not begin with {_HEADER}")
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserDataUnreadable(f"the user data is not YAML: {error}") from error
    if not isinstance(document, dict):
        raise UserDataUnreadable("the user data is not a YAML mapping")
    return document


def _content(file: dict[str, Any]) -> str:
    content, encoding = str(file.get("content", "")), file.get("encoding", "text/plain")
    if encoding in ("b64", "base64"):
        return base64.b64decode(content).decode()
    if encoding != "text/plain":
        raise UserDataUnreadable(
            f"{SERVE_ENV_FILE} has the encoding {encoding}, only b64 and plain text are read"
        )
    return content


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value
