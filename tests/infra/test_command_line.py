"""The real CDK CLI and app.py as processes: what a user types and what comes back."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from artifact.release import LOCK_FILE
from infra.entry import settings_path
from tests.infra.worlds import CHECKOUT, World

EXAMPLE = CHECKOUT / "examples/inf1/traceship.toml"
CDK = CHECKOUT / "node_modules/.bin/cdk"
BIN = Path(sys.prefix) / "bin"


def _environment(**more: str) -> dict[str, str]:
    """No AWS, no telemetry, and neither Node nor a virtual environment activated beyond PATH."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
    return {
        **kept,
        "PATH": f"{BIN}:/usr/bin:/bin",
        "CDK_DISABLE_CLI_TELEMETRY": "true",
        "AWS_EC2_METADATA_DISABLED": "true",
        "CI": "true",
        **more,
    }


def _app(
    out: Path, context: dict[str, str], *, cwd: Path = CHECKOUT, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run app.py as cdk.json does, with context as the CLI hands it over."""
    flags = json.loads((CHECKOUT / "cdk.json").read_text())["context"]
    variables = {"CDK_OUTDIR": str(out), "CDK_CONTEXT_JSON": json.dumps({**flags, **context})}
    command = [str(CHECKOUT / ".venv/bin/python"), str(CHECKOUT / "app.py")]
    return subprocess.run(
        command,
        cwd=cwd,
        env={**_environment(), "PATH": "/usr/bin:/bin", **variables, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def _synth(out: Path, **environment: str) -> None:
    """`cdk synth -c settings=examples/inf1/traceship.toml` by the pinned CLI."""
    result = subprocess.run(
        [str(CDK), "synth", "--quiet", "--no-notices", "--output", str(out), "-c", f"settings={EXAMPLE}"],
        cwd=CHECKOUT,
        env=_environment(**environment),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def synthesised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the CLI wrote."""
    out = tmp_path_factory.mktemp("cli") / "out"
    _synth(out, PYTHONHASHSEED="1")
    return out


def test_the_example_synthesises_from_the_checkout(synthesised: Path) -> None:
    """All five stacks, and no cdk.context.json: nothing was looked up."""
    names = {path.name for path in synthesised.glob("*.template.json")}

    roles = ("artifacts", "network", "compile", "fleet", "endpoint")
    assert names == {f"minilm-{role}.template.json" for role in roles}
    assert not (CHECKOUT / "cdk.context.json").exists()
    assert "dummy" not in "".join(path.read_text() for path in synthesised.glob("*.template.json"))


def test_the_example_is_for_inf1(synthesised: Path) -> None:
    """One device in the container, an Inf1 hosting type, the digest of the lock."""
    fleet = (synthesised / "minilm-fleet.template.json").read_text()
    endpoint = (synthesised / "minilm-endpoint.template.json").read_text()
    digest = json.loads((EXAMPLE.parent / "release.lock.json").read_text())["digest"]

    assert "/dev/neuron0" in fleet
    assert "/dev/neuron1" not in fleet
    assert '"ml.inf1.xlarge"' in endpoint
    assert digest in fleet
    assert digest in endpoint


def test_the_same_input_gives_the_same_bytes(synthesised: Path, tmp_path: Path) -> None:
    """Another process, another hash seed, another time: identical templates and manifest."""
    _synth(tmp_path, PYTHONHASHSEED="4242")

    names = [path.name for path in synthesised.glob("*.template.json")] + ["manifest.json"]
    assert len(names) == 6
    _, different, absent = filecmp.cmpfiles(synthesised, tmp_path, names, shallow=False)
    assert (different, absent) == ([], [])


def test_another_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    """Neither where the command is typed nor where the settings lie is in a template."""
    for name in ("traceship.toml", LOCK_FILE):
        shutil.copy(EXAMPLE.parent / name, tmp_path / name)

    here = _app(tmp_path / "here", {"settings": str(EXAMPLE)})
    there = _app(tmp_path / "there", {"settings": "traceship.toml"}, cwd=tmp_path)

    assert (here.returncode, there.returncode) == (0, 0), here.stderr + there.stderr
    names = [path.name for path in (tmp_path / "here").glob("*.template.json")]
    assert len(names) == 5
    _, different, absent = filecmp.cmpfiles(tmp_path / "here", tmp_path / "there", names, shallow=False)
    assert (different, absent) == ([], [])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ('["inf1.xlarge", "inf1.2xlarge"] -> ["inf2.xlarge"]', ["inf2.xlarge", "runs neither inf1 nor cpu"]),
        ('["inf1.xlarge", "inf1.2xlarge"] -> ["c5.large"]', ["compiled for inf1", "no Inferentia chip"]),
        ('["inf1.xlarge", "inf1.2xlarge"] -> ["inf1.xlarge", "inf1.6xlarge"]', ["inf1.6xlarge has 4"]),
    ],
    ids=["inf2", "cpu type", "chips"],
)
def test_what_does_not_fit_fails_the_synthesis(tmp_path: Path, change: str, words: list[str]) -> None:
    """Before anything is written: what, why, fix, in the words of the settings file."""
    old, new = change.split(" -> ")
    text = EXAMPLE.read_text()
    assert old in text
    (tmp_path / "traceship.toml").write_text(text.replace(old, new))
    shutil.copy(EXAMPLE.parent / LOCK_FILE, tmp_path / LOCK_FILE)

    result = _app(tmp_path / "out", {"settings": str(tmp_path / "traceship.toml")})

    assert result.returncode == 2
    assert [line.partition(":")[0] for line in result.stderr.strip().splitlines()] == ["error", "why", "fix"]
    for word in ("fleet.instance_types", *words):
        assert word in result.stderr
    assert list((tmp_path / "out").glob("*.template.json")) == []


def test_without_settings_of_its_own_a_checkout_synthesises_the_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Plain `cdk synth` shows something in a fresh clone, and says what it shows."""
    monkeypatch.chdir(tmp_path)

    assert settings_path(None) == Path("examples/inf1/traceship.toml")
    assert "traceship init" in capsys.readouterr().err
    (tmp_path / "traceship.toml").touch()
    assert settings_path(None) == Path("traceship.toml")
    assert settings_path("other.toml") == Path("other.toml")


def test_a_stage_applies_and_node_is_found_with_nothing_activated(tmp_path: Path) -> None:
    """-c stage=NAME applies [stage.NAME]; PATH holds no Node, app.py takes the one of the set-up."""
    (tmp_path / "traceship.toml").write_text('[stage.prod.network]\ncidr = "10.99.0.0/16"\n')
    context = {"settings": str(tmp_path / "traceship.toml"), "stage": "prod", "foundation": "true"}
    assert shutil.which("node", path=str(tmp_path)) is None

    result = _app(tmp_path / "out", context, PATH=str(tmp_path))

    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "out").glob("*.template.json"))) == 3
    assert "10.99.0.0/16" in (tmp_path / "out/traceship-network.template.json").read_text()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[flet]\nami = "x"\n', ["unknown key `flet`", "did you mean `fleet`?"]),
        (
            '[endpoint]\ninstance_type = "ml.c5.large"\n',
            ["release.lock.json", "[endpoint] of the settings", "traceship deploy --foundation"],
        ),
    ],
    ids=["misspelt key", "no lock"],
)
def test_a_mistake_is_three_lines_and_exit_code_2(tmp_path: Path, text: str, words: list[str]) -> None:
    """What, why and fix; no traceback, and no template half-written."""
    (tmp_path / "traceship.toml").write_text(text)

    result = _app(tmp_path / "out", {"settings": str(tmp_path / "traceship.toml")})

    assert result.returncode == 2
    lines = result.stderr.strip().splitlines()
    assert [line.partition(":")[0] for line in lines] == ["error", "why", "fix"]
    for word in words:
        assert word in result.stderr
    assert list((tmp_path / "out").glob("*.template.json")) == []


def test_cfn_lint_finds_nothing(synthesised: Path, cpu: World, inf1: World, pinned: World) -> None:
    """Every template against CloudFormation's own schemas, warnings included, and nothing is waived."""
    templates = [
        str(path)
        for folder in (synthesised, cpu.folder, inf1.folder, pinned.folder)
        for path in folder.glob("*.template.json")
    ]
    command = [str(BIN / "cfn-lint"), "--format", "json", "--regions", "us-east-1", "eu-west-1"]

    result = subprocess.run(
        [*command, "--template", *templates],
        capture_output=True,
        text=True,
        check=False,
    )

    assert len(templates) == 20
    assert json.loads(result.stdout) == [], result.stdout[:2000]
    assert result.returncode == 0
