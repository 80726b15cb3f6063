"""in-toto Statements, version 1: what is claimed about a manifest.

Source: in-toto/attestation:spec/v1/statement.md. The signature of a release is a Statement whose
one subject is the manifest's digest and whose predicate is empty; ``compile/provenance.py`` writes
the one that says how it was made.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from artifact.canonical import encode
from artifact.envelope import strict_json
from artifact.errors import ProofFailed
from artifact.manifest import MANIFEST, Record, Sha256

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT: Literal["https://in-toto.io/Statement/v1"] = "https://in-toto.io/Statement/v1"
RELEASE = "urn:traceship:release:1"
"""Type of the empty predicate: "this manifest is a release". A key that also signs other kinds of
Statements about the manifest, such as a scanner's report, has not released it by that."""


class StatementUnreadable(ProofFailed):
    """What was signed is no in-toto Statement of the kind that is expected."""

    id = "statement-unreadable"

    def __init__(self, *, why: str) -> None:
        super().__init__(
            what="what was signed is not a statement about a release",
            why=why,
            fix="give the release's own envelope, or sign the artifact with `traceship sign`",
        )


class Digests(Record, frozen=True, kw_only=True):
    """SHA-256 in hex; no other algorithm is asked."""

    sha256: Sha256


class Subject(Record, frozen=True, kw_only=True):
    """What the statement is about."""

    name: str
    digest: Digests


class Statement(Record, frozen=True, kw_only=True, rename="camel"):
    """``predicate`` is what is claimed; ``predicate_type`` names its form."""

    type: Literal["https://in-toto.io/Statement/v1"] = msgspec.field(name="_type")
    subject: tuple[Subject, ...]
    predicate_type: str
    predicate: dict[str, Any]


def about_manifest(digest: str, predicate_type: str, predicate: dict[str, Any]) -> Statement:
    """A statement whose subject is the manifest with SHA-256 ``digest``."""
    return Statement(
        type=STATEMENT,
        subject=(Subject(name=MANIFEST, digest=Digests(sha256=digest)),),
        predicate_type=predicate_type,
        predicate=predicate,
    )


def release_statement(digest: str) -> bytes:
    """The payload that a release's signature is made over."""
    return encode(about_manifest(digest, RELEASE, {}))


def read_statement(payload: bytes, *, predicate_type: str) -> Statement:
    """Read a payload whose signature, if it had one, was verified.

    Raises:
        StatementUnreadable: not JSON of that form, another predicate, or not exactly one manifest.
    """
    try:
        statement = msgspec.convert(strict_json(payload), type=Statement)
    except (msgspec.ValidationError, ValueError, RecursionError) as error:
        raise StatementUnreadable(why=str(error)) from None
    if statement.predicate_type != predicate_type:
        raise StatementUnreadable(
            why=f"its predicate is {statement.predicate_type[:80]!r}, not {predicate_type!r}"
        )
    if [subject.name for subject in statement.subject] != [MANIFEST]:
        raise StatementUnreadable(why=f"its subject is not exactly one {MANIFEST}")
    return statement
