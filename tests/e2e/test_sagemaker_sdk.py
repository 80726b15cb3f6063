"""Users of the whole SageMaker SDK: our endpoint answers them, our archive deploys as it is."""

from __future__ import annotations

import json
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from artifact.golden import largest_difference
from artifact.release import archive_key
from fleet.base_image import base_image
from tests.e2e.conftest import Demo
from tests.kit.command import CHECKOUT, clean_environment

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

SCRIPT = Path(__file__).with_name("sagemaker_user.py")
SECONDS = 400
TEXTS = ["A text for the SDK.", "Ünïcode, emoji 🚀 and עברית.", "word " * 100]
NO_TELEMETRY = """\
SchemaVersion: "1.0"
SageMaker:
  PythonSDK:
    Modules:
      TelemetryOptOut: true
"""
"""Source: sagemaker.core.config.config_schema, TELEMETRY_OPT_OUT_PATH."""


@dataclass(frozen=True)
class Outside:
    """Stands where a proxy to the internet would: it lets nothing out and remembers who asked."""

    port: int
    asked: list[str] = field(default_factory=list)

    def environment(self) -> dict[str, str]:
        """Variables that send every request here whose host is not NO_PROXY's."""
        url = f"http://127.0.0.1:{self.port}"
        return dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), url)


@dataclass(frozen=True)
class Run:
    """How a user's script ended."""

    code: int
    stdout: str
    stderr: str
    asked_outside: list[str]

    @property
    def shown(self) -> dict[str, Any]:
        """The JSON object that it printed."""
        found: dict[str, Any] = json.loads(self.stdout)
        return found


def sdk_python(checkout: Path) -> Path:
    """The Python of the SDK's environment; a test without it fails instead of proving nothing."""
    python = checkout / ".venv-sagemaker" / "bin" / "python"
    if not python.exists():
        pytest.fail(f"the SageMaker SDK's environment is missing ({python}): run `make test`, it makes it")
    return python


@pytest.fixture(scope="module")
def outside() -> Iterator[Outside]:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            found.asked.append(self.rfile.readline(4096).decode(errors="replace").strip())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        found = Outside(port=server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield found
        server.shutdown()
        thread.join()


def _as_sdk_user(demo: Demo, outside: Outside, lock: Path, folder: Path, texts: list[str]) -> Run:
    python = sdk_python(CHECKOUT)
    config = folder / "sagemaker-config.yaml"
    config.write_text(NO_TELEMETRY, encoding="utf-8")
    before = len(outside.asked)
    environment = {
        **demo.aws.environment(),
        **outside.environment(),
        # Both: the machine's own defaults have no say in a test.
        "SAGEMAKER_ADMIN_CONFIG_OVERRIDE": str(config),
        "SAGEMAKER_USER_CONFIG_OVERRIDE": str(config),
    }
    result = subprocess.run(
        [python, "-I", SCRIPT, lock, *texts],
        cwd=folder,
        env=clean_environment(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return Run(result.returncode, result.stdout, result.stderr, outside.asked[before:])


@pytest.fixture(scope="module")
def used(demo: Demo, outside: Outside, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run on the demo's own lock."""
    folder = tmp_path_factory.mktemp("sdk-user")
    run = _as_sdk_user(demo, outside, demo.folder / "release.lock.json", folder, TEXTS)
    assert run.code == 0, run.stderr
    return run


def _left(demo: Demo) -> list[str]:
    """What SageMaker still knows under the user's name."""
    client = demo.aws.client("sagemaker")
    endpoints = client.list_endpoints(NameContains="sdk-user")["Endpoints"]
    configs = client.list_endpoint_configs(NameContains="sdk-user")["EndpointConfigs"]
    models = client.list_models(NameContains="sdk-user")["Models"]
    return [
        *(row["EndpointName"] for row in endpoints),
        *(row["EndpointConfigName"] for row in configs),
        *(row["ModelName"] for row in models),
    ]


def _boto3_answers(demo: Demo) -> Any:
    answer = demo.aws.client("sagemaker-runtime").invoke_endpoint(
        EndpointName="demo", ContentType="application/json", Body=json.dumps({"inputs": TEXTS})
    )
    return json.loads(answer["Body"].read())


def test_the_sdks_environment_is_the_pinned_one() -> None:
    """The version of requirements-sagemaker.txt, from the environment that the Makefile makes."""
    ask = "import importlib.metadata as m; print('sagemaker==' + m.version('sagemaker'))"

    found = subprocess.run(
        [sdk_python(CHECKOUT), "-I", "-c", ask], capture_output=True, text=True, check=True
    ).stdout.strip()

    assert found in (CHECKOUT / "requirements-sagemaker.txt").read_text(encoding="utf-8").splitlines()


def test_without_that_environment_a_test_fails_and_says_what_makes_it(tmp_path: Path) -> None:
    """Never skipped: a skipped proof looks like one."""
    with pytest.raises(pytest.fail.Exception, match="make test"):
        sdk_python(tmp_path)


def test_the_typed_endpoint_answers_as_boto3s_runtime_does(demo: Demo, used: Run) -> None:
    """Endpoint.get and invoke, on the endpoint that the stacks deployed."""
    assert largest_difference(_boto3_answers(demo), used.shown["demo"]) <= 1e-5


def test_model_builder_deploys_the_published_archive_as_it_is(demo: Demo, used: Run) -> None:
    """The archive's own URL and digest, not a copy; the same answers from an endpoint of its own."""
    lock = json.loads((demo.folder / "release.lock.json").read_text(encoding="utf-8"))
    shown = used.shown

    assert shown["own_archive"] == f"s3://{lock['location']['bucket']}/{archive_key('demo', lock['digest'])}"
    assert shown["own_environment"] == {"TRACESHIP_DIGEST": lock["digest"]}
    assert shown["own_status"] == "InService"
    assert largest_difference(_boto3_answers(demo), shown["own"]) <= 1e-5


def test_the_sdks_table_of_images_names_the_registry_that_ours_does(demo: Demo, used: Run) -> None:
    """The whole SDK's table and that of the core distribution, which finds the base image."""
    region = demo.aws.client("sagemaker").meta.region_name

    assert used.shown["stock_image"].split("/")[0] == base_image(region).split("/")[0]


def test_nothing_is_left_and_nothing_was_sent_anywhere_else(demo: Demo, used: Run) -> None:
    """Endpoint, configuration and model are deleted; no request wanted to leave the machine."""
    assert _left(demo) == []
    assert used.asked_outside == []


def test_a_digest_that_the_archive_does_not_have_is_a_failed_endpoint(
    demo: Demo, outside: Outside, tmp_path: Path
) -> None:
    """The SDK raises with the reason of the server, and what it had made is deleted too."""
    lock = json.loads((demo.folder / "release.lock.json").read_text(encoding="utf-8"))
    wrong = tmp_path / "release.lock.json"
    wrong.write_text(json.dumps({**lock, "digest": "1" * 64}), encoding="utf-8")

    run = _as_sdk_user(demo, outside, wrong, tmp_path, TEXTS[:1])

    assert run.code == 1
    last = run.stderr.strip().splitlines()[-1]
    assert "FailedStatusError" in last
    assert "did not pass the ping health check" in last
    assert "another-artifact" in last
    assert _left(demo) == []
