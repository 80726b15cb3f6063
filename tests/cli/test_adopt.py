"""``traceship adopt`` as a team types it; the rest is in ``tests/compile/test_adopt.py``."""

from __future__ import annotations

import hashlib
from pathlib import Path

from artifact.verify import verify
from tests.kit.command import traceship
from tests.kit.models import tiny_model
from tests.kit.traced import traced_file


def test_the_command_adopts_what_passes_and_refuses_what_does_not(tmp_path: Path) -> None:
    """In child processes, as a team types it; exit code 3 leaves nothing."""
    classifier = tiny_model(tmp_path / "model", labels=("no", "yes", "maybe"))
    traced_file(classifier, tmp_path / "theirs.pt")
    words = ("--model", classifier, "--task", "text-classification", "--bucket", "1x16", "--json")
    swapped = [
        word for name in ("input_ids", "token_type_ids", "attention_mask") for word in ("--input", name)
    ]

    made = traceship("adopt", "theirs.pt", *words, "--out", "made", cwd=tmp_path)
    refused = traceship("adopt", "theirs.pt", *words, *swapped, "--out", "wrong", cwd=tmp_path)

    assert made.code == 0, made.stderr
    manifest = verify(tmp_path / "made", digest=made.json["digest"]).manifest
    assert manifest.adopted == (hashlib.sha256((tmp_path / "theirs.pt").read_bytes()).hexdigest(),)
    assert manifest.weights is None
    assert (refused.code, refused.error["id"]) == (3, "parity-failed")
    assert not (tmp_path / "wrong").exists()
