"""The child that asks transformers for a model type: ``python -m compile.sources.known``."""

from __future__ import annotations

import sys

from artifact.manifest import Record
from compile.children import child_main


class KnownJob(Record, frozen=True, kw_only=True):
    """The ``model_type`` of a config.json."""

    model_type: str


class KnownResult(Record, frozen=True, kw_only=True):
    """Whether the installed transformers has classes for it."""

    known: bool


def known(job: KnownJob) -> KnownResult:
    """Look the type up in transformers' own table."""
    from transformers import CONFIG_MAPPING

    return KnownResult(known=job.model_type in CONFIG_MAPPING)


if __name__ == "__main__":
    sys.exit(child_main(KnownJob, known, sys.argv[1:]))
