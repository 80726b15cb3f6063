"""Images as settings and locks spell them. Imports no CDK, so that the command can read them without Node."""

from __future__ import annotations

import re

PRIVATE_REGISTRY = re.compile(
    r"(?P<account>[0-9]{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?/(?P<name>.+)"
)


def parse_pin(text: str) -> tuple[str, str]:
    """Repository and digest of ``repository@sha256:digest`` as the settings spell an image."""
    repository, _, digest = text.partition("@sha256:")
    return repository, digest


def parse_repository(text: str) -> tuple[str | None, str | None, str]:
    """Account, region and name of an ECR repository; without a registry it is one of the account's own."""
    match = PRIVATE_REGISTRY.fullmatch(text)
    return (None, None, text) if match is None else (match["account"], match["region"], match["name"])
