"""What is written about how an artifact was made: true, enough to do it again, and nothing private."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from artifact.canonical import encode
from artifact.manifest import File, Source, Waiver
from artifact.statement import Statement, StatementUnreadable, read_statement
from artifact.verify import VerifiedArtifact, verify
from compile.__main__ import parse
from compile.packages import Package, installed
from compile.provenance import PROVENANCE, CommandUnrecorded, Run, command_line, provenance, recorded
from compile.request import CompileRequest, CompilerOptions, Figure, Shape, Work
from compile.sbom import sbom
from tests.kit.folders import CONTENT, write_folder
from tests.kit.handmade import replaced

IMAGE = "registry.example/compile@sha256:" + "a" * 64
PACKAGES = (Package(name="numpy", version="2.4.6"), Package(name="torch", version="2.13.0+cpu"))
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


@pytest.fixture
def artifact(tmp_path: Path) -> VerifiedArtifact:
    write_folder(tmp_path / "artifact", CONTENT)
    return verify(tmp_path / "artifact")


def _request(**changes: Any) -> CompileRequest:
    request = CompileRequest(
        model="pypi:example",
        task="feature-extraction",
        target="cpu",
        shapes=(Shape(batch=1, length=32), Shape(batch=8, length=128)),
        out=Path("/home/somebody/artifact"),
    )
    return replace(request, **changes)


def _run(**changes: Any) -> Run:
    run = Run(
        words=command_line(_request(), revision="1.0", base=Path("/work")),
        runner="docker",
        image=IMAGE,
        environment={"python": "3.11"},
        packages=PACKAGES,
        figures=(Figure(bucket="b1_s32", output="embedding", max_abs=1e-7, mean_abs=1e-8, compared=9),),
        samples="cd" * 32,
        started=WHEN,
        finished=WHEN,
    )
    return replace(run, **changes)


def _statement(artifact: VerifiedArtifact, run: Run | None) -> Statement:
    data = provenance(artifact, run, sbom=b"{}", tool_version="0.1.0")
    return read_statement(data, predicate_type=PROVENANCE)


def test_the_recorded_command_is_the_request_again() -> None:
    """All that shapes the artifact, with the revision that a branch was resolved to."""
    request = _request(
        normalize=True,
        pooling="mean",
        truncate=True,
        waivers=(Waiver(gate="padding", reason="known = accepted"),),
        compiler=CompilerOptions(
            arguments=("--fast-math",), min_coverage=80.0, allowed_fallback=("aten::x",)
        ),
    )

    words = command_line(request, revision="abc", base=Path("/work"))
    again = parse(words[3:])

    assert words[:3] == ("python", "-m", "compile")
    expected = replace(request, revision="abc", tier="cpu", out=Path("artifact").absolute())
    assert again == expected


def test_no_place_of_this_machine_is_in_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor who worked there: folders below the work folder are relative, others are only named."""
    monkeypatch.setenv("HOME", "/home/somebody")
    request = _request(
        model="/home/somebody/models/bert",
        samples=Path("/home/somebody/work/samples.jsonl"),
        debug=True,
        work=Work(jobs=3, repro=Path("/home/somebody/repro"), repro_weights=True),
        compiler=CompilerOptions(arguments=("--config=/home/somebody/neuron.json",)),
    )

    words = command_line(request, revision=None, base=Path("/home/somebody/work"))

    assert not [word for word in words if "somebody" in word]
    assert words[words.index("--model") + 1] == "bert"
    assert words[words.index("--samples") + 1] == "samples.jsonl"
    assert "--config=~/neuron.json" in " ".join(words)
    assert not {"--debug", "--jobs", "--repro", "--repro-weights"} & set(words)


@pytest.mark.parametrize("model", ["pypi:example", "hub:org/name", "org/name", "s3://bucket/models/bert"])
def test_a_source_that_is_the_same_everywhere_is_told_as_it_was_given(model: str) -> None:
    """Only folders are of this machine."""
    words = command_line(_request(model=model), revision=None, base=Path("/work"))

    assert words[words.index("--model") + 1] == model


def test_the_statement_names_all_that_went_in(artifact: VerifiedArtifact) -> None:
    """Model files, samples, image, packages; the verdict and the times; the manifest as its subject."""
    statement = _statement(artifact, _run())

    definition, details = statement.predicate["buildDefinition"], statement.predicate["runDetails"]
    by_name = {row["name"]: row for row in definition["resolvedDependencies"]}
    source = artifact.manifest.source
    assert statement.subject[0].digest.sha256 == artifact.digest
    assert by_name["model"] == {"name": "model", "uri": "pypi:example", "annotations": {"revision": "1.0"}}
    assert by_name[f"model/{source.files[0].path}"]["digest"] == {"sha256": source.files[0].sha256}
    assert by_name["samples"]["digest"] == {"sha256": "cd" * 32}
    assert by_name["image"] == {"name": "image", "uri": IMAGE, "digest": {"sha256": "a" * 64}}
    assert by_name["torch"]["uri"] == "pkg:pypi/torch@2.13.0%2Bcpu"
    assert details["metadata"] == {"startedOn": "2026-01-02T03:04:05Z", "finishedOn": "2026-01-02T03:04:05Z"}
    parity, bill = details["byproducts"]
    assert parity["annotations"]["tolerance"] == 1e-5
    assert parity["annotations"]["figures"][0]["max_abs"] == 1e-7
    assert bill["digest"] == {"sha256": hashlib.sha256(b"{}").hexdigest()}


def test_what_is_recorded_can_be_read_again(artifact: VerifiedArtifact) -> None:
    """Words, runner and image, for a rebuild."""
    found = recorded(_statement(artifact, _run()))

    assert (found.runner, found.image) == ("docker", IMAGE)
    assert parse(found.words).model == "pypi:example"


def test_an_artifact_whose_compile_nobody_recorded_claims_no_command(artifact: VerifiedArtifact) -> None:
    """What is not known is left out, and a rebuild says so."""
    statement = _statement(artifact, None)

    assert statement.predicate["runDetails"]["metadata"] == {}
    with pytest.raises(CommandUnrecorded, match="which command"):
        recorded(statement)


@pytest.mark.parametrize(
    "predicate",
    [
        {},
        {"buildDefinition": []},
        {"buildDefinition": {"buildType": "https://example.com/other", "externalParameters": {}}},
    ],
)
def test_the_provenance_of_another_tool_is_not_run(artifact: VerifiedArtifact, predicate: Any) -> None:
    """Its parameters are no command of ours."""
    statement = _statement(artifact, None)
    other = Statement(
        type=statement.type, subject=statement.subject, predicate_type=PROVENANCE, predicate=predicate
    )

    with pytest.raises((StatementUnreadable, CommandUnrecorded)):
        recorded(other)


@pytest.mark.parametrize("words", [["rm", "-rf", "/"], "python -m compile", [1], []])
def test_a_record_with_another_program_is_not_run(artifact: VerifiedArtifact, words: Any) -> None:
    """Only the words after ``python -m compile`` are ever parsed."""
    statement = _statement(artifact, _run())
    statement.predicate["buildDefinition"]["externalParameters"]["command"] = words

    with pytest.raises(StatementUnreadable):
        recorded(statement)


def test_the_packages_are_those_that_the_libraries_need() -> None:
    """numpy by way of transformers; not what happens to be installed beside them."""
    found = {package.name: package.version for package in installed()}

    assert {"torch", "transformers", "numpy", "msgspec", "filelock"} <= set(found)
    assert "pytest" not in found


def _bill(artifact: VerifiedArtifact) -> Any:
    return json.loads(sbom(artifact, PACKAGES, tool_version="0.1.0", image=IMAGE, when=WHEN))


def test_the_bill_of_materials_is_what_the_format_s_own_schema_demands(artifact: VerifiedArtifact) -> None:
    """Strictly: unknown keys are errors there."""
    validation = pytest.importorskip("cyclonedx.validation.json")
    from cyclonedx.schema import SchemaVersion

    validator = validation.JsonStrictValidator(SchemaVersion.V1_6)
    full = sbom(artifact, PACKAGES, tool_version="0.1.0", image=IMAGE, when=WHEN)
    bare = sbom(artifact, (), tool_version="0.1.0")

    assert validator.validate_str(full.decode()) is None
    assert validator.validate_str(bare.decode()) is None
    assert validator.validate_str(full.decode().replace("SHA-256", "SHA256")) is not None


def test_the_bill_names_model_checkpoint_image_and_packages_with_digests(artifact: VerifiedArtifact) -> None:
    """Whoever audits it can find each of them."""
    bill = _bill(artifact)

    model = bill["metadata"]["component"]
    by_name = {row["name"]: row for row in bill["components"]}
    assert model["hashes"] == [{"alg": "SHA-256", "content": artifact.digest}]
    assert [row["name"] for row in model["components"]] == [file.path for file in artifact.manifest.files]
    assert by_name["torch"]["purl"] == "pkg:pypi/torch@2.13.0%2Bcpu"
    assert by_name["pypi:example"]["purl"] == "pkg:pypi/example@1.0"
    assert by_name["registry.example/compile"]["hashes"][0]["content"] == "a" * 64


def test_a_checkpoint_of_the_hub_is_named_as_such(artifact: VerifiedArtifact) -> None:
    """By its commit, in both files."""
    source = Source(id="hub:org/name", revision="f" * 40, files=(File(path="x", size=1, sha256="0" * 64),))
    other = replace(artifact, manifest=replaced(artifact.manifest, source=source))

    purl = next(row for row in _bill(other)["components"] if row["bom-ref"] == "source")["purl"]

    assert purl == f"pkg:huggingface/org/name@{'f' * 40}"
    model = _statement(other, _run()).predicate["buildDefinition"]["resolvedDependencies"][0]
    assert model["digest"] == {"gitCommit": "f" * 40}


def test_equal_contents_give_equal_bills(artifact: VerifiedArtifact) -> None:
    """Serial number included; another time or package is another document."""
    first = sbom(artifact, PACKAGES, tool_version="0.1.0", when=WHEN)

    assert sbom(artifact, PACKAGES, tool_version="0.1.0", when=WHEN) == first
    assert (
        json.loads(sbom(artifact, (), tool_version="0.1.0", when=WHEN))["serialNumber"]
        != (json.loads(first)["serialNumber"])
    )
    assert encode(json.loads(first)) == first
