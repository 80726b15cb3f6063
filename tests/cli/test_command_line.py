"""The command line: help, exit codes, and errors that teach."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import click
import pytest

from artifact.errors import TraceshipError
from cli.__main__ import _COMMANDS, main
from cli.__main__ import traceship as group
from compile.__main__ import BadArguments, parse
from tests.kit.command import CHECKOUT, clean_environment, traceship
from tests.kit.folders import CONTENT, write_folder
from tests.kit.wheels import wheels

COMMANDS = list(_COMMANDS)
PACKAGES = ("artifact", "cli", "compile", "fleet", "inference_code", "infra", "local_aws", "settings")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, tmp_path: Path) -> None:
    """Exit code 0, what it does, and its options; nothing on standard error."""
    answer = traceship(command, "--help", cwd=tmp_path)

    assert answer.code == 0
    assert answer.stdout.startswith("Usage: traceship")
    assert "--help" in answer.stdout
    assert answer.stderr == ""


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    """The list of commands needs neither torch nor boto3 nor the CDK nor pydantic."""
    code = "import sys; from cli.__main__ import main; main(['--help']); print(sorted(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    loaded = set(ast.literal_eval(result.stdout.splitlines()[-1]))

    assert not loaded & {"torch", "boto3", "botocore", "aws_cdk", "jsii", "transformers", "pydantic", "rich"}


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in {"serve", "init"}])
def test_every_command_that_prints_data_has_json(command: str) -> None:
    """Scripts never have to read prose."""
    found = importlib.import_module(f"cli.commands.{command}").command
    leaves = list(found.commands.values()) if isinstance(found, click.Group) else [found]

    for leaf in leaves:
        assert "--json" in {name for option in leaf.params for name in option.opts}, leaf.name


@pytest.mark.parametrize(
    "arguments",
    [
        ["verfy"],
        ["verify"],
        ["compile", "--target", "gpu"],
        ["serve", "x", "--port", "70000"],
        ["--nope"],
        ["serve"],
        ["serve", "x", "--models", "y"],
        ["serve", "x", "--workers", "0"],
    ],
)
def test_a_command_line_that_cannot_be_understood_exits_2(arguments: list[str], tmp_path: Path) -> None:
    """What, why and fix, and no traceback."""
    answer = traceship(*arguments, cwd=tmp_path)

    assert answer.code == 2
    assert re.fullmatch(r"error: .+\n  why: .+\n  fix: .+\n", answer.stderr, flags=re.DOTALL)
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["compile", "--cache-gb", "nan"],
        ["compile", "--cache-gb", "inf"],
        ["compile", "--min-coverage", "nan"],
        ["gc", "--older-than", "nan"],
    ],
)
def test_a_number_that_compares_with_nothing_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """With "nan" as its age everything would be old enough to delete, and no coverage too low."""
    assert main(arguments) == 2

    told = capsys.readouterr().err
    assert f"{arguments[2]!r} is not a finite number" in told or "not in the range" in told
    assert arguments[1] in told


@pytest.mark.parametrize("option", ["--min-coverage", "--single-fusion-ratio"])
def test_the_compile_stage_takes_no_such_number_either(option: str) -> None:
    """It is its own entry point, and what a zoo's rows and a record are read with."""
    words = ["--model=m", "--task=fill-mask", "--target=cpu", "--bucket=1x8", "--out=o"]

    with pytest.raises(BadArguments, match=option):
        parse([*words, f"{option}=nan"])
    with pytest.raises(BadArguments, match="help"):
        parse([*words, "--help"])


def test_one_server_is_no_variant_of_an_endpoint(tmp_path: Path) -> None:
    """--url leaves SageMaker out, so --variant would be ignored."""
    answer = traceship(
        "invoke", "--url", "http://127.0.0.1:1", "--variant", "stable", "a", "--json", cwd=tmp_path
    )

    assert answer.code == 2
    assert "--url and --variant exclude each other" in answer.error["what"]


def test_a_misspelt_command_is_met_with_the_nearest_one(tmp_path: Path) -> None:
    """The fix is the command that was meant."""
    answer = traceship("verfy", "x", cwd=tmp_path)

    assert "traceship verify" in answer.stderr


def test_with_json_an_error_is_one_object_on_standard_error(tmp_path: Path) -> None:
    """Standard output stays empty; the id is stable."""
    answer = traceship("verify", tmp_path, "--json", cwd=tmp_path)

    assert answer.stdout == ""
    assert answer.error["id"] == "not-an-artifact"
    assert set(answer.error) == {"id", "what", "why", "fix"}


def test_debug_shows_the_traceback_wherever_it_is_typed(tmp_path: Path) -> None:
    """Before or after the command; the three lines still come last."""
    for arguments in (["--debug", "verify", "x"], ["verify", "x", "--debug"]):
        answer = traceship(*arguments, cwd=tmp_path)
        assert answer.code == 2
        assert "Traceback" in answer.stderr
        assert answer.stderr.splitlines()[-1].startswith("  fix: ")


def test_verify_says_what_it_found(tmp_path: Path) -> None:
    """Digest and number of files, for people and for scripts."""
    digest = write_folder(tmp_path / "artifact", CONTENT)

    plain = traceship("verify", tmp_path / "artifact", cwd=tmp_path)
    as_json = traceship("verify", tmp_path / "artifact", "--json", cwd=tmp_path).json

    assert (plain.code, digest in plain.stdout) == (0, True)
    assert (as_json["digest"], as_json["files"]) == (digest, len(CONTENT))


def test_verify_with_another_digest_exits_3(tmp_path: Path) -> None:
    """A folder that is whole is still not the one that was asked for."""
    write_folder(tmp_path / "artifact", CONTENT)

    answer = traceship("verify", tmp_path / "artifact", "--digest", "0" * 64, "--json", cwd=tmp_path)

    assert (answer.code, answer.error["id"]) == (3, "another-artifact")


@pytest.mark.parametrize("stock", [[], ["--stock"]], ids=["data only", "stock"])
def test_archive_writes_the_same_bytes_twice_and_nothing_of_a_changed_artifact(
    stock: list[str], tmp_path: Path
) -> None:
    """What it prints is what it wrote; a refusal leaves no file."""
    wheels()  # nothing is fetched by a test
    write_folder(tmp_path / "made", CONTENT)

    one = traceship("archive", "made", "--out", "1.tar.gz", "--json", *stock, cwd=tmp_path).json
    two = traceship("archive", "made", "--out", "2.tar.gz", "--json", *stock, cwd=tmp_path).json
    (tmp_path / "made/config.json").write_text("x")
    refused = traceship("archive", "made", "--out", "3.tar.gz", *stock, cwd=tmp_path)

    assert one["sha256"] == two["sha256"]
    assert one["bytes"] == (tmp_path / "1.tar.gz").stat().st_size
    assert refused.code == 3
    assert [path.name for path in tmp_path.glob("3*")] == []


@pytest.mark.parametrize("target", ["cpu", "inf1"])
def test_init_writes_settings_that_load(target: str, tmp_path: Path) -> None:
    """The commented file is valid as it is."""
    from settings.load import load

    answer = traceship("init", "--target", target, "--name", "search", cwd=tmp_path)
    settings = load(tmp_path / "traceship.toml")

    assert answer.code == 0
    assert (settings.project.name, settings.compile.target) == ("search", target)
    assert settings.fleet is not None
    assert settings.endpoint is not None


def test_init_never_overwrites(tmp_path: Path) -> None:
    """Exit code 5, and the file is as it was."""
    (tmp_path / "traceship.toml").write_text("# mine\n")

    answer = traceship("init", cwd=tmp_path)

    assert answer.code == 5
    assert (tmp_path / "traceship.toml").read_text() == "# mine\n"


@pytest.mark.parametrize("command", ["ship", "deploy", "status", "destroy", "invoke"])
def test_without_settings_every_command_names_init(command: str, tmp_path: Path) -> None:
    """Exit code 2 in an empty folder."""
    answer = traceship(command, cwd=tmp_path)

    assert answer.code == 2
    assert "traceship init" in answer.stderr


def test_a_misspelt_setting_stops_every_command(tmp_path: Path) -> None:
    """Nothing runs on settings that say something unknown."""
    (tmp_path / "traceship.toml").write_text('[project]\nnmae = "x"\n')

    answer = traceship("deploy", cwd=tmp_path)

    assert answer.code == 2
    assert "did you mean `name`?" in answer.stderr


def test_a_file_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    """A place that the system refuses: its name, the reason and what to do."""
    answer = traceship("--settings", "/proc/traceship.toml", "init", cwd=tmp_path)

    assert answer.code == 1
    assert "/proc/traceship.toml" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_the_local_aws_that_does_not_run_is_named_with_its_command(tmp_path: Path) -> None:
    """`env` and `status` of nothing exit 1 with the fix."""
    for command in ("env", "status"):
        answer = traceship("local", command, "--json", "--state", tmp_path / "state", cwd=tmp_path)
        assert (answer.code, answer.error["id"]) == (1, "local-aws-not-running")
        assert "traceship local up" in answer.error["fix"]


def test_serve_on_a_port_in_use_exits_5(tmp_path: Path) -> None:
    """Before anything is loaded the conflict is named."""
    write_folder(tmp_path / "artifact", CONTENT)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])

        answer = traceship("serve", tmp_path / "artifact", "--port", port, cwd=tmp_path)

    assert answer.code == 5
    assert port in answer.stderr


def test_serve_refuses_a_changed_artifact_with_exit_code_3(tmp_path: Path) -> None:
    """The server's exit code is the command's."""
    write_folder(tmp_path / "artifact", CONTENT)
    (tmp_path / "artifact/config.json").write_text("x")

    answer = traceship("serve", tmp_path / "artifact", "--port", "0", cwd=tmp_path)

    assert answer.code == 3
    assert "config.json" in answer.stderr


def test_invoke_without_a_server_says_so(tmp_path: Path) -> None:
    """A closed port is an error with its fix, not a traceback."""
    answer = traceship("invoke", "--url", "http://127.0.0.1:1", "text", cwd=tmp_path)

    assert answer.code == 1
    assert "traceship serve" in answer.stderr


def test_inputs_that_are_no_texts_are_sent_as_the_objects_that_they_are(tmp_path: Path) -> None:
    """Questions, pairs and choices; one that is not JSON is named, and nothing is sent."""
    asked = '{"question": "où?", "context": "au moulin"}'
    got: list[dict[str, Any]] = []

    class Server(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'[{"answer": "au moulin"}]')

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        words = ("invoke", "--url", f"http://127.0.0.1:{server.server_port}", "--objects", "--json")
        answer = traceship(*words, asked, cwd=tmp_path)
        refused = traceship(*words, asked, "no object", cwd=tmp_path)
        server.shutdown()

    assert answer.json == [{"answer": "au moulin"}]
    assert got == [{"inputs": [json.loads(asked)]}]
    assert (refused.code, "'no object' is not JSON" in refused.stderr) == (2, True)


def test_ctrl_c_exits_130_and_says_how_to_go_on(tmp_path: Path) -> None:
    """Interrupted while it waits for standard input; the same command is the way on."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "invoke", "--url", "http://127.0.0.1:1"],
        cwd=tmp_path,
        env=clean_environment({"PYTHONUNBUFFERED": "1"}),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    _wait_until_it_reads(process.pid)

    process.send_signal(signal.SIGINT)
    _, talk = process.communicate(timeout=20)

    assert process.returncode == 130
    assert "Go on with: traceship invoke --url http://127.0.0.1:1" in talk
    assert "Traceback" not in talk


def test_every_error_class_has_its_own_id() -> None:
    """An id names one kind of mistake, so that scripts and pages can rely on it."""
    for package in (
        "artifact",
        "cli",
        "compile",
        "fleet",
        "inference_code",
        "infra",
        "local_aws",
        "settings",
    ):
        for path in (CHECKOUT / package).rglob("*.py"):
            if "extension" not in path.parts and path.name != "__main__.py":
                importlib.import_module(".".join(path.relative_to(CHECKOUT).with_suffix("").parts))
    classes = list(_below(TraceshipError))
    ids = [c.id for c in classes]

    assert sorted(ids) == sorted(set(ids)), [i for i in ids if ids.count(i) > 1]


def test_the_group_lists_every_command_file() -> None:
    """No command is forgotten in the list, and none is listed that is not there."""
    files = {path.stem for path in (CHECKOUT / "cli/commands").glob("*.py")} - {"__init__"}

    assert files == set(COMMANDS)
    assert group.list_commands(click.Context(group)) == COMMANDS


def _below(kind: type[TraceshipError]) -> list[type[TraceshipError]]:
    return [c for sub in kind.__subclasses__() for c in (sub, *_below(sub))]


def _wait_until_it_reads(pid: int) -> None:
    """Until the process sleeps in a read of its standard input (its system call says so)."""
    read_of_stdin = re.compile(r"0 0x0 ")
    while not read_of_stdin.match(Path(f"/proc/{pid}/syscall").read_text()):
        os.sched_yield()


def test_several_artifacts_are_served_from_one_file(tmp_path: Path) -> None:
    """The server's own error comes through: the command hands the file and the number of workers on."""
    (tmp_path / "models.json").write_text('[{"name": "a", "path": "nowhere"}]')

    answer = traceship("serve", "--models", "models.json", "--workers", "1", "--port", "0", cwd=tmp_path)

    assert answer.code == 2
    assert '"model failed"' in answer.stderr
    assert '"nowhere is not an artifact"' in answer.stderr
