"""``traceship adopt`` as a team types it; the rest is in ``tests/compile/test_adopt.py``."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from artifact.verify import verify
from tests.kit.command import CHECKOUT, traceship
from tests.kit.models import tiny_model
from tests.kit.traced import traced_file
from tests.neuron_double import FOLDER


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


def test_a_neuron_trace_is_adopted_once_its_coverage_is_accounted_for(tmp_path: Path) -> None:
    """With the versions that are installed; what nobody can know of it is not recorded."""
    classifier = tiny_model(tmp_path / "model", labels=("no", "yes", "maybe"))
    double = {"PYTHONPATH": os.pathsep.join([str(FOLDER), str(CHECKOUT)])}
    words = ("--model", classifier, "--task", "text-classification", "--target", "inf1", "--bucket", "2x16")
    ours = traceship("compile", *words, "--no-cache", "--out", "ours", "--json", cwd=tmp_path, env=double)
    assert ours.code == 0, ours.stderr

    theirs = ("adopt", "ours/graphs/b2_s16.pt", *words, "--json", "--out")
    refused = traceship(*theirs, "refused", cwd=tmp_path, env=double)
    why = ("--waive", "coverage=94 % in the log of the trace")
    made = traceship(*theirs, "made", *why, cwd=tmp_path, env=double)

    assert (refused.code, refused.error["id"]) == (3, "coverage-unproven")
    assert made.code == 0, made.stderr
    manifest = verify(tmp_path / "made", digest=made.json["digest"]).manifest
    assert (manifest.requires.target, manifest.parity.tier) == ("inf1", "neuron-no-cast")
    assert manifest.built_with.torch_neuron is not None
    assert (manifest.coverage, manifest.compiler, manifest.compiler_args) == (None, None, ())
    assert [(waiver.gate, waiver.reason) for waiver in manifest.waivers] == [
        ("coverage", "94 % in the log of the trace")
    ]
    assert not (tmp_path / "refused").exists()
