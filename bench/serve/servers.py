"""How each server is started, asked and understood. Everything listens on loopback only.

The peers run as their own documentation has them, with two workers of one thread each, and are asked
for one text a request. The toolkit's settings are the lines that sagemaker_inference writes itself.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
PEERS = Path(__file__).resolve().parent / "peers"
OURS = "traceship"
ENVIRONMENTS = {"sagemaker": "sagemaker.txt", "web": "web.txt", "infinity": "infinity.txt"}
"""Environments of the peers: a name, and its requirements in ``peers/``."""


@dataclass(frozen=True)
class Run:
    """What one start of a server needs: ``port`` and the two after it are free; ``folder`` is its own."""

    port: int
    workers: int
    artifact: Path
    folder: Path


@dataclass(frozen=True)
class Server:
    """``body`` makes the JSON of one text, ``vector`` finds the floats in an answer."""

    command: Callable[[Run], list[str]]
    environment: str | None = None
    path: str = "/invocations"
    ping: str = "/ping"
    body: Callable[[Any], Any] = lambda inputs: {"inputs": inputs}
    vector: Callable[[Any], list[float]] = lambda answer: answer
    variables: Mapping[str, str] = field(default_factory=dict)


def environment_folder(name: str) -> Path:
    """Where ``setup`` puts the environment of that name."""
    return CHECKOUT / f".venv-bench-{name}"


def variables(server: Server, run: Run) -> dict[str, str]:
    """What the server finds in its environment beside the caller's PATH and HOME."""
    found = {
        "PYTHONPATH": str(CHECKOUT if server.environment is None else PEERS),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "BENCH_PEERS": str(PEERS),
        "BENCH_WORKERS": str(run.workers),
        "TRACESHIP_WORKERS": str(run.workers),
        "TMPDIR": str(run.folder),
        **server.variables,
    }
    if server.environment == "sagemaker":
        base = run.folder / "opt" / "ml"
        found |= {"SAGEMAKER_BASE_DIR": str(base), "PYTHONPATH": f"{base / 'model' / 'code'}:{PEERS}"}
    return found


def _python(name: str) -> str:
    return str(environment_folder(name) / "bin" / "python")


def _script(name: str, script: str) -> str:
    return str(environment_folder(name) / "bin" / script)


def _ours(run: Run) -> list[str]:
    command = [sys.executable, "-m", "inference_code", "serve", str(run.artifact)]
    return [*command, "--port", str(run.port), "--lame-duck", "0"]


def _fastapi(run: Run) -> list[str]:
    words = ["-m", "uvicorn", "fastapi_app:app", "--host", "127.0.0.1", "--port", str(run.port)]
    words += ["--workers", str(run.workers), "--log-level", "warning", "--no-access-log"]
    return [_python("web"), *words]


def _mosec(run: Run) -> list[str]:
    words = [
        "--port",
        str(run.port),
        "--address",
        "127.0.0.1",
        "--timeout",
        "60000",
        "--log-level",
        "warning",
    ]
    return [_python("web"), str(PEERS / "mosec_app.py"), *words]


def _infinity(run: Run) -> list[str]:
    from bench.serve.texts import model_folder

    words = ["v2", "--model-id", str(model_folder()), "--served-model-name", "m", "--engine", "torch"]
    words += ["--device", "cpu", "--dtype", "float32", "--batch-size", "16", "--no-bettertransformer"]
    words += ["--no-compile", "--no-model-warmup", "--host", "127.0.0.1", "--port", str(run.port)]
    return [_script("infinity", "infinity_emb"), *words]


def _torchserve(run: Run) -> list[str]:
    store = run.folder / "store"
    store.mkdir()
    workers = f"minWorkers: {run.workers}\nmaxWorkers: {run.workers}\n"
    (run.folder / "model.yaml").write_text(
        f"{workers}batchSize: 16\nmaxBatchDelay: 5\nresponseTimeout: 120\n"
    )
    archive = [_script("web", "torch-model-archiver"), "--model-name", "m", "--version", "1", "--handler"]
    archive += [str(PEERS / "torchserve_handler.py"), "--export-path", str(store)]
    archive += ["--config-file", str(run.folder / "model.yaml")]
    _check(archive)
    addresses = _addresses(run, "inference", "management", "metrics")
    (run.folder / "config.properties").write_text(
        f"{addresses}grpc_inference_address=127.0.0.1\ngrpc_management_address=127.0.0.1\njob_queue_size=1000\n"
    )
    words = ["--start", "--foreground", "--ncs", "--disable-token-auth", "--model-store", str(store)]
    words += ["--models", "m=m.mar", "--ts-config", str(run.folder / "config.properties")]
    return [_script("web", "torchserve"), *words, "--log-config", str(PEERS / "quiet-log4j2.xml")]


def _toolkit(run: Run) -> list[str]:
    model = run.folder / "opt" / "ml" / "model"
    (model / "code").mkdir(parents=True)
    shutil.copy(PEERS / "toolkit_hooks.py", model / "code" / "inference.py")
    lines = [
        "enable_envvars_config=true",
        "decode_input_request=false",
        "load_models=ALL",
        "default_response_timeout=60",
        f"default_workers_per_model={run.workers}",
        "vmargs=-XX:+UseContainerSupport -XX:InitialRAMPercentage=8.0 -XX:MaxRAMPercentage=10.0 "
        "-XX:-UseLargePages -XX:+UseG1GC -XX:+ExitOnOutOfMemoryError",
        "default_service_handler=sagemaker_huggingface_inference_toolkit.handler_service",
        _addresses(run, "inference", "management"),
    ]
    (run.folder / "mms.properties").write_text("\n".join(lines))
    words = ["--start", "--foreground", "--model-store", "/", "--models", f"model={model}"]
    words += ["--mms-config", str(run.folder / "mms.properties")]
    return [
        _script("sagemaker", "multi-model-server"),
        *words,
        "--log-config",
        str(PEERS / "quiet-log4j2.xml"),
    ]


def _addresses(run: Run, *names: str) -> str:
    return "".join(f"{name}_address=http://127.0.0.1:{run.port + at}\n" for at, name in enumerate(names))


def _check(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)


_PADDED: Mapping[str, str] = {"BENCH_MODE": "pad128"}
SERVERS: Mapping[str, Server] = {
    OURS: Server(_ours),
    "sagemaker_hf": Server(_toolkit, "sagemaker"),
    "sagemaker_hf_pad128": Server(_toolkit, "sagemaker", variables=_PADDED),
    "torchserve": Server(_torchserve, "web", path="/predictions/m"),
    "fastapi": Server(_fastapi, "web"),
    "mosec": Server(_mosec, "web", path="/inference", ping="/"),
    "infinity": Server(
        _infinity,
        "infinity",
        path="/embeddings",
        ping="/health",
        body=lambda text: {"model": "m", "input": text},
        vector=lambda answer: list(answer["data"][0]["embedding"]),
    ),
}


def with_variables(
    server: Server, more: Mapping[str, str], command: Callable[[Run], list[str]] | None = None
) -> Server:
    """The same server with more in its environment, or started in another way."""
    return replace(server, variables={**server.variables, **more}, command=command or server.command)


def bodies(server: Server, inputs: Sequence[Any], file: Path) -> Path:
    """Write one body a line, for the client."""
    file.write_text("".join(json.dumps(server.body(one)) + "\n" for one in inputs))
    return file
