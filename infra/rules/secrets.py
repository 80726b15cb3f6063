"""What looks like a secret where everybody who may describe a resource reads it."""

from __future__ import annotations

import re

_VALUES = re.compile(
    r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"  # access key ids. Source: IAM user guide, "IAM identifiers"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\bgh[pousr]_[0-9A-Za-z]{36}\b|\bhf_[0-9A-Za-z]{30,}\b"  # tokens of GitHub and of the Hub
    r"|\{\{resolve:(secretsmanager|ssm-secure):"  # CloudFormation writes the secret itself in its place
)
_NAMES = re.compile(
    r"(^|[^A-Za-z])[A-Za-z_]*(PASSWORD|PASSWD|SECRET|API_?KEY|ACCESS_KEY|AUTH_TOKEN|PRIVATE_KEY|CREDENTIALS?)"
    r"[A-Za-z_]*\s*[=:]\s*\S",
    re.IGNORECASE,
)


def holds_secret(line: str) -> bool:
    """Whether a line of text holds a known kind of secret, or gives a value to a name of one."""
    return _VALUES.search(line) is not None or _NAMES.search(line) is not None
